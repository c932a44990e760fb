"""Questions by Hub id, fetched by `datasets` itself from a real server on 127.0.0.1."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from steadyphi.errors import SteadyPhiError
from steadyphi.settings.compose import compose
from steadyphi.settings.groups import HubSplit
from tests.conftest import ROOT
from tests.data.loopback_datasets import serve_datasets

TASK = compose({"task": "arc-easy"}, ROOT / "conf").task
assert TASK.dataset and TASK.revision
SPLIT = HubSplit(TASK.dataset, "test", TASK.config, TASK.revision)
CARD = """---
configs:
- config_name: ARC-Easy
  data_files:
  - {split: train, path: ARC-Easy/train-*}
  - {split: test, path: ARC-Easy/test-*}
---
"""
# A process of its own, for the address of the Hub is read when `datasets` is imported.
ASK = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from steadyphi.settings.compose import compose
from steadyphi.data import sources
from steadyphi.errors import SteadyPhiError
answers = []
for task in json.loads(sys.argv[1]):
    params = {"task": "arc-easy", "prepare": {"task": task, "items": 20, "examples": 9, "shots": 3}}
    try:
        found = sources.load(compose(params, Path("conf")).prepare, Path("unused"))
        items, shots = ([asdict(item) for item in part] for part in (found.items, found.shots))
        answers.append({"items": items, "shots": shots, "unusable": found.unusable})
    except SteadyPhiError as error:
        answers.append(str(error))
print(json.dumps(answers))
"""

TRAIN = """
import json, sys
from pathlib import Path
from steadyphi.settings.compose import compose
from steadyphi.data import sources
from steadyphi.errors import SteadyPhiError
answers = []
for params in json.loads(sys.argv[1]):
    try:
        settings = compose(params, Path("conf")).prepare
        found = sources.load(settings, Path(settings.data_file))
        items = [item.question for item in (*found.items, *found.shots)]
        trained = [[d.id, *d.turns[0]] for d in (*found.train, *found.valid)]
        answers.append({"items": items, "trained": trained, "recognized": list(found.recognized.values())})
    except SteadyPhiError as error:
        answers.append(str(error))
print(json.dumps(answers))
"""


