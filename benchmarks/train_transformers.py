"""transformers' Trainer, and TRL's SFTTrainer with `bfd` packing, as sides of `benchmarks.train`.

    .venv-peers/bin/python -m benchmarks.train_transformers JOB.json [trl]

The Trainer pads each micro-batch to its longest (DataCollatorForSeq2Seq), prompts masked by -100; bf16=True,
so autocast over float32 weights, or, with peft's adapters, over a frozen base in bfloat16. TRL packs into
rows of its default length, 1,024 tokens, a row a micro-batch (several would be one row to it, and its mask
their square); gradient checkpointing, its default, is off, for it trades time for memory.
"""

import re
import sys
import tempfile
from typing import Any

import torch
from torch.utils.data import SequentialSampler
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from benchmarks.train_gate import Gate, Job, first_a, start

ROW, ROWS = 1024, 4  # TRL: tokens in a packed row, rows in a step
PARTS = {"q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv", "dense": "proj", "fc1": "fc", "fc2": "proj"}


class Gated:
    """What both trainers get: the examples in their order, and the losses noted."""

    noted: list[torch.Tensor]

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # type: ignore[attr-defined]

    def training_step(self, *given: Any, **named: Any) -> torch.Tensor:
        loss = super().training_step(*given, **named)  # type: ignore[misc]
        self.noted.append(loss)
        return loss


class AtGate(TrainerCallback):
    """Stops at the gate after each step. A step's loss is the sum of its micro-batches'."""

    def __init__(self, gate: Gate, noted: list[torch.Tensor]) -> None:
        self.gate, self.noted = gate, noted

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.gate.step(sum(loss.item() for loss in self.noted))
        self.noted.clear()


def load(job: Job) -> Any:
    """Return the model as its users load it: float32 to train all of it, bfloat16 under adapters."""
    dtype = torch.bfloat16 if job.rank else torch.float32
    model = AutoModelForCausalLM.from_pretrained(job.hub, dtype=dtype)
    if not job.rank:
        return model
    from peft import LoraConfig, get_peft_model

    wanted = LoraConfig(r=job.rank, lora_alpha=2 * job.rank, lora_dropout=0.0, target_modules=list(PARTS))
    model = get_peft_model(model, wanted)
    for name, parameter in model.named_parameters():
        found = re.search(r"layers\.(\d+)\.(?:self_attn|mlp)\.(\w+)\.lora_A", name)
        if found:
            parameter.data.copy_(first_a(int(found[1]), PARTS[found[2]], *parameter.shape))
    return model


def arguments(job: Job, steps: int, folder: str) -> dict[str, Any]:
    """Return what both trainers are told."""
    return {
        "output_dir": folder, "max_steps": steps, "learning_rate": job.lr, "lr_scheduler_type": "constant",
        "adam_beta2": 0.95, "weight_decay": 0.0, "max_grad_norm": 1e9, "bf16": True,
        "use_cpu": job.device == "cpu", "save_strategy": "no", "report_to": "none", "disable_tqdm": True,
        "gradient_checkpointing": job.checkpointing,
    }  # fmt: skip


def padded(job: Job, folder: str) -> tuple[Any, None]:
    """Return the Trainer, which pads."""
    tokenizer = AutoTokenizer.from_pretrained(job.hub) if any(p for _, p in job.examples) else None
    rows = []
    for tokens, n in job.in_order():
        n = max(n, 1)  # a first token is never predicted, but its label would count in the mean
        labels = [-100] * n + tokens[n:]
        rows.append({"input_ids": tokens, "attention_mask": [1] * len(tokens), "labels": labels})
    collator = None
    if tokenizer is not None:  # rows of one length need neither
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        collator = DataCollatorForSeq2Seq(tokenizer)
    told = TrainingArguments(
        per_device_train_batch_size=job.micro,
        gradient_accumulation_steps=len(job.steps[0]) // job.micro,
        **arguments(job, len(job.steps), folder),
    )
    kind = type("GatedTrainer", (Gated, Trainer), {})
    return kind(load(job), told, train_dataset=rows, data_collator=collator), None


def packed(job: Job, folder: str) -> tuple[Any, list[list[int]]]:
    """Return TRL's trainer, and the examples of each of the steps that its packing makes."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    data = Dataset.from_dict(
        {
            "input_ids": [tokens for tokens, _ in job.examples],
            "completion_mask": [[0] * n + [1] * (len(tokens) - n) for tokens, n in job.examples],
        }
    )
    told = SFTConfig(
        packing=True, packing_strategy="bfd", max_length=ROW, completion_only_loss=True,
        per_device_train_batch_size=1, gradient_accumulation_steps=ROWS,
        **arguments(job, len(job.steps), folder),
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(job.hub)
    kind = type("GatedTrainer", (Gated, SFTTrainer), {})
    trainer = kind(load(job), told, train_dataset=data, processing_class=tokenizer)
    places = {tuple(tokens): n for n, (tokens, _) in enumerate(job.examples)}
    steps: list[list[int]] = []
    for n, row in enumerate(trainer.train_dataset):
        if n % ROWS == 0:
            steps.append([])
        pieces = torch.tensor(row["input_ids"]).split(row["seq_lengths"])
        steps[-1] += [places[tuple(piece.tolist())] for piece in pieces]
    return trainer, steps[: len(trainer.train_dataset) // ROWS]


def main() -> None:
    """Train."""
    job, gate = start()
    with tempfile.TemporaryDirectory() as folder:
        trainer, steps = (packed if sys.argv[2:] == ["trl"] else padded)(job, folder)
        trainer.noted = []
        trainer.add_callback(AtGate(gate, trainer.noted))
        gate.open(steps)
        trainer.train()


if __name__ == "__main__":
    main()
