"""Formats that training never sees: some atoms of the grammar are held out, and test formats consist of them.

An atom is held out of training if no training format contains it. A test format takes each of the held-out
factors (descriptor, separator and gap) from the held-out atoms, so nothing that its fields are made of was
trained on. Development formats consist of other held-out atoms. They measure the model during training, so
that its weights are chosen in formats that are neither trained on nor tested.
"""

import functools
import random
from collections.abc import Mapping

from steadyphi.errors import SteadyPhiError
from steadyphi.prompts.formats import Format
from steadyphi.prompts.grammar import NONE, GrammarFormat, formats

Atoms = Mapping[str, tuple[str, ...]]  # from a factor, a field of `GrammarFormat`, to its held-out atoms


def trainable(held_out: Atoms, count: int | None = None, seed: int = 0) -> tuple[GrammarFormat, ...]:
    """Return the formats of the grammar without a held-out atom, or `count` of them, drawn at random."""
    return _trainable(_key(held_out), count, seed)


def unseen(count: int, seed: int, held_out: Atoms) -> list[GrammarFormat]:
    """Return `count` distinct formats that consist of held-out atoms, drawn without replacement.

    Raises SteadyPhiError if there are fewer.
    """
    held = _split(_key(held_out))[1]
    if count > len(held):
        raise SteadyPhiError(
            f"{count} unseen formats requested, but the held-out atoms give {len(held)}; "
            "lower evaluate.unseen, or hold out more atoms"
        )
    return random.Random(f"unseen {seed}").sample(held, count)


def development(count: int, seed: int, atoms: Atoms, tested: Atoms) -> list[GrammarFormat]:
    """Return up to `count` distinct formats with an atom of `atoms` in each of its factors.

    Factors without atoms take any that is not in `tested`. None are returned if no factor has atoms.
    """
    factors = {factor: names for factor, names in atoms.items() if names}
    matching = [
        format_
        for format_ in formats()
        if factors
        and all(getattr(format_, factor) in names for factor, names in factors.items())
        and not any(getattr(format_, factor) in names for factor, names in tested.items())
    ]
    return random.Random(f"development {seed}").sample(matching, min(count, len(matching)))


def is_trainable(format_: Format, held_out: Atoms, count: int | None = None, seed: int = 0) -> bool:
    """Return whether `trainable` returns a format with the text of this one."""
    texts = {(f.format.template, f.format.lead) for f in trainable(held_out, count, seed)}
    return (format_.template, format_.lead) in texts


def _key(held_out: Atoms) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple(sorted((factor, tuple(atoms)) for factor, atoms in held_out.items() if atoms))


@functools.cache
def _trainable(
    held_out: tuple[tuple[str, tuple[str, ...]], ...], count: int | None, seed: int
) -> tuple[GrammarFormat, ...]:
    free = _split(held_out)[0]
    if count is None or count >= len(free):
        return free
    return tuple(random.Random(f"trainable {seed}").sample(free, count))


@functools.cache
def _split(
    held_out: tuple[tuple[str, tuple[str, ...]], ...],
) -> tuple[tuple[GrammarFormat, ...], tuple[GrammarFormat, ...]]:
    """Return the formats without a held-out atom, and those with one in every factor that has any."""
    free, all_held = [], []
    for format_ in formats():
        held = [getattr(format_, factor) in atoms for factor, atoms in held_out]
        if not any(held):
            free.append(format_)
        elif all(held) and format_.descriptor != NONE:
            all_held.append(format_)
    return tuple(free), tuple(all_held)
