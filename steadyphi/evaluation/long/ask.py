"""Answers of a model to long prompts: scored candidates and generated texts."""

from collections.abc import Sequence

from steadyphi.evaluation.long.probe import Probe, ProbeResult
from steadyphi.inference.language_model import Backend
from steadyphi.inference.scoring import Request
from steadyphi.prompts.formats import Format


def ask(model: Backend, probes: Sequence[Probe], format_: Format) -> list[ProbeResult]:
    """Return the answer of the model to each probe; `format_` is the format of the probes."""
    logprobs = _rank(model, [probe for probe in probes if probe.ranked], format_)
    open_probes = [probe for probe in probes if probe.max_new_tokens]
    limit = max((probe.max_new_tokens for probe in open_probes), default=0)
    generated = model.generate([probe.prompt for probe in open_probes], limit, "long prompts, open answers")
    texts = {probe: answer.text for probe, answer in zip(open_probes, generated, strict=True)}
    return [ProbeResult(probe, logprobs.get(probe), texts.get(probe)) for probe in probes]


def _rank(model: Backend, probes: Sequence[Probe], format_: Format) -> dict[Probe, tuple[float, ...]]:
    """Return the log-probability of each candidate of each probe."""
    prompts = model.tokenizer.encode_batch([probe.prompt for probe in probes])
    texts = [format_.answer(candidate.text) for probe in probes for candidate in probe.candidates]
    continuations = iter(model.tokenizer.encode_batch(texts))
    requests = [
        Request(tuple(prompt), tuple(next(continuations)), f"long prompt {probe.task} {probe.item}")
        for probe, prompt in zip(probes, prompts, strict=True)
        for _ in probe.candidates
    ]
    scores = iter(model.score(requests, "long prompts"))
    return {probe: tuple(next(scores) for _ in probe.candidates) for probe in probes}
