"""Classes of variants, for simulated grids with known classes, and their weight beside the Rasch model."""

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import bernoulli

from steadyphi.stats import irt, posterior
from steadyphi.stats.latent_classes import MARGIN, Classes, Stacked, _weight, fit_classes, stack

Bools = NDArray[np.bool_]
ITEMS, VARIANTS = 80, 60
ATOMS = [{"case": str(t % 4)} for t in range(VARIANTS)]


def of_classes(seed: int) -> tuple[Bools, NDArray[np.int_]]:
    """Return a grid of three classes, a third of the variants good and the others at a floor, and these."""
    rng = np.random.default_rng(seed)
    classes = np.arange(VARIANTS) % 3
    chances = rng.choice([0.05, 0.95], size=(ITEMS, 3), p=[0.6, 0.4])
    chances[:, 0] = rng.choice([0.05, 0.95], size=ITEMS, p=[0.15, 0.85])
    return rng.random((ITEMS, VARIANTS)) < chances[:, classes], classes


def of_rasch(seed: int) -> Bools:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 0.6, VARIANTS) - rng.normal(0, 1.5, (ITEMS, 1))
    return rng.random((ITEMS, VARIANTS)) < expit(logits)


def masked(share: float, seed: int = 0) -> Bools:
    seen = np.zeros((ITEMS, VARIANTS), dtype=bool)
    variant, item = np.array(irt.balanced(ITEMS, VARIANTS, int(share * seen.size), seed)).T
    seen[item, variant] = True
    return seen


def rasch(correct: Bools, seen: Bools) -> tuple[posterior.Posterior, NDArray[np.int_]]:
    prior, groups = posterior.additive_prior(ATOMS, ITEMS)
    return posterior.fit_posterior(correct & seen, seen, prior, groups, rounds=4), groups


def fitted(correct: Bools, seen: Bools, seed: int = 0) -> Classes:
    return fit_classes(correct, seen, rasch(correct, seen)[0], np.random.default_rng(seed))


def test_classes_are_recovered() -> None:
    correct, true = of_classes(0)
    model = fitted(correct, masked(0.5))
    # Six classes for three: each class has variants of one true class only.
    chosen = model.members.argmax(axis=1)
    assert model.members.max(axis=1).mean() > 0.95
    assert all(len(set(true[chosen == c])) == 1 for c in set(chosen))
    assert np.abs(model.accuracies() - correct.mean(axis=0)).max() < 0.1


def test_members_by_bayes_rule() -> None:
    """An independent computation, variant by variant, with the parameters of the last round."""
    correct, _ = of_classes(1)
    seen = masked(0.3)
    model = fitted(correct, seen)
    sizes = model.members.sum(axis=0) + 1
    for t in range(5):
        at = seen[:, t]
        chances = (model.right / (model.right + model.wrong))[:, at]
        likelihoods = sizes / sizes.sum() * bernoulli.pmf(correct[at, t], chances).prod(axis=1)
        assert model.members[t] == pytest.approx(likelihoods / likelihoods.sum(), abs=0.01)
    # Each class has the prior's four answers for each item, and those of its members.
    answers = model.right.sum() + model.wrong.sum()
    assert answers == pytest.approx(4 * 6 * ITEMS + seen.sum())


def test_draws_agree_with_the_expected_values() -> None:
    correct, _ = of_classes(2)
    model = fitted(correct, masked(0.2))
    full, expected = model.draw(600, np.random.default_rng(0))
    assert full.mean(axis=0) == pytest.approx(model.accuracies(), abs=0.02)
    assert expected.mean(axis=0) == pytest.approx(model.chances().mean(axis=0), abs=0.02)


def test_variants_of_a_class_share_its_probabilities() -> None:
    correct, true = of_classes(2)
    model = dataclasses.replace(fitted(correct, masked(0.2)), members=np.eye(6)[true])
    full, expected = model.draw(20, np.random.default_rng(0))
    assert np.array_equal(expected, expected[:, true])  # variants 0, 1, 2 are of classes 0, 1, 2
    assert not np.allclose(full, full[:, true])


def test_everything_seen_leaves_nothing_to_draw() -> None:
    correct, _ = of_classes(3)
    model = fitted(correct, np.ones_like(correct))
    full, _ = model.draw(3, np.random.default_rng(0))
    assert np.allclose(full, correct.mean(axis=0)) and np.allclose(model.accuracies(), correct.mean(axis=0))


def test_the_model_that_predicts_better_has_the_weight() -> None:
    for correct, least, most in ((of_classes(4)[0], 0.6, 1.0), (of_rasch(4), 0.0, 0.2)):
        seen = masked(0.25)
        model, groups = rasch(correct, seen)
        stacked = stack(model, correct, seen, groups, np.random.default_rng(0))
        assert least <= stacked.weight <= most
        full, _ = stacked.draw(400, np.random.default_rng(1))
        assert full.mean(axis=0) == pytest.approx(stacked.accuracies(), abs=0.03)


def test_the_spread_of_variants_at_a_floor() -> None:
    """The Rasch model alone takes the least of many uncertain accuracies; the classes know the floor."""
    errors = []
    for seed in range(4):
        correct, _ = of_classes(10 + seed)
        seen = masked(0.15, seed)
        model, groups = rasch(correct, seen)
        rng = np.random.default_rng(seed)
        both = stack(model, correct, seen, groups, rng).draw(200, rng)[0], model.draw(200, rng)[0]
        errors.append([np.median(np.ptp(full, axis=1)) - np.ptp(correct.mean(axis=0)) for full in both])
    stacked, alone = np.array(errors).T
    assert np.abs(stacked).mean() < 0.75 * np.abs(alone).mean()


def test_few_hidden_answers_give_the_classes_no_weight() -> None:
    better, worse = np.array([0.9]), np.array([0.5])
    assert _weight(worse, better) == 0.0 and _weight(np.empty(0), np.empty(0)) == 0.0
    # Of n equal answers, the weight w has the log-likelihood n log(0.5 + 0.4 w): the best is 1.
    weight = _weight(np.repeat(worse, 40), np.repeat(better, 40))
    assert (
        40 * np.log(0.9 / (0.5 + 0.4 * weight)) <= MARGIN < 40 * np.log(0.9 / (0.5 + 0.4 * (weight - 0.01)))
    )
    assert _weight(np.repeat(better, 40), np.repeat(worse, 40)) == 0.0


def test_the_ends_of_the_weight() -> None:
    correct, _ = of_classes(5)
    seen = masked(0.2)
    model, _ = rasch(correct, seen)
    classes = fitted(correct, seen)
    for weight, alone in ((0.0, model.accuracies()), (1.0, classes.accuracies())):
        stacked = Stacked(model, classes, weight)
        assert stacked.accuracies() == pytest.approx(alone)
        assert stacked.draw(7, np.random.default_rng(0))[0].shape == (7, VARIANTS)
