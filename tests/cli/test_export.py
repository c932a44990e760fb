"""steadyphi export: the model leaves with its prompt, which transformers and our own commands then use."""

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from steadyphi.checkpoint.chat_files import recorded_style
from steadyphi.cli.main import main
from steadyphi.prompts.dialogue import chat_template
from steadyphi.prompts.formats import FORMATS
from steadyphi.tokenizer import TextTokenizer
from tests.cli.made import RECOMMENDED, change_result, make_artifacts

Capture = pytest.CaptureFixture[str]
QUESTION = "Who has the red box?"


def run(*arguments: object) -> None:
    main([str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert isinstance(caught.value.code, str) and "\n" not in caught.value.code
    return caught.value.code


@pytest.fixture(scope="module")
def artifacts(lit_tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifacts(tmp_path_factory.mktemp("project"), lit_tiny)


@pytest.fixture(scope="module")
def exported(artifacts: Path, lit_tiny: Path) -> dict[str, Path]:
    """The merged model and the adapter, exported in the recommended style."""
    folders = {name: artifacts.parent / name for name in ("merged", "adapter")}
    run("export", artifacts / "tuned", folders["merged"], "--base", lit_tiny)
    run("export", artifacts / "tuned", folders["adapter"], "--base", lit_tiny, "--adapter")
    return folders


@pytest.mark.parametrize("kind", ["merged", "adapter"])
def test_transformers_asks_as_the_evaluation_did(
    kind: str, exported: dict[str, Path], tmp_path: Path
) -> None:
    import transformers

    theirs = transformers.AutoTokenizer.from_pretrained(exported[kind])
    messages = [{"role": "user", "content": QUESTION}]
    ids = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert ids == TextTokenizer(exported["merged"]).encode(FORMATS[RECOMMENDED].prompt(QUESTION))
    template = chat_template(FORMATS[RECOMMENDED])
    assert (exported[kind] / "chat_template.jinja").read_text() == template
    settings = json.loads((exported[kind] / "tokenizer_config.json").read_text())
    assert (settings["chat_template"], settings["prompt_style"]) == (template, RECOMMENDED)
    theirs.save_pretrained(tmp_path)
    assert recorded_style(tmp_path) == RECOMMENDED


def answer(folder: Path, capsys: Capture, *options: object) -> dict[str, Any]:
    capsys.readouterr()
    run("generate", folder, QUESTION, "--json", "--dtype", "float32", "--max-new-tokens", 12, *options)
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_transformers_answers_as_we_do(exported: dict[str, Path], capsys: Capture) -> None:
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(exported["merged"])
    model = transformers.AutoModelForCausalLM.from_pretrained(exported["merged"], dtype=torch.float32)
    messages = [{"role": "user", "content": QUESTION}]
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    expected = [token for token in made.tolist() if token != 0]
    assert answer(exported["merged"], capsys)["tokens"] == expected


@pytest.mark.slow
def test_peft_loads_the_adapter_by_the_base_that_it_names(exported: dict[str, Path], capsys: Capture) -> None:
    import peft
    import torch
    import transformers

    model = peft.AutoPeftModelForCausalLM.from_pretrained(exported["adapter"], dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported["adapter"])
    messages = [{"role": "user", "content": QUESTION}]
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    expected = answer(exported["adapter"], capsys, "--base", "assets/phi-tiny")["tokens"]
    assert [token for token in made.tolist() if token != 0] == expected


def test_generate_and_chat_read_the_style(
    exported: dict[str, Path], lit_tiny: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = FORMATS[RECOMMENDED].prompt(QUESTION)
    merged = answer(exported["merged"], capsys)
    assert merged["prompt"] == prompt
    assert answer(exported["adapter"], capsys, "--base", lit_tiny)["prompt"] == prompt
    assert answer(lit_tiny, capsys, "--tuned", exported["adapter"])["prompt"] == prompt
    assert answer(exported["merged"], capsys, "--style", "qa")["prompt"] == f"Q: {QUESTION}\nA:"
    assert answer(exported["merged"], capsys, "--style", "none")["prompt"] == QUESTION
    assert answer(lit_tiny, capsys)["prompt"] == QUESTION
    run("generate", exported["merged"], QUESTION, "--max-new-tokens", 2)
    assert capsys.readouterr().err.startswith(f"[style {RECOMMENDED}, which the folder records; ")
    for folder, style in ((exported["merged"], RECOMMENDED), (lit_tiny, "phi2")):
        monkeypatch.setattr("sys.stdin", io.StringIO("/style\n"))
        run("chat", folder)
        assert capsys.readouterr().err.startswith(f"{style} of ")


def test_a_style_is_kept_by_convert_and_an_unknown_one_is_refused(
    exported: dict[str, Path], tmp_path: Path
) -> None:
    run("convert", exported["merged"], tmp_path / "lit")
    assert recorded_style(tmp_path / "lit") == RECOMMENDED
    assert (tmp_path / "lit" / "chat_template.jinja").exists()
    path = tmp_path / "lit" / "tokenizer_config.json"
    for value, message in (
        ("of-tomorrow", "the unknown prompt style 'of-tomorrow'; give"),
        (3, "is not the"),
    ):
        path.write_text(json.dumps({**json.loads(path.read_text()), "prompt_style": value}))
        assert message in refused("generate", tmp_path / "lit", QUESTION)
        assert message in refused("chat", tmp_path / "lit")


def test_which_style_is_taken(artifacts: Path, lit_tiny: Path, tmp_path: Path) -> None:
    def style(name: str, *options: str) -> str | None:
        run("export", copy / "tuned", tmp_path / name, "--base", lit_tiny, "--adapter", *options)
        return recorded_style(tmp_path / name)

    copy = Path(shutil.copytree(artifacts, tmp_path / "artifacts"))
    assert style("given", "--style", "alpaca") == "alpaca"
    change_result(copy, variant="of-tomorrow")
    assert "recommends the unknown format 'of-tomorrow'; give --style" in refused(
        "export", copy / "tuned", tmp_path / "none"
    )
    change_result(copy)
    path = copy / "scores" / "tuned" / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "default": "question-pipe"}))
    assert style("default of the run") == "question-pipe"
    shutil.rmtree(copy / "scores")
    assert style("no evaluation") == "phi2"


def test_every_end_token_stops_generation(lit_tiny: Path, tmp_path: Path) -> None:
    """Phi-1.5's generation_config.json and config.json name no end token."""
    base = Path(shutil.copytree(lit_tiny, tmp_path / "base"))
    config = json.loads((base / "config.json").read_text()) if (base / "config.json").exists() else {}
    (base / "config.json").write_text(json.dumps({**config, "eos_token_id": [0, 7], "bos_token_id": None}))
    (base / "generation_config.json").write_text('{"_from_model_config": true}')
    run("export", base, tmp_path / "out")
    settings = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert settings == {"bos_token_id": 0, "_from_model_config": True, "eos_token_id": [0, 7]}


def test_gguf_without_its_package(lit_tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)  # importing it raises ImportError
    message = refused("export", lit_tiny, tmp_path / "out", "--gguf", "f16")
    assert message == "error: --gguf: needs the package gguf; pip install gguf"
    assert not list(tmp_path.iterdir())
