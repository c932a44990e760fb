"""Prepare prompts and completions with TRL; `benchmarks.prepare` runs this in the peers' environment.

    .venv-peers/bin/python benchmarks/prepare_trl.py ROWS.jsonl TOKENIZER_FOLDER WORKERS INTO

Calls what `SFTTrainer` calls: it tokenizes, makes the completion mask and packs by best fit decreasing, and
`datasets` writes the result to disk. Prints JSON: seconds, of the clock and of the CPU, tokens,
and a digest of the documents.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

LENGTH = 2048  # tokens of a pack; Phi's context


def main() -> None:
    """Prepare once, timed without the imports."""
    rows, folder, workers, into = sys.argv[1:]
    os.environ["HF_DATASETS_CACHE"] = into
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the workers are processes
    import datasets
    import transformers
    from trl import SFTConfig, SFTTrainer

    datasets.disable_progress_bars()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    settings = SFTConfig(
        output_dir=into,
        max_length=LENGTH,
        packing=True,
        packing_strategy="bfd",
        dataset_num_proc=int(workers),
        use_cpu=True,
        bf16=False,
        report_to=[],
    )
    start, before = time.perf_counter(), sum(os.times()[:4])
    read = datasets.load_dataset("json", data_files=rows, split="train")
    trainer = SimpleNamespace(_is_vlm=False)
    packed = SFTTrainer._prepare_dataset(trainer, read, tokenizer, settings, True, None, "train")
    taken = {"seconds": time.perf_counter() - start, "cpu_seconds": sum(os.times()[:4]) - before}
    Path(rows).with_name("timed").touch()  # memory is measured until here
    print(json.dumps({**taken, **_digest(packed)}))


def _digest(packed: object) -> dict[str, object]:
    """Return the number of tokens, and a digest of the documents with their masks in any order."""
    documents, tokens = [], 0
    for row in packed:  # type: ignore[attr-defined]
        start = 0
        for length in row["seq_lengths"]:
            ids = row["input_ids"][start : start + length]
            masked = row["completion_mask"][start : start + length].count(0)
            documents.append(json.dumps([masked, ids]))
            start += length
            tokens += length
    joined = "\n".join(sorted(documents)).encode()
    return {"documents": len(documents), "tokens": tokens, "digest": hashlib.sha256(joined).hexdigest()}


if __name__ == "__main__":
    assert Path(sys.argv[1]).is_file()
    main()
