"""Checkpoints of other tools (../shared/cases/checkpoints): right, or refused in one clear line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from steadyphi.cli.main import main
from steadyphi.data.encoding import encode_examples
from steadyphi.data.row_formats import Dialogue
from steadyphi.prompts.formats import FORMATS
from steadyphi.tokenizer import TextTokenizer
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def cases(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    script = shared / "cases" / "checkpoints" / "build.py"
    if not script.is_file():
        pytest.skip(f"needs {script}, which this clone does not have")
    folder = tmp_path_factory.mktemp("cases")
    subprocess.run([sys.executable, script, folder], cwd=ROOT, check=True, capture_output=True)
    return folder


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Return the error of a command, which is one line, or the problems that `inspect` prints."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    assert "Traceback" not in output.err
    return " ".join(f"{ended.value.code} {output.out} {output.err}".split())


def test_every_declared_end_token_stops(cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = cases / "chatml-eos"
    tokenizer = TextTokenizer(folder)
    assert tokenizer.eos_ids == (1281, 0)
    main(["generate", str(folder), "Instruct: Who?", "--json", "--max-new-tokens", "9", "--dtype", "float32"])
    result = json.loads(capsys.readouterr().out)
    assert (result["reason"], result["tokens"], result["text"]) == ("eos", [], "")


def test_special_tokens_of_a_raw_prompt_are_tokens_and_those_of_a_question_are_not(cases: Path) -> None:
    import transformers

    tokenizer = TextTokenizer(cases / "chatml-eos")
    text = "<|im_start|>user\nWho has the red box?<|im_end|>\n"
    theirs = transformers.AutoTokenizer.from_pretrained(cases / "chatml-eos")
    ids = tokenizer.encode_template(text)
    assert ids == theirs(text)["input_ids"] and (ids[0], ids.count(1281)) == (1280, 1)
    assert not {1280, 1281} & set(tokenizer.encode(text)) and tokenizer.decode(ids) == text


def test_documents_end_with_the_token_that_the_checkpoint_uses(cases: Path) -> None:
    asked = (FORMATS["qa"], Dialogue("row-1", (("Who?", "Ann"),)))
    (example,) = encode_examples(TextTokenizer(cases / "chatml-eos"), [asked])
    assert example.tokens[-1] == 1281


def test_a_token_id_without_a_row_is_refused(
    cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = cases / "id-beyond-rows"
    message = "tokenizer.json has the token id 1343, but the model has 1,300 rows (ids up to 1299)"
    assert message in refusal(capsys, "inspect", folder)
    assert message in refusal(capsys, "convert", folder, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_logits_reach_up_to_the_largest_token_id(phi_tiny: Path, tmp_path: Path) -> None:
    """An added token may have a larger id than the number of tokens."""
    values = json.loads((phi_tiny / "tokenizer.json").read_text())
    values["added_tokens"].append({**values["added_tokens"][0], "id": 1343, "content": "<note>"})
    (tmp_path / "tokenizer.json").write_text(json.dumps(values))
    assert TextTokenizer(tmp_path).size == 1344 > len(values["model"]["vocab"]) + 1


def test_without_tokenizer_json_it_is_said_what_to_do(
    cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = cases / "no-tokenizer-json"
    assert "has vocab.json, but no tokenizer.json; write it with transformers" in refusal(
        capsys, "inspect", folder
    )
    assert "no tokenizer.json; write it" in refusal(capsys, "convert", folder, tmp_path / "out")
    # What it says works, with the ids of transformers.
    import transformers

    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    theirs.save_pretrained(folder)
    ours = TextTokenizer(folder)
    for text in ("Instruct: Who?\nOutput: 68", "  Größe\t→ 3\n\n", "def f(x):\n        return x"):
        assert ours.encode(text) == theirs(text)["input_ids"]
    main(["convert", str(folder), str(tmp_path / "out")])
    assert torch.load(tmp_path / "out" / "lit_model.pth", weights_only=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("saved-in-8-bits", "the weights were saved quantized, in 8 or 4 bits (model.layers."),
        ("zero3-placeholders", "ZeRO-3 saved placeholders; run zero_to_fp32.py"),
        ("prefix-peft-unmerged", "an unmerged peft model was saved; call its merge_and_unload()"),
    ],
)
def test_the_cause_is_said_in_one_line(
    name: str, message: str, cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = refusal(capsys, "inspect", cases / name)
    assert message in printed and "1 problem; see the end." in printed
    assert message in refusal(capsys, "convert", cases / name, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_the_prefix_of_a_compiled_model_is_left_out(cases: Path, phi_tiny: Path, tmp_path: Path) -> None:
    main(["inspect", str(cases / "prefix-compiled")])
    main(["convert", str(cases / "prefix-compiled"), str(tmp_path / "a")])
    main(["convert", str(phi_tiny), str(tmp_path / "b")])
    weights, expected = (torch.load(tmp_path / x / "lit_model.pth", weights_only=True) for x in "ab")
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())
