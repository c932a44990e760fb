"""steadyphi plan: its tables, what they rest on, and its errors."""

import itertools
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from steadyphi.cli.main import main
from steadyphi.stats import simulated_power
from steadyphi.stats.simulated_power import OfExtreme
from tests.cli.made import make_artifacts
from tests.conftest import ROOT

Capture = pytest.CaptureFixture[str]
PAGE = (ROOT / "docs" / "statistics.md").read_text()
COMMAND = "steadyphi plan --formats 24 --detect 5"


@pytest.fixture
def unsimulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the simulated rows' seconds; tests/stats/test_planning.py has them."""
    monkeypatch.setattr(OfExtreme, "_margins", lambda self, change, questions: np.ones(3))


def run(*arguments: object) -> None:
    main(["plan", *map(str, arguments)])


def refused(capsys: Capture, *arguments: object) -> str:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert not capsys.readouterr().out
    assert isinstance(caught.value.code, str) and "\n" not in caught.value.code
    return caught.value.code


def test_the_page_shows_what_the_command_prints(capsys: Capture) -> None:
    main(COMMAND.split()[1:])
    assert f"$ {COMMAND}\n{capsys.readouterr().out}```" in PAGE


@pytest.mark.usefixtures("unsimulated")
def test_both_tables(capsys: Capture) -> None:
    run("--detect", 5, "--questions", 400, "--formats", 24)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("  ")[0] == "24 formats, power 80%, level 5%"
    assert re.search(r"for 5 points +with 400 questions$", lines[0])
    numbers = [
        (int(needed.replace(",", "")), float(change))
        for needed, change in re.findall(r" ([\d,]+) questions +([\d.]+) points", "\n".join(lines[1:4]))
    ]
    mean, named, any_format = numbers
    # More is needed for one format than for the mean, and for any of 24 than for one.
    assert mean < named < any_format
    assert all((needed <= 400) == (change <= 5.0) for needed, change in numbers)
    assert "Assumed, as in the default run of phi-tiny:" in lines


def test_slow_simulations_show_their_progress(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated_power, "draw_runs", lambda *_: (np.eye(3, dtype=bool),) * 2)
    clock = itertools.count(0.0, 0.1)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    run("--detect", 5, "--formats", 3)
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    for name in ("worst quarter of formats (simulated)", "spread (simulated)"):
        of_test = [line for line in lines if line.startswith(name)]
        assert len(of_test) > 3 and f"{name}: 100%" in of_test[-1]
    assert "comparisons/s" in lines[0] and "comparisons/s" not in shown.out


@pytest.mark.usefixtures("unsimulated")
def test_a_pilot(lit_tiny: Path, tmp_path: Path, capsys: Capture) -> None:
    scores = make_artifacts(tmp_path, lit_tiny) / "scores"
    run("--detect", 10, "--pilot", scores / "base", scores / "tuned")
    both = capsys.readouterr().out
    assert both.startswith("3 formats, power 80%, level 5%")
    assert f"Measured in {scores / 'base'} and {scores / 'tuned'} (12 questions, 3 formats):" in both
    run("--detect", 10, "--pilot", scores / "base")
    alone = capsys.readouterr().out
    assert "two formats stand for two runs, and the correlation is assumed" in alone and alone != both
    assert "takes one or two folders of scores, got 3" in refused(
        capsys, "--detect", 10, "--pilot", *[scores / "base"] * 3
    )
    shutil.rmtree(scores / "tuned")
    assert "No such file" in refused(capsys, "--detect", 10, "--pilot", scores / "base", scores / "tuned")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give --detect POINTS, --questions N, or both"),
        (("--questions", 1), "--questions 1: must be between 2 and 1,000,000"),
        (("--detect", 5, "--formats", 1), "--formats 1: must be between 2 and 1,000"),
        (("--detect", 5, "--power", 4), "--power 4: must be greater than --alpha"),
    ],
)
def test_what_cannot_be_planned(capsys: Capture, arguments: tuple[object, ...], message: str) -> None:
    assert message in refused(capsys, *arguments)


@pytest.mark.parametrize(
    ("text", "problem"), [("0", "0 is not between 0.1 and 99.9"), ("five", "'five' is not a number")]
)
def test_a_change_that_is_none(capsys: Capture, text: str, problem: str) -> None:
    with pytest.raises(SystemExit) as caught:
        run("--detect", text)
    assert caught.value.code == 2
    assert f"argument --detect: {problem}" in capsys.readouterr().err


@pytest.mark.usefixtures("unsimulated")
def test_long_heads_keep_their_distance(capsys: Capture) -> None:
    run("--detect", 5, "--questions", 10_000)
    assert re.search(r"for 5 points +with 10,000 questions$", capsys.readouterr().out.splitlines()[0])
