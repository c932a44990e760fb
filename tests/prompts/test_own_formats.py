"""Prompt formats of one's own: read from conf/prompts, and used wherever a built-in one is."""

import shutil
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import yaml

from steadyphi.checkpoint import chat_files
from steadyphi.cli import generate
from steadyphi.cli.main import main
from steadyphi.errors import SteadyPhiError
from steadyphi.prompts import own_formats
from steadyphi.prompts.dialogue import chat_template
from steadyphi.prompts.formats import FORMATS, Format
from steadyphi.settings.compose import compose
from steadyphi.settings.files import load_settings, stage_files
from steadyphi.settings.schema import Evaluate, Prepare
from tests.conftest import ROOT

TEXTBOOK = "steadyphi/data/textbook.py"

TUTOR = {"name": "tutor", "template": "Lesson: {system}\nPupil: {question}\nTutor:", "lead": " "}


def test_the_example_of_conf() -> None:
    tutor = own_formats.read(ROOT / "conf" / "prompts")["tutor"]
    assert tutor == own_formats.parsed(TUTOR)
    assert tutor.prompt("Why?") == "Pupil: Why?\nTutor:" and tutor.answer("So.") == " So."
    assert tutor.prompt("Why?", "Be brief.") == "Lesson: Be brief.\nPupil: Why?\nTutor:"
    assert own_formats.written(tutor) == TUTOR and own_formats.written(FORMATS["qa"]) is None


def test_without_a_place_for_the_system_text() -> None:
    values = {"name": "plain-words", "template": "{question}\n\nReply:\n", "lead": ""}
    format_ = own_formats.parsed(values)
    assert format_ == Format("plain-words", "{question}\n\nReply:\n", "")
    assert format_.prompt("Why?", "Be brief.") == "Be brief.\n\nWhy?\n\nReply:\n"
    assert own_formats.written(format_) == values


def test_both_names_of_yaml_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(TUTOR))
    (tmp_path / "b.yml").write_text(yaml.safe_dump(TUTOR | {"name": "coach"}))
    assert set(own_formats.read(tmp_path)) == {"tutor", "coach"}


def test_no_folder_has_no_formats(tmp_path: Path) -> None:
    assert own_formats.read(tmp_path / "prompts") == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"template": "Say:"}, "template: should contain {question} exactly once, not 0 times"),
        (
            {"template": "{question} {question}"},
            "template: should contain {question} exactly once, not 2 times",
        ),
        (
            {"template": "{question}\n{answer}"},
            "template: unknown field {answer}; the fields are {question} and",
        ),
        ({"template": "{system}\n{system}\n{question}"}, "should contain {system} at most once, not 2 times"),
        (
            {"template": "{question}\n{system}\n"},
            "template: {system} should be on a line before that of {question}",
        ),
        (
            {"template": "{system} {question}"},
            "template: {system} should be on a line before that of {question}",
        ),
        ({"template": ["{question}"]}, "template: should be a text of at most 10,000 characters"),
        ({"template": "{question} "}, "lead: the template ends in white space already"),
        ({"lead": None}, "lead: should be a text"),
        ({"name": "qa"}, "name: 'qa' is a built-in format; take another name"),
        ({"name": "My format"}, "name: 'My format' should be lower-case letters"),
        ({"led": " "}, "led: unknown key; the keys are name, template, lead"),
    ],
)
def test_a_wrong_format_is_one_clear_line(tmp_path: Path, change: dict[str, object], message: str) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(TUTOR | change))
    with pytest.raises(SteadyPhiError) as refused:
        own_formats.read(tmp_path)
    assert f"{tmp_path.name}/mine.yaml: " in str(refused.value) and message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_key_and_two_files_of_one_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(TUTOR))
    with pytest.raises(SteadyPhiError, match=r"b\.yaml: name: another file has the format 'tutor'"):
        own_formats.read(tmp_path)
    (tmp_path / "a.yaml").write_text("name: tutor\ntemplate: '{question}'\n")
    with pytest.raises(SteadyPhiError, match=r"a\.yaml: lead: missing; the keys are name, template, lead"):
        own_formats.read(tmp_path)


