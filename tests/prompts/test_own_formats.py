"""Prompt formats of one's own: read from conf/prompts, and used wherever a built-in one is."""

from pathlib import Path

import pytest
import yaml

from steadyphi.errors import SteadyPhiError
from steadyphi.prompts import own_formats
from steadyphi.prompts.formats import FORMATS, Format
from tests.conftest import ROOT

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
