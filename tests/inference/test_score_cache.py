"""Cached scores: for the same model and tokens only, whole batches or none; a broken cache does no harm."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from steadyphi.inference import score_cache, scoring
from steadyphi.inference.score_cache import ScoreCache, digest_of
from steadyphi.inference.scoring import score
from tests.inference.test_scoring import random_requests
from tests.test_model import make_pair

CPU = torch.device("cpu")


def cache_at(path: Path, model: str = "one", dtype: torch.dtype = torch.float32) -> ScoreCache:
    return ScoreCache(path / "scores.sqlite", model, dtype, CPU)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of tokens of each batch that was computed."""
    sizes: list[int] = []
    compute = scoring._compute

    def counted(model: object, batch: scoring._Batch) -> list[float]:
        sizes.append(len(batch.walk.tokens))
        return compute(model, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(scoring, "_compute", counted)
    return sizes


def test_a_repeated_evaluation_computes_nothing(tmp_path: Path, computed: list[int]) -> None:
    model, _ = make_pair("phi-2")
    requests = random_requests(40)
    plain = score(model, requests, 60)
    batches = len(computed)
    first = score(model, requests, 60, cache=cache_at(tmp_path))
    again = score(model, requests, 60, cache=cache_at(tmp_path))
    assert plain == first == again  # to the last bit
    assert len(computed) == 2 * batches > 4


def test_an_interrupted_one_goes_on(
    tmp_path: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = make_pair("phi-2")
    requests = random_requests(40)
    plain = score(model, requests, 60)
    total = len(computed)
    run, left = type(model).run, [3]

    def failing(*arguments: object) -> torch.Tensor:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return run(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(type(model), "run", failing)
        score(model, requests, 60, cache=cache_at(tmp_path))
    computed.clear()
    assert score(model, requests, 60, cache=cache_at(tmp_path)) == plain
    assert len(computed) == total - 3


def test_another_model_type_or_code_finds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = ((1, 2), (3,))
    cache_at(tmp_path).put([request], [-1.5])
    assert cache_at(tmp_path).get([request]) == [-1.5]
    assert cache_at(tmp_path, model="two").get([request]) is None
    assert cache_at(tmp_path, dtype=torch.bfloat16).get([request]) is None
    for other in (((1,), (2, 3)), ((1, 2), (4,)), ((1, 2, 3), ())):
        assert cache_at(tmp_path).get([other]) is None
        assert cache_at(tmp_path).get([request, other]) is None
    cache_at(tmp_path).put([request, other], [-1.7, -2.0])
    assert cache_at(tmp_path).get([request]) == [-1.5]  # because in another batch it is rounded differently
    monkeypatch.setattr(score_cache, "_digest_of_code", lambda _: "changed")
    assert cache_at(tmp_path).get([request]) is None


def test_the_models_digest_is_that_of_its_files(tmp_path: Path) -> None:
    for name in ("base", "tuned"):
        (tmp_path / name).mkdir()
    (tmp_path / "base" / "lit_model.pth").write_bytes(b"weights")
    (tmp_path / "tuned" / "adapter_model.safetensors").write_bytes(b"adapter")
    both = [tmp_path / "base", tmp_path / "tuned"]
    seen = {digest_of(both[:1]), digest_of(both)}
    (tmp_path / "tuned" / "adapter_model.safetensors").write_bytes(b"Adapter")
    seen.add(digest_of(both))
    (tmp_path / "tuned" / "adapter_config.json").write_text("{}")
    seen.add(digest_of(both))
    assert len(seen) == 4 and digest_of(both) in seen


@pytest.mark.parametrize("content", [b"no database", b""])
def test_a_broken_file_is_said_and_not_needed(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    model, _ = make_pair("phi-2")
    requests = random_requests(8)
    (tmp_path / "scores.sqlite").write_bytes(content)
    scores = score(model, requests, 60, cache=cache_at(tmp_path))
    assert scores == score(model, requests, 60)
    assert ("scores are not cached" in capsys.readouterr().err) == bool(content)


PROGRAM = """
import sys, torch
from steadyphi.inference.score_cache import ScoreCache
from pathlib import Path
cache = ScoreCache(Path(sys.argv[1]), "one", torch.float32, torch.device("cpu"))
print("ready", flush=True)
for n in range(10**9):
    cache.put([((n,), (k,)) for k in range(50)], [float(n)] * 50)
"""


@pytest.mark.slow
def test_killed_while_it_writes_it_has_whole_batches(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    writers = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, str(path)], stdout=subprocess.PIPE) for _ in range(2)
    ]
    for writer in writers:
        assert writer.stdout and writer.stdout.readline() == b"ready\n"
    while not path.exists() or _rows(path) < 40:
        pass
    for writer in writers:
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
    assert cache_at(tmp_path).get([((3,), (k,)) for k in range(50)]) == [3.0] * 50


def _rows(path: Path) -> int:
    with sqlite3.connect(path, timeout=60) as connection:
        return int(connection.execute("select count(*) from batches").fetchone()[0])


@pytest.mark.parametrize(
    ("world", "here", "mode"),
    [(None, None, "wal"), ("4", "4", "wal"), ("4", "2", "delete"), ("4", None, "delete")],
)
def test_processes_on_several_machines_need_no_shared_memory(
    world: str | None, here: str | None, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WORLD_SIZE", world), ("LOCAL_WORLD_SIZE", here)):
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    path = tmp_path / "scores.sqlite"
    cache = ScoreCache(path, "m", torch.float32, torch.device("cpu"))
    other = ScoreCache(path, "m", torch.float32, torch.device("cpu"))
    cache.put([((1,), (2,))], [-0.5])
    assert other.get([((1,), (2,))]) == [-0.5]
    assert sqlite3.connect(path).execute("pragma journal_mode").fetchone() == (mode,)
