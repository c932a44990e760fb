"""torch's files: read without executing their pickles, and written as torch and unzip take them."""

import io
import os
import pickletools
import shutil
import subprocess
import zipfile
from pathlib import Path
from zlib import crc32

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steadyphi.checkpoint import torch_pickle, torch_zip
from steadyphi.errors import SteadyPhiError

PATH = Path("x.bin")
SHARED = torch.arange(40, dtype=torch.float32)
STATE = {
    "a": torch.randn(3, 5).half(),
    "b": torch.randn(7).bfloat16(),
    "view": SHARED[10:30].view(4, 5),
    "same": SHARED[:10],
    "parameter": torch.nn.Parameter(torch.randn(2, 2)),
    "mask": torch.tensor([[True, False]]),
    "scalar": torch.tensor(3.0),
    "column": torch.randn(5, 1).half(),
}


def saved(value: object, **options: object) -> bytes:
    data = io.BytesIO()
    torch.save(value, data, **options)  # type: ignore[arg-type]
    return data.getvalue()


def read(data: bytes) -> dict[str, bytes]:
    tensors = torch_zip.read(io.BytesIO(data), len(data), PATH)
    return {name: data[t.offset : t.offset + t.nbytes] for name, t in tensors.items()}


def raw(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy())


CODES = [opcode.code.encode("latin1") for opcode in pickletools.opcodes]
EXPECTED = {name: raw(tensor) for name, tensor in STATE.items()}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_torch_saves(protocol: int) -> None:
    assert read(saved(STATE, pickle_protocol=protocol)) == EXPECTED


def test_what_modules_and_litgpt_save() -> None:
    module = torch.nn.Linear(3, 2).half()
    state = module.state_dict()  # an OrderedDict with versions of the modules attached
    for value in (state, {"model": state}, dict(state)):
        assert read(saved(value)) == {name: raw(tensor) for name, tensor in state.items()}


class Evil:
    def __init__(self, what: object, *arguments: object) -> None:
        self.what, self.arguments = what, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:  # type: ignore[override]
        return self.what, self.arguments


def test_no_code_is_executed(tmp_path: Path) -> None:
    flag = tmp_path / "owned"
    for evil in (Evil(os.mkdir, str(flag)), Evil(eval, f"open({str(flag)!r}, 'w')"), Evil(print, "x")):
        for value in ({**STATE, "evil": evil}, [evil], evil, {"model": {"w": evil}}):
            with pytest.raises(SteadyPhiError, match=r"would call .*; it was not executed"):
                read(saved(value))
    assert not flag.exists()


@pytest.mark.parametrize("value", [3, [], {}, {"a": 3}, {3: torch.ones(1)}, "text", {"model": {}}])
def test_other_pickles(value: object) -> None:
    with pytest.raises(SteadyPhiError, match="its pickle was rejected"):
        read(saved(value))


def test_transposed_tensors_are_refused() -> None:
    with pytest.raises(SteadyPhiError, match=r"a is not stored in row-major order"):
        read(saved({"a": torch.randn(3, 4).T}))


def test_no_zip_at_all() -> None:
    for data in (b"", b"PK", saved(STATE, _use_new_zipfile_serialization=False), saved(STATE)[:-30]):
        with pytest.raises(SteadyPhiError, match=r"x\.bin: is not a whole torch checkpoint"):
            read(data)


def with_record(name: str, data: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A torch checkpoint with other bytes in one record."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved(STATE))) as old, zipfile.ZipFile(out, "w") as new:
        for info in old.infolist():
            if info.filename == f"archive/{name}":
                new.writestr(info.filename, data, compression)
            else:
                new.writestr(info.filename, old.read(info))
    return out.getvalue()


def with_pickle(data: bytes) -> bytes:
    return with_record("data.pkl", data)


PICKLE = zipfile.ZipFile(io.BytesIO(saved(STATE))).read("archive/data.pkl")


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_damaged_pickles(data: st.DataObject) -> None:
    """Whatever stands in the pickle: one line, or tensors that lie within the file."""
    damaged = bytearray(PICKLE)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    check(with_pickle(bytes(damaged)))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([o.code.encode("latin1") for o in pickletools.opcodes]), max_size=30),
    st.binary(),
)
def test_random_opcodes(codes: list[bytes], rest: bytes) -> None:
    with pytest.raises(torch_pickle.BadPickle):
        torch_pickle.read(b"\x80\x02" + b"".join(codes) + rest)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_files(data: st.DataObject) -> None:
    whole = bytearray(saved(STATE))
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    check(bytes(whole[: data.draw(st.integers(0, len(whole)))]))


def check(data: bytes) -> None:
    try:
        tensors = torch_zip.read(io.BytesIO(data), len(data), PATH)
    except SteadyPhiError as error:
        assert str(PATH) in str(error)
        return
    for tensor in tensors.values():
        assert 0 <= tensor.offset and tensor.offset + tensor.nbytes <= len(data)


def test_a_huge_pickle_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_zip, "LONGEST_PICKLE", 100)
    with pytest.raises(SteadyPhiError, match="bytes long"):
        read(saved(STATE))


def test_big_endian() -> None:
    with pytest.raises(SteadyPhiError, match="big-endian"):
        read(with_record("byteorder", b"big"))


