"""`steadyphi inspect` of a repository on the Hub: the headers alone are read."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from steadyphi.inspection import inspect
from tests.checkpoint import by_hand
from tests.hub.hub_fixtures import COMMIT, REPO, SHARDS
from tests.inspection.inspected import (
    H,
    assert_page,
    edit_json,
    edit_shard,
    index_of,
    make_shards,
    random_state,
)
from tests.pipeline.loopback_hub import Faults, start


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_shards(tmp_path)


@pytest.mark.parametrize(("layout", "how"), [("hub", "safetensors-shards"), ("phi-msft", "bin-shards")])
def test_of_a_repository_the_headers_alone_are_read(
    layout: str, how: str, online: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of real size would be needed to see how little that is: here a matrix is widened with zeros."""
    state = random_state()
    folder = by_hand.make(tmp_path / "model", state, layout, how)
    wide = 20_480
    edit_json(folder / "config.json", lambda c: c.update({"n_inner": wide, "intermediate_size": wide}))
    shards = {p.name: p for p in folder.glob("*-of-*")}
    for path in shards.values():
        tensors = torch.load(path) if how.startswith("bin") else load_file(path)
        for name, tensor in tensors.items():
            if "fc1" in name:
                tensors[name] = torch.zeros(wide, *tensor.shape[1:]).half()
            if "fc2.weight" in name:
                tensors[name] = torch.zeros(H, wide).half()
        torch.save(tensors, path) if how.startswith("bin") else save_file(tensors, path)
    local = inspect.inspect(str(folder))
    edit_json(
        next(folder.glob("*.index.json")),
        lambda i: i["metadata"].update(total_size=local["weights"]["bytes"]),
    )
    with start(folder, (REPO, COMMIT), faults=Faults()) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        facts = inspect.inspect(REPO)
        asked = [r for r in server.requests if r.method == "GET" and "/resolve/" in r.path]
        served = server.served
    assert facts["problems"] == [] and facts["commit"] == COMMIT
    for key in ("layout", "parameters", "memory", "shape", "weights", "settings"):
        assert facts[key] == local[key], key
    assert facts["index"]["agrees"]
    size = sum(path.stat().st_size for path in shards.values())
    # A header, or the end and the pickle of a zip: never more than a few blocks of 64 KiB a file.
    assert sum(served[name] for name in shards) <= min(8 * 65_536, size / 50)
    assert len(asked) <= 3 + 7 * len(shards) and all(r.range for r in asked)
    assert not any("token" in r.path for r in asked)  # the tokenizer's two megabytes are not needed
    by_name = {file["name"]: file["digest"] for file in facts["files"]}
    assert {by_name[name]["kind"] for name in shards} == {"sha256"} and by_name["config.json"][
        "kind"
    ] == "git"
    assert facts["digest"]["kind"] == "listing" and facts["digest"]["value"].startswith("sha256:")
    assert "of the Hub's listing above; the weights were not read" in " ".join(assert_page(facts).split())


def test_a_repository_that_contradicts_itself(
    online: None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit_json(index_of(folder), lambda index: index["metadata"].update(total_size=12))
    edit_shard(folder, lambda tensors: tensors.update({"model.extra": torch.zeros(7).half()}))
    expected = ["total_size is 12, the tensors take", "the tensor model.extra belongs to no part"]
    with start(folder, (REPO, COMMIT), faults=Faults()) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        first = inspect.inspect(REPO, COMMIT)
        (folder / SHARDS[1]).unlink()
        second = inspect.inspect(REPO, COMMIT)
    for text in expected:
        assert any(text in problem for problem in first["problems"])
    assert f"{REPO}/{SHARDS[1]}: the repository does not have it" in second["problems"]
    assert first["digest"]["value"] != second["digest"]["value"]


def test_a_repository_without_tokenizer_json(
    online: None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "tokenizer.json").rename(folder / "vocab.json")
    with start(folder, (REPO, COMMIT), faults=Faults()) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        (problem,) = inspect.inspect(REPO)["problems"]
    assert problem.startswith(f"{REPO}: has vocab.json, but no tokenizer.json; write it with transformers")


def test_a_repository_of_hostile_files(folder: Path, online: None, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    (folder / "model_config.yaml").write_text("\n".join(lines))
    (folder / "generation_config.json").write_text('{"a":' * 3000 + "1" + "}" * 3000)
    index = index_of(folder)
    edit_json(index, lambda values: values["metadata"].update(total_size=float("nan")))
    with start(folder, (REPO, COMMIT), faults=Faults()) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        facts = inspect.inspect(REPO)
    assert_page(facts)
    problems = dict(problem.removeprefix(f"{REPO}/").split(": ", 1) for problem in facts["problems"])
    assert "line 2: *a0 repeats a value" in problems["model_config.yaml"]
    assert "nested more than 64 levels" in problems["generation_config.json"]
    assert "total_size: a number is NaN or infinite" in problems[index.name]