def row(number: int, **changes: Any) -> dict[str, Any]:
    choices = {"text": [f"{word} {number}" for word in ("a", "b", "c")], "label": ["1", "2", "3"]}
    return {
        "id": str(number),
        "question": f"What is {number}?",
        "choices": choices,
        "answerKey": "3",
    } | changes


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 test questions, one of them twice and one with equal choices; of 12 to train on, 10 are asked."""
    folder = tmp_path_factory.mktemp("datasets") / "repository"
    (folder / "ARC-Easy").mkdir(parents=True)
    (folder / "README.md").write_text(CARD)
    alike = row(30, choices={"text": ["a", "a"], "label": ["1", "2"]})
    splits = {
        "test": [*map(row, range(20)), row(0, id="twice"), alike],
        "train": [*map(row, range(10)), row(100), row(101)],
    }
    for split, rows in splits.items():
        pq.write_table(pa.Table.from_pylist(rows), folder / "ARC-Easy" / f"{split}-00000-of-00001.parquet")
    return folder


def ask(tasks: list[dict[str, Any]], home: Path, script: str = ASK, **env: str) -> list[Any]:
    environment = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_OFFLINE", "HF_TOKEN")}
    environment |= {"HF_HOME": str(home), "PYTHONPATH": str(ROOT)} | env
    command = [sys.executable, "-c", script, json.dumps(tasks)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers: list[Any] = json.loads(done.stdout)
    assert not [a for a in answers if isinstance(a, str) and "\n" in a]
    return answers


@pytest.mark.slow
def test_a_task_by_hub_id(repository: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    wrong = [{"split": "dev"}, {"config": "ARC-Hard"}, {"revision": "3" * 40}, {"dataset": "allenai/gone"}]
    with serve_datasets(repository, (str(TASK.dataset), str(TASK.revision))) as hub:
        questions, *refused = ask([{}, *wrong], home, HF_ENDPOINT=hub.endpoint)
        assert {r.method for r in hub.requests} == {"GET", "HEAD"}  # nothing is sent
    assert isinstance(questions, dict), questions
    assert questions["unusable"] == 1
    assert sorted(item["question"] for item in questions["items"]) == sorted(
        f"What is {n}?" for n in range(20)
    )
    for item in questions["items"]:
        number = item["question"][8:-1]
        assert (item["choices"], item["answer"]) == ([f"a {number}", f"b {number}", f"c {number}"], 2)
        assert item["id"] == f"row-{int(number) + 1}"
    # Of the train split, what is asked is no example; its ids are apart from those of the test split.
    assert {shot["question"] for shot in questions["shots"]} == {"What is 100?", "What is 101?"}
    assert {shot["id"] for shot in questions["shots"]} == {"train-row-11", "train-row-12"}
    says = [
        "Unknown split",
        "'ARC-Hard' not found",
        f"has no commit {'3' * 40}",
        "not on the Hub, or private",
    ]
    for text, part in zip(refused, says, strict=True):
        assert part in text and text.startswith("allenai/"), text
    # What was fetched once is enough, but never another commit than the one asked for.
    again, other, absent = ask(
        [{}, {"revision": "3" * 40}, {"dataset": "allenai/gone"}], home, HF_HUB_OFFLINE="1"
    )
    assert again == questions
    assert f"the latest commit in the cache is {TASK.revision}, not {'3' * 40}" in other
    assert "HF_HUB_OFFLINE is set and the data is not in the cache yet" in absent


@pytest.mark.slow
def test_training_data_by_hub_id(tmp_path: Path) -> None:
    """The walk-through of docs/data.md, on a small Alpaca; alone, and mixed with a file."""
    repository, folder = tmp_path / "repository", tmp_path / "mixture"
    (repository / "data").mkdir(parents=True)
    folder.mkdir()
    rows = [
        {"instruction": f"Double {n}.", "input": "Briefly." * (n % 2), "output": str(2 * n), "text": "…"}
        for n in range(60)
    ]
    pq.write_table(pa.Table.from_pylist(rows), repository / "data" / "train-00000-of-00001.parquet")
    mine = [{"instruction": f"Say {n}.", "response": str(n)} for n in range(40)]
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in mine))
    (walk,) = re.findall("### From the Hub\n\n```\ndvc exp run (.*)\n", (ROOT / "docs/data.md").read_text())
    choices = dict(word.removeprefix("+").split("=") for word in walk.replace("-S ", "").split())
    assert choices == {"data": "alpaca", "prepare.examples": "2000"}
    pinned = compose({"data": "alpaca"}, ROOT / "conf").prepare.hub
    assert pinned and pinned.revision
    split = {"dataset": pinned.dataset, "split": "train", "revision": pinned.revision}
    listed = [{"name": "hub", "hub": split}, {"name": "mine", "file": "mine.jsonl"}]
    section = {"valid": 5, "items": 10, "shots": 2}
    alone = {"data": "alpaca", "prepare": {**section, "examples": 2000}}
    mixed = {"data": "mixture", "data_file": str(folder), "prepare": {**section, "sources": listed}}
    absent = {"data": "alpaca", "prepare": {"hub": {"split": "test"}}}
    with serve_datasets(repository, (pinned.dataset, pinned.revision)) as hub:
        single, both, error = ask([alone, mixed, absent], tmp_path / "home", TRAIN, HF_ENDPOINT=hub.endpoint)
    texts = {f"Double {n}.{chr(10) + 'Briefly.' if n % 2 else ''}": str(2 * n) for n in range(60)}
    assert single["recognized"] == [f"{pinned.dataset}, split train: read as alpaca (instruction, output)"]
    assert {
        **{question: answer for _, question, answer in single["trained"]},
        **dict.fromkeys(single["items"]),
    } == {question: None if question in single["items"] else answer for question, answer in texts.items()}
    assert len(single["items"]) == 12 and len(single["trained"]) == 48
    assert {id_.partition("-")[0] for id_, _, _ in both["trained"]} == {"hub", "mine"}
    assert len(both["trained"]) == 88 and not {q for _, q, _ in both["trained"]} & set(both["items"])
    assert "check prepare.hub.config and prepare.hub.split" in error


@pytest.mark.parametrize("name", ["open-platypus", "slimorca", "code-alpaca"])
def test_a_data_set_without_a_commit_says_where_they_are_listed(name: str) -> None:
    with pytest.raises(
        SteadyPhiError, match=r"hub\.revision: null; write the commit of .* git ls-remote https://h"
    ):
        compose({"data": name}, ROOT / "conf")
    commit = {"hub": {"revision": "0" * 40}}
    hub = compose({"data": name, "prepare": commit}, ROOT / "conf").prepare.hub
    assert hub and hub.revision == "0" * 40 and hub.split == "train"


def test_a_data_set_on_the_hub_reads_no_file() -> None:
    with pytest.raises(
        SteadyPhiError, match="data_file: data alpaca is read from the Hub, not read from mine"
    ):
        compose({"data": "alpaca", "data_file": "mine.jsonl"}, ROOT / "conf")


def test_the_hubs_silence_is_told_from_its_refusal() -> None:
    """Errors as the libraries raise them, without the half minute in which they try again."""
    from datasets.exceptions import DatasetNotFoundError

    from steadyphi.data.hub_rows import _reason

    assert "out of reach; the first run needs it" in _reason(
        ConnectionError("Couldn't reach it"), SPLIT, "task"
    )
    gated = DatasetNotFoundError("Dataset 'a/b' is a gated dataset on the Hub.")
    assert "accept its terms at huggingface.co/datasets/allenai/ai2_arc and set HF_TOKEN" in _reason(
        gated, SPLIT, "task"
    )
    assert _reason(RuntimeError("Dataset scripts are\nno longer supported"), SPLIT, "task").startswith(
        "cannot be read (D"
    )
