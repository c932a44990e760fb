"""Score given requests with lm-evaluation-harness; `benchmarks.score` runs this in the peers' environment.

    .venv-peers/bin/python benchmarks/harness.py MODEL_FOLDER REQUESTS.json DTYPE BATCH

The requests are token ids, which the harness uses unchanged. Prints JSON: seconds and scores.
"""

import json
import sys
import time
from pathlib import Path

import torch


def main() -> None:
    """Load the model, warm up, and time the requests."""
    folder, requests, dtype, batch = sys.argv[1:]
    import transformers
    from lm_eval.models.huggingface import HFLM

    torch.set_num_threads(2)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=int(batch), device="cpu")
    asked = [((c, a), c, a) for c, a in json.loads(Path(requests).read_text())]
    keyed = [((str(c), str(a)), c, a) for _, c, a in asked]  # its cache distinguishes requests by their text
    harness._loglikelihood_tokens(keyed[:2], disable_tqdm=True)
    start = time.perf_counter()
    results = harness._loglikelihood_tokens(keyed, disable_tqdm=True)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "scores": [float(value) for value, _ in results]}))


if __name__ == "__main__":
    main()
