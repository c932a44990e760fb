"""What is held out of training is in no training format, and test formats consist of it."""

from pathlib import Path

import pytest

from steadyphi.errors import SteadyPhiError
from steadyphi.prompts import grammar, held_out
from steadyphi.prompts.formats import FORMATS
from steadyphi.settings.compose import compose
from tests.conftest import ROOT

ATOMS = {"descriptor": ("input", "q"), "separator": ("dash", "tab"), "gap": ("comma", "pipes")}


def texts(formats: list[grammar.GrammarFormat]) -> set[tuple[str, str]]:
    return {(f.format.template, f.format.lead) for f in formats}


def test_no_training_format_has_a_held_out_atom() -> None:
    for format_ in held_out.trainable(ATOMS):
        assert all(getattr(format_, factor) not in atoms for factor, atoms in ATOMS.items())


def test_a_test_format_has_nothing_else() -> None:
    drawn = held_out.unseen(12, 0, ATOMS)
    assert len(texts(drawn)) == 12
    for format_ in drawn:
        assert all(getattr(format_, factor) in atoms for factor, atoms in ATOMS.items())
    assert not texts(drawn) & texts(list(held_out.trainable(ATOMS)))
    assert drawn == held_out.unseen(12, 0, ATOMS) != held_out.unseen(12, 1, ATOMS)


DEVELOPMENT = {"descriptor": (), "separator": ("colons3",), "gap": ("sep", "dashes")}


def test_development_formats_are_neither_trained_on_nor_tested() -> None:
    both = {factor: (*atoms, *DEVELOPMENT[factor]) for factor, atoms in ATOMS.items()}
    drawn = held_out.development(8, 0, DEVELOPMENT, ATOMS)
    assert len(texts(drawn)) == 8
    for format_ in drawn:
        assert format_.separator == "colons3" and format_.gap in ("sep", "dashes")
        assert all(getattr(format_, factor) not in atoms for factor, atoms in ATOMS.items())
    assert not texts(drawn) & texts(list(held_out.trainable(both)))
    assert not texts(drawn) & texts(held_out.unseen(40, 0, ATOMS))
    assert held_out.development(8, 0, {factor: () for factor in ATOMS}, ATOMS) == []


def test_all_of_the_grammar_without_held_out_atoms() -> None:
    none = {"descriptor": (), "separator": (), "gap": ()}
    assert len(held_out.trainable(none)) == grammar.count_formats(False) and held_out.unseen(0, 0, none) == []


def test_some_of_the_training_formats() -> None:
    few = held_out.trainable(ATOMS, 8, seed=1)
    assert len(texts(list(few))) == 8 and set(few) <= set(held_out.trainable(ATOMS))
    assert few == held_out.trainable(ATOMS, 8, seed=1) != held_out.trainable(ATOMS, 8, seed=2)
    assert held_out.trainable(ATOMS, 10_000) == held_out.trainable(ATOMS)
    assert held_out.is_trainable(few[0].format, ATOMS, 8, 1)
    assert not held_out.is_trainable(few[0].format, ATOMS, 8, 2)


def test_more_than_there_are() -> None:
    with pytest.raises(SteadyPhiError, match="hold out more atoms"):
        held_out.unseen(10_000, 0, ATOMS)


def test_named_formats_are_recognized_by_their_text() -> None:
    assert held_out.is_trainable(FORMATS["question"], ATOMS)
    assert not held_out.is_trainable(FORMATS["question-dash"], ATOMS)
    assert not held_out.is_trainable(FORMATS["alpaca"], ATOMS)  # not in the grammar


@pytest.mark.parametrize("data", ["textbook", "jsonl", "gsm8k", "svamp"])
def test_the_default_styles_have_no_held_out_atom(data: str, tmp_path: Path) -> None:
    """Otherwise formats of held-out atoms would say nothing about formats never seen."""
    (tmp_path / "a.jsonl").touch()
    file = None if data == "textbook" else str(tmp_path / "a.jsonl")
    settings = compose({"data": data, "data_file": file}, ROOT / "conf")
    named = {(FORMATS[name].template, FORMATS[name].lead) for name in settings.prepare.styles}
    atoms = settings.held_out.untrained
    with_held_out = set(grammar.formats()) - set(held_out.trainable(atoms))
    assert settings.prepare.grammar > 0 and not named & texts(list(with_held_out))
