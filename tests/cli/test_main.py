"""The command line: its output, its errors, and the files that it leaves when it is stopped."""

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from steadyphi.checkpoint.layouts import LAYOUTS
from steadyphi.cli import main as cli
from steadyphi.cli.examples import EXAMPLES
from steadyphi.cli.main import _options, main, make_parser
from steadyphi.prompts.formats import FORMATS
from tests.checkpoint import by_hand
from tests.conftest import ROOT, make_hub_folder


def run(*arguments: object) -> None:
    main([str(argument) for argument in arguments])


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert isinstance(caught.value.code, str), caught.value.code
    assert caught.value.code.startswith("error: ") and "\n" not in caught.value.code
    assert not capsys.readouterr().out
    return caught.value.code


def test_alone_it_shows_what_people_do(capsys: pytest.CaptureFixture[str]) -> None:
    run()
    shown = capsys.readouterr().out
    commands = re.findall(r"^  ((?:steadyphi|dvc) .*?)(?:  .*)?$", shown, re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        program, *arguments = shlex.split(command)
        if program == "steadyphi":
            _options(arguments)


def subcommands() -> dict[str, argparse.ArgumentParser]:
    (actions,) = (a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(actions.choices)


@pytest.mark.parametrize("name", subcommands())
def test_help_has_examples_that_the_parser_reads(name: str) -> None:
    shown = subcommands()[name].format_help()
    examples = re.findall(
        r"^  (?:echo .* \| )?steadyphi (.*)$", shown.partition("\nexamples:\n")[2], re.MULTILINE
    )
    assert examples and len(examples) == len(EXAMPLES[name])
    for example in examples:
        assert _options(shlex.split(example)).command == name


@pytest.mark.parametrize(("name", "more"), [("generate", ["none"]), ("chat", []), ("export", [])])
def test_help_lists_the_styles(name: str, more: list[str]) -> None:
    shown = " ".join(subcommands()[name].format_help().split()).replace("- ", "-")
    assert all(f" {style}" in shown for style in [*more, *FORMATS])


def test_the_choices_are_the_layouts() -> None:
    assert list(cli.LAYOUTS) == list(LAYOUTS)


def test_convert_there_and_back(phi_tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("convert", phi_tiny, tmp_path / "legacy", "--to", "legacy")
    run("convert", tmp_path / "legacy", tmp_path / "hub", "--to", "hub", "--dtype", "float32")
    run("convert", tmp_path / "hub", tmp_path / "again", "--to", "hub", "--dtype", "float16")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'legacy'}: layout legacy, dtype float16, digest xxh3_128:")
    assert lines[0].split()[-1] == lines[2].split()[-1] != lines[1].split()[-1]
    original = {k: v for path in phi_tiny.glob("*.safetensors") for k, v in by_hand.load_file(path).items()}
    by_hand.assert_equal(by_hand.load(tmp_path / "again"), original)


def test_convert_writes_over_nothing(
    phi_tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    assert "exists already" in refused(capsys, "convert", phi_tiny, tmp_path / "mine")
    assert "exists already" in refused(capsys, "export", phi_tiny, tmp_path / "mine" / "thesis.tex")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    run("convert", phi_tiny, tmp_path / "empty")
    assert (tmp_path / "empty" / "lit_model.pth").exists()


def test_convert_says_what_is_wrong(
    phi_tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "none: not found" in refused(capsys, "convert", tmp_path / "none", tmp_path / "out")
    only = refused(capsys, "convert", phi_tiny, tmp_path / "out", "--no-from-safetensors")
    assert "no weights outside safetensors" in only
    closed = tmp_path / "file"
    closed.write_text("")
    assert str(closed) in refused(capsys, "convert", phi_tiny, closed / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


def test_inspect(phi_tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("inspect", phi_tiny)
    assert "A Phi checkpoint of 3,814,144 parameters" in capsys.readouterr().out
    run("inspect", phi_tiny, "--json")
    assert json.loads(capsys.readouterr().out)["problems"] == []
    make_hub_folder(tmp_path / "hub")
    next((tmp_path / "hub").glob("*00002-of-*")).unlink()
    with pytest.raises(SystemExit) as caught:
        run("inspect", tmp_path / "hub", "--json")
    assert caught.value.code == 1
    assert "No such file" in json.loads(capsys.readouterr().out)["problems"][0]
    assert "has no weights" in refused(capsys, "inspect", tmp_path)


def test_export_a_whole_model(
    lit_tiny: Path, phi_tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("export", lit_tiny, tmp_path / "hub")
    assert "layout hub" in capsys.readouterr().out
    assert (tmp_path / "hub" / "tokenizer.json").read_bytes() == (phi_tiny / "tokenizer.json").read_bytes()
    assert "no adapter" in refused(capsys, "export", lit_tiny, tmp_path / "other", "--adapter")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_it_leaves_nothing(phi_tiny: Path, tmp_path: Path, number: signal.Signals, code: int) -> None:
    program = (
        "import time; from steadyphi.cli.main import main; from steadyphi.checkpoint import copying\n"
        "write = copying._write\n"
        "copying._write = lambda *a: (print('.', flush=True), time.sleep(0.05), write(*a))\n"
        "main()"
    )
    command = [sys.executable, "-c", program, "convert", str(phi_tiny), str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(number)
    start = time.monotonic()
    _, error = process.communicate()
    assert process.returncode == code and time.monotonic() - start < 5
    assert "Traceback" not in error, error
    assert not list(tmp_path.iterdir())


def test_nested_aliases_in_a_model_config(
    phi_tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """ "Billion laughs": a few hundred bytes that stand for gigabytes."""
    run("convert", phi_tiny, tmp_path / "lit")
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    (tmp_path / "lit" / "model_config.yaml").write_text("\n".join(lines))
    reason = "line 2: *a0 repeats a value; write the value itself"
    capsys.readouterr()
    assert reason in refused(capsys, "convert", tmp_path / "lit", tmp_path / "out")
    with pytest.raises(SystemExit):
        run("inspect", tmp_path / "lit")
    shown = capsys.readouterr().out
    assert reason in " ".join(shown.split()) and len(shown) < 20_000


def test_names_in_a_file_cannot_forge_a_line(
    phi_tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "m"
    shutil.copytree(phi_tiny, folder)
    index = folder / "model.safetensors.index.json"
    values = json.loads(index.read_text())
    first = next(iter(values["weight_map"].values()))
    values["weight_map"]["x\x1b[2J\nerror: all is well" + "y" * 19_000] = first
    index.write_text(json.dumps(values))
    message = refused(capsys, "convert", folder, tmp_path / "out")
    assert "x\\x1b[2J\\nerror: all is well" in message and message.isprintable() and len(message) < 3000
    with pytest.raises(SystemExit):
        run("inspect", folder)
    assert all(line.isprintable() for line in capsys.readouterr().out.split("\n"))


def test_a_reader_that_stops_early(phi_tiny: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "steadyphi.cli.main", "inspect", str(phi_tiny)]
    done = subprocess.run(command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert done.returncode == 128 + signal.SIGPIPE and b"rror" not in done.stderr, done.stderr


@pytest.mark.parametrize("arguments", [["inspect"], ["inspect", "--json"], ["convert", "out"]])
def test_a_terminal_without_unicode(phi_tiny: Path, tmp_path: Path, arguments: list[str]) -> None:
    folder = tmp_path / "é"
    shutil.copytree(phi_tiny, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "float16", "note": "…" * 100}))
    command, *rest = arguments
    done = subprocess.run(
        [sys.executable, "-m", "steadyphi.cli.main", command, str(folder), *rest],
        cwd=tmp_path,
        env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0 and done.stdout.isascii() and b"Traceback" not in done.stderr, done.stderr


def test_a_prompt_may_follow_an_option() -> None:
    options = _options(["generate", "folder", "--style", "phi2", "Who?", "--max-new-tokens", "3"])
    assert (options.prompt, options.style, options.max_new_tokens) == (["Who?"], "phi2", 3)
    for wrong in (["generate", "folder", "--stile", "x"], ["inspect", "folder", "another"]):
        with pytest.raises(SystemExit):
            _options(wrong)
