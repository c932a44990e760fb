"""Alarms are raised when they must be, and rarely otherwise."""

import numpy as np

from steadyphi.stats.alarms import chance_alarm, equal_alarm, noise_alarm, rounding_alarm
from tests.stats.simulated import share, simulated


def test_guessing_is_noticed_though_the_best_is_lucky() -> None:
    rng = np.random.default_rng(0)
    alarms = [chance_alarm(simulated(np.full(24, 0.25), 100, rng, 0.3), 0.25, 0.95) for _ in range(40)]
    assert share([f is not None for f in alarms]) >= 0.9
    assert "best of 24 variants" in str(alarms[0]) and "guessing (25.0%)" in str(alarms[0])


def test_knowledge_is_no_alarm() -> None:
    rng = np.random.default_rng(1)
    able = [chance_alarm(simulated(np.r_[np.full(23, 0.25), 0.6], 100, rng), 0.25, 0.95) for _ in range(20)]
    assert not any(able)


def test_worse_than_guessing_is_no_knowledge() -> None:
    assert chance_alarm(np.zeros((50, 3), bool), 0.25, 0.95) is not None


def test_equal_models() -> None:
    rng = np.random.default_rng(2)
    logprobs = rng.normal(size=(5, 4, 3))
    logprobs[2, :, 2] = -np.inf
    chosen = logprobs.argmax(axis=2)
    rounded = logprobs + rng.uniform(-1e-4, 1e-4, logprobs.shape)
    assert "log-probabilities" in str(equal_alarm((chosen, chosen), (logprobs, rounded)))
    assert "in all 20 cases" in str(equal_alarm((chosen, chosen), (logprobs, logprobs + 0.01)))
    assert "in all 20 cases" in str(equal_alarm((chosen, chosen.copy())))
    other = chosen.copy()
    other[0, 0] += 1
    assert equal_alarm((chosen, other), (logprobs, logprobs + 0.01)) is None


def test_a_family_is_named() -> None:
    assert "best of 3 variants (options), 0.0% right" in str(
        chance_alarm(np.zeros((50, 3), bool), 0.25, 0.95, "options")
    )


def test_formats_that_may_not_differ() -> None:
    assert noise_alarm(0.04, 0.95) is None
    assert "do not show that the formats differ (p = 0.31)" in str(noise_alarm(0.31, 0.95))


def test_flips_by_rounding() -> None:
    assert rounding_alarm(0.021, 0.01) is None and rounding_alarm(0.0, 0.0) is None
    assert "disagree on 2.0% of the questions, and rounding alone changes 1.0%" in str(
        rounding_alarm(0.02, 0.01)
    )
