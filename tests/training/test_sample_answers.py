"""What the model answers while it trains is what transformers' greedy search says."""

import torch

from steadyphi.data.packing import Example
from steadyphi.training.parallel import Objective
from steadyphi.training.sample_answers import answers
from tests.test_model import make_pair

PROMPTS = [[5, 9, 11], [7] * 20, [100, 3]]


def test_greedy_as_transformers() -> None:
    model, reference = make_pair("phi-2")
    generated = answers(
        Objective(model, torch.float32), [Example([*p, 1, 2], len(p)) for p in PROMPTS], (), 12
    )
    for prompt, answer in zip(PROMPTS, generated, strict=True):
        ids = torch.tensor([prompt])
        whole = reference.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        assert answer == whole[0, len(prompt) :].tolist()


def test_an_answer_ends_with_the_end_token_or_the_context() -> None:
    model, _ = make_pair("phi-2")
    objective = Objective(model, torch.float32)
    first = [answer[0] for answer in answers(objective, [Example(p, len(p)) for p in PROMPTS], (), 1)]
    ended = answers(objective, [Example(p, len(p)) for p in PROMPTS], (first[0],), 12)
    assert ended[0] == [] and first[0] not in ended[1] + ended[2]
    long = [3] * (model.config.block_size - 2)
    assert len(answers(objective, [Example(long, len(long))], (), 12)[0]) == 3  # the last needs no room