SHAPES = st.lists(st.lists(st.integers(1, 5), max_size=3).map(tuple), min_size=1, max_size=6)


@settings(max_examples=50, deadline=None)
@given(SHAPES, st.sampled_from(["float16", "bfloat16", "float32"]))
def test_what_is_written(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[tuple[int, ...]], dtype: str
) -> None:
    tensors = {f"t.{i}": torch.randn(shape).to(getattr(torch, dtype)) for i, shape in enumerate(shapes)}
    path = tmp_path_factory.mktemp("zip") / "some.pth"
    write(path, tensors, dtype)
    for options in ({}, {"mmap": True}):
        loaded = torch.load(path, weights_only=True, **options)
        assert list(loaded) == list(tensors)
        assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    assert read(path.read_bytes()) == {name: raw(tensor) for name, tensor in tensors.items()}


def write(path: Path, tensors: dict[str, torch.Tensor], dtype: str) -> None:
    writer = torch_zip.Writer(path, {name: (dtype, tuple(t.shape)) for name, t in tensors.items()})
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    for name, tensor in tensors.items():
        assert writer.places[name] % torch_zip.ALIGNMENT == 0
        os.pwrite(fd, raw(tensor), writer.places[name])
    writer.finish(fd, {name: crc32(raw(tensor)) for name, tensor in tensors.items()})
    os.close(fd)


@pytest.mark.skipif(not shutil.which("unzip"), reason="needs the unzip command")
def test_unzip_finds_no_error_in_it(tmp_path: Path) -> None:
    write(tmp_path / "some.pth", {"a": torch.randn(30, 40), "b": torch.randn(3)}, "float32")
    done = subprocess.run(["unzip", "-t", tmp_path / "some.pth"], capture_output=True, text=True)
    assert done.returncode == 0 and "No errors detected" in done.stdout, done.stdout


def test_a_tensor_of_four_gigabytes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SteadyPhiError, match="too large for a torch zip"):
        torch_zip.Writer(tmp_path / "x.pth", {"a": ("float32", (2**30,))})


SHARED = b"K\x01" + b"q\x00h\x00\x86" * 60  # a tuple of a tuple …: each twice in the next, 2 ** 60 in all
DEEP = b")" + b"\x85" * 1_000_000
STORAGE = b"(X\x07\0\0\0storagectorch\nHalfStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x01tQ"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


@pytest.mark.parametrize(
    ("pickle", "reason"),
    [
        (b"}" + SHARED + b"K\x01s.", "a key of its dict is not a text"),
        (b"}" + DEEP + b"K\x01s.", "more than 1,000,000 opcodes"),
        (b"}" + DEEP[:500_000] + b"K\x01s.", "a key of its dict is not a text"),
        (b"}" * 10_000_000, "more than 1,000,000 opcodes"),
        (SHARED + b"X\x01\0\0\0a\x93.", "a name of a function is not a text"),
        (b"X" + (5000).to_bytes(4, "little") + b"a" * 5000 + b".", "a name of 5,000 characters"),
        (b"(" + SHARED + b"NNNNtQ.", "an object that is not a storage"),
        (
            REBUILD + b"((X\x07\0\0\0storage" + SHARED + b"X\x01\0\0\x000tK\0))tR.",
            "storage of a tensor is something",
        ),
        (REBUILD + b"(" + STORAGE + b"K\0(" + b"K\x01" * 65 + b"t)tR.", "more than 64 dimensions"),
        (REBUILD + b"(" + STORAGE + b"K\0(\x8a\x09" + b"\x7f" * 9 + b"t)tR.", "not a whole number"),
        (REBUILD + b"(" + STORAGE + b"K\0" + SHARED + b")tR.", "size of a tensor is not a whole number"),
        (SHARED + b".", "does not contain a dict of tensors"),
        (b"}X\x01\0\0\0a" + SHARED + b"s.", "its entry 'a' is not a tensor"),
    ],
    ids=range(13),
)
def test_pickles_that_would_take_for_ever(pickle: bytes, reason: str) -> None:
    with pytest.raises(SteadyPhiError, match=reason):
        read(with_pickle(b"\x80\x02" + pickle))


@pytest.mark.parametrize("name", ["byteorder", "data.pkl", "data/0"])
def test_compressed_records_are_refused_unread(name: str) -> None:
    """Few bytes in the file can be gigabytes in memory."""
    content = {"byteorder": b"little", "data.pkl": PICKLE, "data/0": bytes(30)}[name]
    for data in (content, bytes(50_000_000)):
        packed = with_record(name, data, zipfile.ZIP_DEFLATED)
        assert len(packed) < 100_000
        with pytest.raises(SteadyPhiError, match=r"x\.bin: is not a whole .*record .*(is|of) .*compressed"):
            read(packed)
    with pytest.raises(SteadyPhiError, match=r"bytes long|ends after the end"):
        read(with_record(name, bytes(17_000_000) if name != "data/0" else b"", zipfile.ZIP_STORED))


def test_a_list_of_too_many_records_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_zip, "LONGEST_READ", 100)
    with pytest.raises(SteadyPhiError, match=r"its list of records is .* bytes long"):
        read(saved(STATE))
