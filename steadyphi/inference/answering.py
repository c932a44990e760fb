"""What a model writes after many prompts: in batches, over several processes, and kept on disk."""

from collections.abc import Sequence

from steadyphi.inference.generate import Options, generate
from steadyphi.inference.score_cache import ScoreCache
from steadyphi.model import Phi
from steadyphi.progress import Progress
from steadyphi.runtime import ranks
from steadyphi.tokenizer import TextTokenizer

TOGETHER = 64  # prompts that are written on, and kept, together


def answers(
    model: Phi,
    tokenizer: TextTokenizer,
    prompts: Sequence[str],
    most: int,
    label: str,
    cache: ScoreCache | None = None,
) -> list[tuple[str, int]]:
    """Return what the model writes, greedily, after each prompt, and in how many tokens: at most `most`.

    Under torchrun each process writes its share, and all return everything. cache: where texts are kept, so
    that an interrupted run goes on; a batch is taken from there whole or not at all.
    Raises SteadyPhiError for a prompt that fills the model's context.
    """
    encoded = tokenizer.encode_batch(list(prompts))
    order = sorted(range(len(encoded)), key=lambda n: (len(encoded[n]), encoded[n]))
    batches = [order[n : n + TOGETHER] for n in range(0, len(order), TOGETHER)]
    mine = batches[ranks.rank() :: ranks.world_size()]
    progress = Progress(label, sum(map(len, mine)), "texts")
    found: dict[int, tuple[str, int]] = {}
    for batch in mine:
        own = [encoded[n] for n in batch]
        texts = cache.get_texts(own, most) if cache else None
        if texts is None:
            results = generate(model, tokenizer, own, Options(max_new_tokens=most))
            texts = [(result.text, len(result.tokens)) for result in results]
            if cache:
                cache.put_texts(own, most, texts)
            progress.add(len(batch))
        else:
            progress.skip(len(batch))
        found.update(zip(batch, texts, strict=True))
    progress.close()
    for share in ranks.gather(found):
        found |= share
    return [found[n] for n in range(len(prompts))]
