"""The intervals and tests of a report by the harness of `benchmarks.coverage`, in a few small cells."""

import numpy as np
import pytest

from benchmarks import coverage
from benchmarks.populations import populations
from steadyphi.stats import estimate
from tests.conftest import ROOT


def check(
    formats: int, items: int, names: tuple[str, ...], replicates: int, least: float, most: float
) -> None:
    """Fail if an interval holds in less than `least`, or a test rejects in more than `most` of replicates."""
    known = populations(formats)
    for name in names:
        covered = coverage.cell(known[name], items, range(replicates), 150)
        held = {key: share for key, share in covered.items() if key[0] in ("interval", "change")}
        assert len(held) >= 20 and not {key: s for key, s in held.items() if s < least}, name
        tests = {key: share for key, share in covered.items() if key[0] == "test"}
        assert tests or name == "becomes clusters"
        assert not {key: share for key, share in tests.items() if share > most}, name


def test_few_replicates() -> None:
    """24 of 30 is the 0.1% quantile of a coverage of 95%, and 6 of 30 the 99.9% quantile of 5%."""
    check(14, 100, ("no effect", "two clusters", "becomes clusters"), 30, least=0.8, most=0.2)


@pytest.mark.slow
@pytest.mark.parametrize(("formats", "items"), [(6, 50), (24, 200)])
def test_more_replicates(formats: int, items: int) -> None:
    names = ("no effect", "spread out", "two clusters", "one outlier", "becomes clusters", "uneven clusters")
    check(formats, items, names, 120, least=0.84, most=0.13)


def test_uneven_clusters_are_no_worse() -> None:
    for formats in coverage.FORMATS:
        known = populations(formats)["uneven clusters"]
        true = coverage.truth(known, np.random.default_rng(0))
        assert known.after.mean() == pytest.approx(known.before.mean())
        assert known.after.std() == pytest.approx(known.before.std())
        assert coverage.not_worse(known, true)


def test_a_broken_interval_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the ways that allow for ties, the spread of equal formats covers half."""

    def plain(function, correct, resampling):  # type: ignore[no-untyped-def]
        return errors(function, correct, resampling)[:1]

    def basic(value, drawn, confidence):  # type: ignore[no-untyped-def]
        return float(value - np.quantile(drawn[0], 0.975)), float(value - np.quantile(drawn[0], 0.025))

    errors = estimate.extreme_errors
    monkeypatch.setattr(estimate, "extreme_errors", plain)
    monkeypatch.setattr(estimate, "extreme_interval", basic)
    known = populations(14)["no effect"]
    assert coverage.cell(known, 200, range(30), 150)["interval", "Spread"] < 0.8


def test_the_page_has_the_tables() -> None:
    page = (ROOT / coverage.PAGE).read_text(encoding="utf-8")
    table = page.split("<!-- coverage -->\n")[1].split("<!-- end of coverage -->")[0]
    rows = [line for line in table.splitlines() if line.startswith("| Spread |")]
    assert len(rows) == 2  # of a run and of a change
    assert "How often the gate fails a model" in table
