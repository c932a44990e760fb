"""Long prompts put to a model: their candidates scored, their answers written."""

from collections.abc import Sequence

from steadyphi.evaluation.long.probe import Probe, Result
from steadyphi.inference.answering import answers
from steadyphi.inference.score_cache import ScoreCache
from steadyphi.inference.scoring import Request, score
from steadyphi.model import Phi
from steadyphi.prompts.formats import Format
from steadyphi.tokenizer import TextTokenizer


def ask(
    model: Phi,
    tokenizer: TextTokenizer,
    probes: Sequence[Probe],
    format_: Format,
    batch_tokens: int,
    cache: ScoreCache | None = None,
) -> list[Result]:
    """Return what the model makes of each probe; `format_` is the one that the probes were written in."""
    logprobs = _rank(model, tokenizer, [p for p in probes if p.ranked], format_, batch_tokens, cache)
    some = [p for p in probes if p.max_new_tokens]
    most = max((p.max_new_tokens for p in some), default=0)
    written = answers(model, tokenizer, [p.prompt for p in some], most, "write after long prompts", cache)
    texts = {probe: text for probe, (text, _) in zip(some, written, strict=True)}
    return [Result(probe, logprobs.get(probe), texts.get(probe)) for probe in probes]


def _rank(
    model: Phi,
    tokenizer: TextTokenizer,
    probes: Sequence[Probe],
    format_: Format,
    batch_tokens: int,
    cache: ScoreCache | None,
) -> dict[Probe, tuple[float, ...]]:
    prompts = tokenizer.encode_batch([probe.prompt for probe in probes])
    texts = [format_.answer(candidate.text) for probe in probes for candidate in probe.candidates]
    continuations = iter(tokenizer.encode_batch(texts))
    requests = [
        Request(tuple(prompt), tuple(next(continuations)), f"long prompt {probe.task} {probe.item}")
        for probe, prompt in zip(probes, prompts, strict=True)
        for _ in probe.candidates
    ]
    values = iter(score(model, requests, batch_tokens, "long prompts", cache))
    return {probe: tuple(next(values) for _ in probe.candidates) for probe in probes}
