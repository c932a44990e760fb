"""The reader of safetensors headers accepts what the library accepts, and nothing that it refuses."""

import io
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize
from safetensors.torch import save

from steadyphi.checkpoint.safetensors_file import header, read_header
from steadyphi.errors import SteadyPhiError

PATH = Path("x.safetensors")
TENSORS = {
    "a.weight": torch.arange(6, dtype=torch.float16).view(2, 3),
    "b": torch.ones(5, dtype=torch.bfloat16),
    "mask": torch.zeros(3, dtype=torch.bool),
    "empty": torch.zeros(0, 4),
}


def read(data: bytes) -> dict[str, bytes]:
    header = read_header(io.BytesIO(data), len(data), PATH)
    return {name: data[t.offset : t.offset + t.nbytes] for name, t in header.items()}


def library(data: bytes) -> dict[str, bytes] | None:
    try:
        return {name: bytes(facts["data"]) for name, facts in deserialize(data)}
    except (SafetensorError, RuntimeError):
        return None


def test_a_file_of_the_librarys() -> None:
    data = save(TENSORS, metadata={"format": "pt"})
    assert read(data) == library(data)
    header = read_header(io.BytesIO(data), len(data), PATH)
    assert (header["a.weight"].dtype, header["a.weight"].shape) == ("float16", (2, 3))
    assert (header["b"].dtype, header["empty"].shape) == ("bfloat16", (0, 4))


def test_the_header_is_the_librarys_too() -> None:
    specs = {"one": ("float16", (2, 3)), "two": ("float32", (2,)), "three": ("bfloat16", (0,))}
    data = header(specs) + bytes(12 + 8)
    assert len(header(specs)) % 8 == 0
    tensors = library(data)
    assert tensors == read(data) and tensors is not None
    assert {name: len(value) for name, value in tensors.items()} == {"one": 12, "two": 8, "three": 0}


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_damaged_files(data: st.DataObject) -> None:
    """Any few bytes changed, the end cut or grown: one line, or just what the library reads."""
    whole = bytearray(save(TENSORS))
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(whole[: data.draw(st.integers(0, len(whole)))]) + data.draw(st.binary(max_size=3))
    check_against_library(damaged)


NUMBERS = st.one_of(st.integers(-2, 40), st.sampled_from([2**63, 2**64, 10**30, True, 1.0, "1", None]))
ENTRY = st.one_of(
    st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F16", "BF16", "F32", "BOOL", "F64", "F17", 3, None, []]),
            "shape": st.lists(NUMBERS, max_size=3),
            "data_offsets": st.lists(NUMBERS, max_size=3),
        }
    ),
    st.sampled_from([None, 3, [], {}]),
)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.text(max_size=3), ENTRY, max_size=3), st.integers(0, 40))
def test_headers_of_any_content(entries: dict[str, object], size: int) -> None:
    text = json.dumps(entries).encode()
    check_against_library(len(text).to_bytes(8, "little") + text + bytes(size))


def check_against_library(data: bytes) -> None:
    try:
        tensors = read(data)
    except SteadyPhiError as error:
        assert str(PATH) in str(error) and "\n" not in str(error)
        return
    theirs = library(data)
    assert theirs is not None and {name: theirs[name] for name in tensors} == tensors


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "its header would be"),
        (b"\xff" * 8 + b"{}", "18,446,744,073,709,551,615 bytes long"),
        ((10**8 + 1).to_bytes(8, "little") + b"{}", "100,000,001 bytes long"),
        (b"\2\0\0\0\0\0\0\0[]", "as a safetensors header .it is not a mapping"),
        (b"\3\0\0\0\0\0\0\0{x}", "as a safetensors header .Expecting"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, message: str) -> None:
    with pytest.raises(SteadyPhiError, match=message):
        read(data)


def test_overlap_gap_and_twice() -> None:
    def entry(begin: int, end: int) -> str:
        return f'{{"dtype":"F16","shape":[{(end - begin) // 2}],"data_offsets":[{begin},{end}]}}'

    for first, second, message in (
        (entry(0, 8), entry(4, 12), "'b' begins at byte .*, but .* was expected"),
        (entry(0, 4), entry(8, 12), "'b' begins at byte"),
        (entry(4, 8), entry(8, 12), "'a' begins at byte"),
        (entry(0, 4), entry(4, 8), "end at byte .*, the file at"),
    ):
        text = f'{{"a":{first},"b":{second}}}'.encode()
        with pytest.raises(SteadyPhiError, match=message):
            read(len(text).to_bytes(8, "little") + text + bytes(12))
    text = f'{{"a":{entry(0, 8)},"a":{entry(0, 8)}}}'.encode()
    with pytest.raises(SteadyPhiError, match="the duplicate key 'a'"):
        read(len(text).to_bytes(8, "little") + text + bytes(8))


def test_deeply_nested() -> None:
    text = b"[" * 200_000 + b"]" * 200_000
    with pytest.raises(SteadyPhiError, match=r"as a safetensors header .nested more than 64"):
        read(len(text).to_bytes(8, "little") + text)
