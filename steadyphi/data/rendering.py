"""The prompt format of each rendering of a training or validation example."""

import random
from collections.abc import Sequence

from steadyphi.data.row_formats import Dialogue
from steadyphi.prompts import held_out
from steadyphi.prompts.formats import FORMATS, Format
from steadyphi.settings.groups import Mixed
from steadyphi.settings.schema import Prepare

DEVELOPMENT = 8  # formats in which validation measures the model
PLAIN = Format("plain", "{question}", "")  # of plain text, which has no question


def drawn(settings: Prepare, dialogue: Dialogue, rendering: int) -> Format:
    """Return the format of a rendering, drawn from the grammar or from the named styles.

    It depends on `settings.seed`, the dialogue's id and the number of the rendering. A source of a mixture
    may have its own share of the grammar, and its own styles.
    """
    if dialogue.plain:
        return PLAIN
    source = _source(settings, dialogue.source)
    rng = random.Random(f"{settings.seed} {dialogue.id} {rendering}")
    if rng.random() < _grammar(settings, dialogue.source):
        untrained, count = settings.held_out.untrained, settings.grammar_formats
        return rng.choice(held_out.trainable(untrained, count, settings.seed)).format
    return FORMATS[rng.choice(source.styles if source and source.styles else settings.styles)]


def development(settings: Prepare, dialogues: Sequence[Dialogue]) -> list[Format]:
    """Return the formats that validation uses; none if no training format is drawn from the grammar."""
    names = [source.name for source in settings.sources] or [""]
    from_grammar = any(_grammar(settings, name) for name in names)
    if not from_grammar or all(dialogue.plain for dialogue in dialogues):
        return []
    held = settings.held_out
    composed = held_out.development(DEVELOPMENT, settings.seed, held.development.atoms, held.atoms)
    return [format_.format for format_ in composed]


def _source(settings: Prepare, name: str) -> Mixed | None:
    return next((source for source in settings.sources if source.name == name), None)


def _grammar(settings: Prepare, name: str) -> float:
    """Return the share of the grammar in the renderings of a source."""
    source = _source(settings, name)
    return settings.grammar if source is None or source.grammar is None else source.grammar
