"""The model card: what huggingface_hub reads from it, and numbers equal to those of the evaluations."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from steadyphi.checkpoint import manifest
from steadyphi.cli import model_card
from steadyphi.cli.main import main
from steadyphi.prompts.formats import FORMATS
from steadyphi.results import stored
from tests.cli.made import RECOMMENDED, make_artifacts


@pytest.fixture(scope="module")
def project(lit_tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with the results of the pipeline, whose base comes from the Hub."""
    folder = tmp_path_factory.mktemp("repository")
    artifacts = make_artifacts(folder, lit_tiny)
    shutil.copytree(lit_tiny, artifacts / "model")
    content = {**manifest.read(lit_tiny), "source": "microsoft/phi-2", "revision": "ef38" * 10}
    manifest.write(artifacts / "model", content)
    (folder / "dvc.lock").write_text("schema: '2.0'\n")
    name = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    for command in (["init", "-q"], ["add", "dvc.lock"], [*name, "commit", "-q", "-m", "results"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    return folder


def export(tuned: Path, base: Path, out: Path, *options: str) -> ModelCard:
    main(["export", str(tuned), str(out), "--base", str(base), *options])
    return ModelCard.load(out / "README.md")


def test_the_card_of_a_merged_model(project: Path, tmp_path: Path) -> None:
    artifacts, out = project / "artifacts", tmp_path / "out"
    card = export(artifacts / "tuned", artifacts / "model", out)
    assert card.data.to_dict() == {
        "base_model": "microsoft/phi-2",
        "base_model_relation": "finetune",
        "library_name": "transformers",
        "license": "mit",
        "pipeline_tag": "text-generation",
        "tags": ["phi", "steadyphi"],
    }
    text = card.text
    revision = subprocess.check_output(["git", "-C", str(project), "rev-parse", "HEAD"], text=True).strip()
    locked = hashlib.sha256((project / "dvc.lock").read_bytes()).hexdigest()
    for part in (
        f"at revision `{'ef38' * 10}`",
        f"Ask it in the format `{RECOMMENDED}`",
        json.dumps("Instruct: {question}\nOutput:\n"),
        "expect +12.5 points against `phi2` (interval +5.0 to +20.0)",
        "12 questions in 3 formats. Depending on the format, ",
        "data_file: textbook.py",
        "lr: 0.0007",
        'max_new_tokens=256, tokenizer=tokenizer, stop_strings=["\\nInstruct:"])',
        f"git revision `{revision}`; `dvc repro`",
        f"SHA-256 of `dvc.lock`: `{locked}`",
        manifest.read(out)["digest"],
        "## Licence\n\nMIT.",
    ):
        assert part in text, part
    assert str(tmp_path) not in text and str(project) not in text
    runs = [json.loads((artifacts / "scores" / r / "result.json").read_text()) for r in ("base", "tuned")]
    rows = {row.split(" | ")[0]: row for row in text.splitlines() if row.startswith("| ")}
    for name, key in (("| Spread", "spread"), ("| Mean accuracy", "accuracy_mean")):
        before, after = (run["measures"][key]["value"] for run in runs)
        assert f"{100 * before:.1f}" in rows[name] and f"{100 * after:.1f}" in rows[name]
    assert "a q below 0.05, at most 5% are expected to be false" in text
    q_values = stored.side_by_side(*(stored.read(artifacts / "scores" / r) for r in ("base", "tuned")))
    (q,) = (row.q_value for row in q_values.measures if row.key == "spread")
    assert rows["| Spread"].endswith(f" | {q:.3f} |")
    (project / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    assert "not committed" in export(artifacts / "tuned", artifacts / "model", tmp_path / "b").text


def test_the_card_of_an_adapter_and_of_a_model_without_results(
    project: Path, lit_tiny: Path, tmp_path: Path
) -> None:
    artifacts = project / "artifacts"
    card = export(artifacts / "tuned", artifacts / "model", tmp_path / "a", "--adapter")
    assert (card.data.library_name, card.data.base_model_relation) == ("peft", "adapter")
    assert "A LoRA adapter for [microsoft/phi-2]" in card.text and "digest of the adapter" in card.text
    shutil.copytree(artifacts / "tuned", tmp_path / "elsewhere")
    card = export(tmp_path / "elsewhere", lit_tiny, tmp_path / "b")
    assert card.data.base_model is None and card.data.license is None
    assert "fine-tuned from `phi-tiny`" in card.text and "That of the base model." in card.text
    assert "Ask it in the format `phi2`" in card.text
    for absent in ("## Steadiness", "## Training", "git revision", "recommends"):
        assert absent not in card.text


def test_the_card_of_a_model_that_was_only_converted(project: Path, tmp_path: Path) -> None:
    model = project / "artifacts" / "model"
    card = export(model, model, tmp_path / "a")
    assert "# phi-2, converted with SteadyPhi\n\nThe weights of [microsoft/phi-2]" in card.text
    assert card.data.base_model == "microsoft/phi-2" and "base_model_relation" not in card.data.to_dict()
    assert "fine-tuned" not in card.text


def test_a_whole_model_names_the_base_of_its_run(project: Path) -> None:
    """Its own manifest does not record the base, but the settings of the run do."""
    card = model_card.of_pipeline(
        {"source": "tuned"}, FORMATS["phi2"], project / "artifacts" / "tuned", (None, None)
    )
    assert (card.manifest["source"], card.manifest["revision"]) == ("assets/phi-tiny", None)


def locked(project: Path, tuned: str, evaluated: str, composed: str = "c", used: str = "c") -> None:
    """Write a dvc.lock: the digests of what `finetune` and `compose` wrote, and of what was read of that."""
    config, weights = "artifacts/config/finetune.yaml", "artifacts/tuned"
    stages = {
        "compose": {"outs": [{"path": config, "md5": composed}]},
        "finetune": {"deps": [{"path": config, "md5": used}], "outs": [{"path": weights, "md5": tuned}]},
        "evaluate@tuned": {"deps": [{"path": weights, "md5": evaluated}, {"path": "stages", "md5": "x"}]},
    }
    (project / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


def test_results_and_settings_of_other_weights_are_not_on_the_card(
    lit_tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`finetune` ran again, and `evaluate` has not; or `compose` ran again, and `finetune` has not."""
    artifacts = make_artifacts(tmp_path, lit_tiny)
    locked(tmp_path, "new", "new")
    card = export(artifacts / "tuned", lit_tiny, tmp_path / "a").text
    assert "## Steadiness" in card and "## Training" in card and f"`{RECOMMENDED}`" in card
    assert "other weights" not in capsys.readouterr().err
    locked(tmp_path, "new", "old")
    card = export(artifacts / "tuned", lit_tiny, tmp_path / "b").text
    assert "## Steadiness" not in card and "## Training" in card and "`phi2`" in card
    assert "scores: evaluations of other weights than those in" in capsys.readouterr().err
    locked(tmp_path, "new", "new", composed="d")
    card = export(artifacts / "tuned", lit_tiny, tmp_path / "c").text
    assert "## Steadiness" in card and "## Training" not in card and "digest of the settings" not in card
