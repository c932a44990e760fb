"""How phi-tiny was made: textbook pages, a tokenizer, a training run, a Hub folder.

    python assets/phi-tiny/recipe.py --out /tmp/phi-tiny

Seeded throughout; uses a GPU where there is one. README.md beside this file says how long it took
and what loss it reached. It needs only the project itself.
"""

import argparse
import itertools
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from steadyphi.checkpoint import layouts
from steadyphi.data import textbook, textbook_words
from steadyphi.data.packing import Example
from steadyphi.model import Phi
from steadyphi.model_config import PhiConfig
from steadyphi.prompts.formats import FORMATS
from steadyphi.runtime.device import make_repeatable, pick_device, pick_dtype
from steadyphi.settings.schema import Finetune, Full
from steadyphi.tokenizer import END_OF_TEXT, TextTokenizer
from steadyphi.training.loop import fit

SEED = 0
VOCABULARY = 1280
HUB_CONFIG = {
    "architectures": ["PhiForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "embd_pdrop": 0.0,
    "eos_token_id": 0,
    "hidden_act": "gelu_new",
    "hidden_size": 256,
    "initializer_range": 0.02,
    "intermediate_size": 1024,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 512,
    "model_type": "phi",
    "num_attention_heads": 4,
    "num_hidden_layers": 4,
    "num_key_value_heads": None,
    "partial_rotary_factor": 0.5,
    "qk_layernorm": False,
    "resid_pdrop": 0.0,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "use_cache": True,
    "vocab_size": VOCABULARY,
}
# The few ways in which its textbooks put a question, and how often. Real Phi has such habits too;
# what it was never shown, it answers worse, and that is what the pipeline measures.
HABITS = {"phi2": 45, "phi15": 30, "question": 25}
# The skills that are hard to learn are practised more often.
PRACTICE = (
    *textbook.SKILLS,
    textbook.addition,
    textbook.lookup,
    textbook.instruction,
)


WRITING = sorted(
    {
        *textbook_words.NOUNS,
        *textbook_words.NAMES,
        *itertools.chain(*textbook_words.CATEGORIES.values(), *textbook_words.OPPOSITES),
    }
)


def writing_page(rng: random.Random) -> str:
    """Return a page of words to copy: at the start of a line a word is another token than inside one."""
    lines = [rng.choice(WRITING) for _ in range(5)]
    lines.append(f"the {rng.choice(textbook_words.THINGS)} is in the {rng.choice(textbook_words.PLACES)}")
    lines.append(" ".join([rng.choice(textbook_words.NOUNS)] * rng.randint(2, 3)))
    rng.shuffle(lines)
    return "Read and write.\n" + "\n".join(f"{line} = {line}" for line in lines)


def pages(seed: int, count: int) -> Iterator[str]:
    """Yield textbook pages: a question alone, a lesson with exercises that follow it, words to copy."""
    rng = random.Random(f"pages {seed}")
    questions = textbook.stream("pretrain", seed, PRACTICE)
    styles, weights = list(HABITS), list(HABITS.values())
    for _ in range(count):
        if rng.random() < 0.05:
            yield writing_page(rng)
            continue
        style = FORMATS[rng.choices(styles, weights)[0]]
        asked = [next(questions) for _ in range(1 if rng.random() < 0.7 else 3)]
        exercises = "\n\n".join(style.prompt(q.text) + style.answer(q.answer) for q in asked)
        if len(asked) > 1 or rng.random() < 0.1:
            lessons = " ".join(q.lesson for q in (next(questions) for _ in range(4)))
            yield f"{lessons}\n\n{exercises}"
        else:
            yield exercises


def train_tokenizer(folder: Path) -> None:
    """Train a byte-level BPE on pages and write the tokenizer files."""
    tokenizer = Tokenizer(models.BPE())
    # Digits one by one, so that numbers have one spelling; words with the space before them.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(pages(SEED, 20_000), trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {f"{kind}_token": END_OF_TEXT for kind in ("bos", "eos", "unk")}
    write(folder / "special_tokens_map.json", names)
    settings = {"model_max_length": 512, "tokenizer_class": "PreTrainedTokenizerFast"}
    write(folder / "tokenizer_config.json", names | settings)


def save_weights(model: Phi, folder: Path) -> None:
    """Write the model in float16 as two safetensors shards and their index."""
    tensors: dict[str, torch.Tensor] = {}
    table = layouts.tensors(layouts.LIT, model.config)
    for name, tensor in model.state_dict().items():
        pieces = table[name].pieces
        for piece, rows in zip(pieces, tensor.half().chunk(len(pieces)), strict=True):
            tensors[piece.part] = rows.contiguous().cpu()
    names = sorted(tensors)
    half = sum(t.nbytes for t in tensors.values()) / 2
    shard_of, size = {}, 0
    for name in names:
        shard_of[name] = f"model-0000{1 if size < half else 2}-of-00002.safetensors"
        size += tensors[name].nbytes
    for shard in sorted(set(shard_of.values())):
        content = {n: tensors[n] for n in names if shard_of[n] == shard}
        save_file(content, folder / shard, metadata={"format": "pt"})
    index = {"metadata": {"total_size": size}, "weight_map": shard_of}
    write(folder / "model.safetensors.index.json", index)


def write(path: Path, value: object) -> None:
    """Write `value` as JSON."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--pages", type=int, default=110_000)
    options = parser.parse_args()
    folder = options.out
    folder.mkdir(parents=True, exist_ok=True)
    make_repeatable(SEED, threads=1)
    write(folder / "config.json", HUB_CONFIG)
    write(folder / "generation_config.json", {"bos_token_id": 0, "eos_token_id": 0})
    train_tokenizer(folder)
    tokenizer = TextTokenizer(folder)
    texts = list(pages(SEED, options.pages + 500))
    examples = [Example([*ids, tokenizer.eos_id], 0) for ids in tokenizer.encode_batch(texts)]
    settings = Finetune(
        method=Full(name="full"),
        lr=2e-3,
        schedule="cosine",
        epochs=1,
        max_steps=None,
        batch_tokens=3072,
        micro_tokens=3072,
        warmup_ratio=0.03,
        min_lr_ratio=0.05,
        weight_decay=0.05,
        clip=1.0,
        consistency=0.0,
        dropout=True,
        evals_per_epoch=20,
        keep="last",
        patience=None,
        samples=0,
        checkpointing=False,
        compile=False,
        precision="auto",
        threads=1,
        seed=SEED,
    )
    device = pick_device()
    model = Phi(PhiConfig.from_folder(folder))
    model.init_weights(torch.Generator().manual_seed(SEED))
    start = time.monotonic()
    course = fit(model.to(device), examples[500:], examples[:500], settings, pick_dtype("auto", device))
    save_weights(model, folder)
    record = {
        "tokens": sum(len(e.tokens) for e in examples[500:]),
        "steps": course.step,
        "minutes": round((time.monotonic() - start) / 60, 1),
        "device": str(device),
        "valid_loss": [(r.step, round(r.valid_loss, 4)) for r in course.rows if r.valid_loss is not None],
    }
    (folder / "training.txt").write_text(json.dumps(record) + "\n")
    print(json.dumps(record))


if __name__ == "__main__":
    main()
