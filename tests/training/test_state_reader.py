"""The unpickler of a training state's metadata: the names it allows, whatever Python wrote the pickle."""

import io
import pickle
from typing import Any

import pytest
from torch.distributed.checkpoint.metadata import _MEM_FORMAT_ENCODING, Metadata

from steadyphi.training.state_reader import _Unpickler


class _Lookup:
    """Pickles as `getattr(of, name)`: the form of an enum member in early releases of Python 3.11."""

    def __init__(self, of: Any, name: str) -> None:
        self.of, self.name = of, name

    def __reduce__(self) -> tuple[Any, tuple[Any, str]]:
        return getattr, (self.of, self.name)


def read(value: Any) -> Any:
    return _Unpickler(io.BytesIO(pickle.dumps(value))).load()


def test_an_enum_member_is_read_in_both_forms() -> None:
    member = _MEM_FORMAT_ENCODING.TORCH_CHANNELS_LAST
    assert read(member) is member
    assert read(_Lookup(_MEM_FORMAT_ENCODING, member.name)) is member


@pytest.mark.parametrize(
    ("of", "name"),
    [(Metadata, "__init__"), (_MEM_FORMAT_ENCODING, "__class__"), (_MEM_FORMAT_ENCODING, "mro")],
)
def test_getattr_looks_up_nothing_else(of: Any, name: str) -> None:
    with pytest.raises(pickle.UnpicklingError, match=r"builtins\.getattr"):
        read(_Lookup(of, name))