def test_built_in_formats_cannot_be_redefined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, "tutor", FORMATS["qa"])  # undone after the test
    own_formats.define([own_formats.parsed(TUTOR), Format("qa", "{question}", "")])
    assert (
        FORMATS["tutor"].template == "Pupil: {question}\nTutor:"
        and FORMATS["qa"].template == "Q: {question}\nA:"
    )


def test_stages_get_the_formats_that_their_settings_name(tmp_path: Path) -> None:
    tutor = own_formats.parsed(TUTOR)
    standard = compose({}, ROOT / "conf")
    assert standard.prepare.prompts == standard.evaluate.prompts == ()
    styled = {"styles": ["tutor"]}
    listed = {"formats": ["phi2", "tutor"]}
    source = {"name": "a", "file": "a.jsonl", "styles": ["tutor"]}
    (tmp_path / "a.jsonl").touch()
    mixed = {"data": "mixture", "data_file": str(tmp_path), "prepare": {"sources": [source]}}
    for params in ({"prepare": styled}, {"prepare": listed}, {"suite": "formats", "prepare": listed}, mixed):
        settings = compose(params, ROOT / "conf")
        assert settings.prepare.prompts == settings.evaluate.prompts == (tutor,)
        for stage, section in (("prepare", Prepare), ("evaluate", Evaluate)):
            (tmp_path / f"{stage}.yaml").write_text(stage_files(settings)[stage])
            assert load_settings(tmp_path / f"{stage}.yaml", section).prompts == (tutor,)


def test_a_wrong_format_stops_compose_and_the_settings_cannot_hold_one(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "assets" / "phi-tiny").mkdir(parents=True)
    (tmp_path / "conf" / "prompts" / "mine.yaml").write_text("name: mine\ntemplate: 'Q:'\nlead: ''\n")
    with pytest.raises(
        SteadyPhiError, match=r"^conf/prompts/mine\.yaml: template: should contain \{question\} exac"
    ):
        compose({"data_file": TEXTBOOK}, tmp_path / "conf")
    with pytest.raises(SteadyPhiError, match=r"prepare\.prompts: cannot be set here; set conf/prompts"):
        compose({"prepare": {"prompts": [TUTOR]}}, ROOT / "conf")


def test_an_exported_folder_records_the_format(tmp_path: Path, phi_tiny: Path, monkeypatch: Any) -> None:
    """So that chat and generate read it where there is no conf/prompts."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(phi_tiny / name, tmp_path / name)
    tutor = own_formats.parsed(TUTOR)
    chat = chat_files.Chat("tutor", chat_template(tutor), texts=own_formats.written(tutor))
    chat_files.write(tmp_path, chat, phi_tiny)
    monkeypatch.setitem(FORMATS, "tutor", FORMATS["qa"])  # of a project with another format of this name
    options = Namespace(style=None, tuned=None, folder=tmp_path)
    assert generate._style(options, "none") == tutor
    settings = tmp_path / "tokenizer_config.json"
    settings.write_text(settings.read_text().replace("{question}", "{answer}"))
    with pytest.raises(SteadyPhiError, match="records a wrong prompt format: template: unknown field"):
        generate._style(options, "none")
    chat_files.write(tmp_path, chat_files.Chat("qa", "…"), phi_tiny)
    assert chat_files.recorded_format(tmp_path) is None and generate._style(options, "none") == FORMATS["qa"]


def test_a_wrong_format_ends_a_command_in_one_line(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "conf" / "prompts").mkdir(parents=True)
    (tmp_path / "conf" / "prompts" / "mine.yaml").write_text("name: mine\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["chat", "nowhere"])
    assert str(ended.value).startswith("error: conf/prompts/mine.yaml: lead: missing")
