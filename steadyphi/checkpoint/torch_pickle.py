"""Reads and writes the pickle in a torch checkpoint, without executing code from it.

Python's unpickler calls any function that a pickle names. This module only lists the opcodes with
`pickletools` and interprets the few that a dict of tensors needs. All other opcodes are rejected. The number
of opcodes and the length of each argument are limited, and no value is hashed, compared or formatted unless
its type is known, because nested tuples that share their parts can make that take for ever.
"""

import pickletools
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steadyphi.checkpoint.tensors import MOST_DIMENSIONS, contiguous_stride, elements

MOST_OPCODES = 1_000_000  # a tensor needs about 40
LONGEST_ARGUMENT = 4096  # characters or bytes of a name

STORAGES = {"HalfStorage": "float16", "BFloat16Storage": "bfloat16", "FloatStorage": "float32"}
# Storages that only buffers have, with the number of bytes per element.
OTHER_STORAGES = {"DoubleStorage": 8, "LongStorage": 8, "IntStorage": 4, "ShortStorage": 2}
OTHER_STORAGES |= {"CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1}


class BadPickle(Exception):
    """The pickle does not contain a dict of tensors."""


@dataclass(frozen=True)
class TensorRef:
    """A tensor of shape `shape` in the storage `key`, starting at element `offset`."""

    storage: str  # class name in torch, such as HalfStorage
    key: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def read(data: bytes) -> dict[str, TensorRef]:
    """Return the tensors in the pickle of a state dict. Raises BadPickle for any other content.

    If the pickle has a dict under the key `model`, as in LitGPT's training output, that dict is used.
    """
    try:
        top = _Machine().run(data)
    except (IndexError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise BadPickle(f"it is damaged ({type(error).__name__}: {error})") from None
    if isinstance(top, dict) and isinstance(top.get("model"), dict):
        top = top["model"]
    if not isinstance(top, dict) or not top:
        raise BadPickle("it does not contain a dict of tensors")
    for name, value in top.items():
        if not isinstance(name, str) or not isinstance(value, TensorRef):
            raise BadPickle(f"its entry {name!r} is not a tensor")
    return top


@dataclass(frozen=True)
class _Global:
    name: str


@dataclass(frozen=True)
class _Storage:
    name: str  # class name in torch, such as HalfStorage
    key: str


_LITERALS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "BINFLOAT", "UNICODE", "BINUNICODE"}
_LITERALS |= {"SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_MAKERS: dict[str, type] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}


class _Machine:
    """A pickle machine with a stack and a memo that can only build data."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            name = opcode.name
            if number >= MOST_OPCODES:
                raise BadPickle(f"it has more than {MOST_OPCODES:,} opcodes")
            if isinstance(argument, str | bytes | bytearray) and len(argument) > LONGEST_ARGUMENT:
                raise BadPickle(f"it has a name of {len(argument):,} characters")
            if name == "STOP":
                return self.stack.pop()
            if name in _LITERALS:
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in _MAKERS:
                self.stack.append(_MAKERS[name]())
            elif name not in ("PROTO", "FRAME"):
                step = getattr(self, f"_{name.lower()}", None)
                if step is None:
                    raise BadPickle(f"it uses {name}, which a dict of tensors does not need")
                step(argument)
        raise BadPickle("it ends too early")

    def _mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def _since_mark(self) -> list[Any]:
        place = self.marks.pop()
        items = self.stack[place:]
        del self.stack[place:]
        return items

    def _tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._since_mark()))

    def _last(self, count: int) -> None:
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def _tuple1(self, _: Any) -> None:
        self._last(1)

    def _tuple2(self, _: Any) -> None:
        self._last(2)

    def _tuple3(self, _: Any) -> None:
        self._last(3)

    def _binput(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    _long_binput = _binput

    def _memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _binget(self, place: int) -> None:
        self.stack.append(self.memo[place])

    _long_binget = _binget

    def _setitem(self, _: Any) -> None:
        key, value = self.stack[-2:]
        del self.stack[-2:]
        self._fill([key, value])

    def _setitems(self, _: Any) -> None:
        self._fill(self._since_mark())

    def _fill(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], dict):
            raise BadPickle("it sets items of an object that is not a dict")
        if not all(isinstance(key, str) for key in items[::2]):
            raise BadPickle("a key of its dict is not a text")
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def _global(self, name: str) -> None:
        self.stack.append(_Global(name))

    def _stack_global(self, _: Any) -> None:
        module, name = self.stack[-2:]
        if not isinstance(module, str) or not isinstance(name, str):
            raise BadPickle("a name of a function is not a text")
        self.stack[-2:] = [_Global(f"{module} {name}")]

    def _binpersid(self, _: Any) -> None:
        kind, storage, key, _place, _count = self.stack.pop()
        if not isinstance(kind, str) or kind != "storage":
            raise BadPickle("it refers to an object that is not a storage")
        if not isinstance(storage, _Global) or not isinstance(key, str):
            raise BadPickle("it refers to a storage without a type or a key")
        self.stack.append(_Storage(storage.name.split()[-1], key))

    def _build(self, _: Any) -> None:
        self.stack.pop()  # attributes of the dict, such as the versions of modules

    def _reduce(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Global):
            raise BadPickle("it calls an object that is not a function")
        if function.name == "collections OrderedDict" and not arguments:
            self.stack.append({})
        elif function.name == "torch._utils _rebuild_tensor_v2":
            self.stack.append(_tensor(*arguments[:4]))
        elif function.name == "torch._utils _rebuild_parameter" and isinstance(arguments[0], TensorRef):
            self.stack.append(arguments[0])
        else:
            called = function.name.replace(" ", ".")
            raise BadPickle(f"it would call {called}, which weights do not need; it was not executed")


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any) -> TensorRef:
    if not isinstance(storage, _Storage):
        raise BadPickle("the storage of a tensor is something else")
    if not isinstance(shape, tuple) or not isinstance(stride, tuple):
        raise BadPickle("the shape of a tensor is not a tuple")
    if len(shape) > MOST_DIMENSIONS or len(stride) > MOST_DIMENSIONS:
        raise BadPickle(f"a tensor has more than {MOST_DIMENSIONS} dimensions")
    for number in (offset, *shape, *stride):
        if type(number) is not int or not 0 <= number < 2**63:
            raise BadPickle("a size of a tensor is not a whole number")
    return TensorRef(storage.name, storage.key, offset, shape, stride)


def write(tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> bytes:
    """Return the pickle of a dict of contiguous tensors (dtype, shape), each in a separate storage.

    The keys of the storages are "0", "1", … in the given order, as in torch.save.
    """
    classes = {name: storage for storage, name in STORAGES.items()}
    out = [b"\x80\x02}("]
    for key, (name, (dtype, shape)) in enumerate(tensors.items()):
        kind = f"ctorch\n{classes[dtype]}\n".encode()
        storage = [_text("storage"), kind, _text(str(key)), _text("cpu"), _int(elements(shape))]
        out += [_text(name), b"ctorch._utils\n_rebuild_tensor_v2\n(", b"(", *storage, b"tQ", _int(0)]
        out += [_ints(shape), _ints(contiguous_stride(shape)), b"\x89ccollections\nOrderedDict\n)RtR"]
    return b"".join([*out, b"u."])


def _text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _int(value: int) -> bytes:
    if value < 2**31:
        return b"J" + struct.pack("<i", value)
    return b"\x8a\x08" + struct.pack("<q", value)


def _ints(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(_int, values)) + b"t"
