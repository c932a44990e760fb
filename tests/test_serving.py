"""A registered model: loaded by MLflow from its registry, it answers as `steadyphi generate` does."""

import shutil
from pathlib import Path
from typing import Any

import mlflow
import pandas
import pytest

from steadyphi import serving
from steadyphi.checkpoint.export import export
from steadyphi.cli.main import main
from steadyphi.errors import SteadyPhiError
from steadyphi.export_prompt import chat_of
from steadyphi.prompts.formats import FORMATS, Format
from steadyphi.tracking import registry
from steadyphi.tracking.mlflow_store import tracking_uri
from steadyphi.tracking.published import Published
from tests.tracking.conftest import root, template
from tests.tracking.rows import client, record, runs

__all__ = ["root", "template"]  # fixtures
QUESTIONS = ["What follows 3?", "How many legs does a dog have?"]
QA = FORMATS["qa"]


@pytest.fixture
def tuned(lit_tiny: Path, tmp_path: Path) -> Path:
    """A whole fine-tuned checkpoint; the base is then not needed."""
    return Path(shutil.copytree(lit_tiny, tmp_path / "artifacts" / "tuned"))


def register(data: Path, tmp_path: Path, passed: bool = True, weights: str = "a") -> None:
    model = tmp_path / "model"
    shutil.rmtree(model, ignore_errors=True)
    registry.write_model(model, data, serving.MODULE, serving.MOST_TOKENS)
    model_tags = {"weights": weights}
    version: dict[str, Any] = {
        "name": "tiny",
        "alias": "champion",
        "tags": {**registry.verdict(passed, [] if passed else ["worse"]), **model_tags},
        "model": "phi-tiny-full",
        "model_tags": model_tags,
    }
    with record("publish") as run:
        run.summary(Published(["steadier"], {}, [], model="phi-tiny-full", model_tags=model_tags))
        run.register(model, version)


def reference(tuned: Path, tmp_path: Path, style: Format = QA) -> Path:
    data = tmp_path / "reference"
    data.mkdir(exist_ok=True)
    serving.write_reference(data, tuned.parent / "model", tuned, tmp_path, style)
    return data


def load(uri: str = "models:/tiny@champion") -> Any:
    mlflow.set_tracking_uri(tracking_uri())
    return mlflow.pyfunc.load_model(uri)


def answers(model: Any) -> list[str]:
    table = pandas.DataFrame({"instruction": QUESTIONS})
    return list(model.predict(table, params={"max_new_tokens": 8}))


def generated(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What the command line answers, in the same format and with the same number of tokens."""
    texts = []
    for question in QUESTIONS:
        capsys.readouterr()
        main(["generate", str(folder), question, "--style", "qa", "--max-new-tokens", "8"])
        texts.append(capsys.readouterr().out.strip())
    return texts


@pytest.mark.parametrize("copied", [False, True])
def test_a_version_answers_with_its_prompt(
    root: Path,
    tuned: Path,
    tmp_path: Path,
    copied: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = reference(tuned, tmp_path)
    if copied:
        data = tmp_path / "copy"
        data.mkdir()
        export(tuned, tuned, data, as_adapter=False, chat=chat_of(QA))
    register(data, tmp_path)
    expected = generated(tuned, capsys)
    if copied:
        shutil.rmtree(tuned)
    assert answers(load()) == expected and all(expected)
    files = [p for p in (root / "mlartifacts" / "models").rglob("*") if p.is_file()]
    assert not [p for p in files if p.suffix in (".pkl", ".py")]  # no code, and nothing that runs code
    assert any(p.name == "model.safetensors" for p in files) == copied


def test_the_gate_decides_on_the_alias(root: Path, tuned: Path, tmp_path: Path) -> None:
    data = reference(tuned, tmp_path)
    register(data, tmp_path)
    register(data, tmp_path)  # the same experiment again
    register(data, tmp_path, passed=False, weights="b")
    versions = {v.version: v.tags for v in client().search_model_versions("name = 'tiny'")}
    assert {int(number): tags["gate"] for number, tags in versions.items()} == {1: "passed", 2: "failed"}
    assert int(client().get_model_version_by_alias("tiny", "champion").version) == 1
    register(data, tmp_path, passed=False)  # measured anew, version 1 fails too
    assert client().get_registered_model("tiny").aliases == {}
    assert len(runs()[0]) == 1


def test_the_newest_version_that_passed_has_the_alias(root: Path, tuned: Path, tmp_path: Path) -> None:
    data = reference(tuned, tmp_path)

    def publish(weights: str, passed: bool) -> list[str]:
        """The version with the alias, and those that have reasons why they failed."""
        register(data, tmp_path, passed, weights)
        versions = client().search_model_versions("name = 'tiny'")
        champion = client().get_registered_model("tiny").aliases.get("champion")
        return [str(champion), *sorted(str(v.version) for v in versions if "gate.reasons" in v.tags)]

    assert publish("a", passed=False) == ["None", "1"]
    assert publish("a", passed=True) == ["1"]  # measured anew
    assert publish("b", passed=True) == ["2"]
    assert publish("a", passed=True) == ["2"]  # published again
    assert publish("a", passed=False) == ["2", "1"]
    assert publish("b", passed=False) == ["None", "1", "2"]
    assert publish("a", passed=True) == ["1", "2"]


def test_a_version_installs_mlflow_alone(root: Path, tuned: Path, tmp_path: Path) -> None:
    register(reference(tuned, tmp_path), tmp_path)
    assert (tmp_path / "model" / "requirements.txt").read_text() == f"mlflow=={mlflow.__version__}"


def test_other_weights_are_refused(root: Path, tuned: Path, tmp_path: Path) -> None:
    register(reference(tuned, tmp_path), tmp_path)
    (tuned / "config.json").write_text("{}")
    with pytest.raises(SteadyPhiError, match="has other weights than this version; restore them with"):
        load()
    shutil.rmtree(tuned)
    with pytest.raises(SteadyPhiError, match="are not on this machine"):
        load()


def test_a_format_of_ones_own(root: Path, tuned: Path, tmp_path: Path) -> None:
    mine = Format("mine", "Ask: {question}\nSay:", " ")
    data = reference(tuned, tmp_path, mine)
    assert serving._load_pyfunc(str(data)).style == mine
