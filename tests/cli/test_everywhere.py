"""The same 20 questions, asked of an exported model in every tool that can load it: the same answers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from steadyphi.cli.main import main
from tests.checkpoint.adapters_by_hand import write_adapter

pytestmark = pytest.mark.slow
QUESTIONS = [f"What is {n} + {3 * n % 17}?" for n in range(11, 31)]
LONGEST = 12  # new tokens


def messages(question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}]


def ours(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    settings = ["--json", "--dtype", "float32", "--max-new-tokens", str(LONGEST)]
    capsys.readouterr()
    main(["generate", str(folder), *QUESTIONS, *settings, *options])
    return [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()]


def transformers_answers(model: Any, folder: Path) -> list[str]:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    answers = []
    for question in QUESTIONS:
        inputs = tokenizer.apply_chat_template(
            messages(question), add_generation_prompt=True, return_tensors="pt"
        )
        made = model.generate(**inputs, max_new_tokens=LONGEST, do_sample=False)
        answers.append(tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
    return answers


def llama_cpp_answers(path: Path) -> list[str]:
    from tests.checkpoint.test_llama_cpp import Llama

    llama = Llama(path)
    return [
        llama.post("/v1/chat/completions", messages=messages(q), max_tokens=LONGEST, temperature=0)[
            "choices"
        ][0]["message"]["content"]
        for q in QUESTIONS
    ]


def test_a_whole_model(lit_tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import transformers

    out = tmp_path / "out"
    main(["export", str(lit_tiny), str(out), "--style", "phi2"])
    expected = ours(out, capsys)
    assert len(set(expected)) > 5
    model = transformers.AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    assert transformers_answers(model, out) == expected


def test_a_file_for_llama_cpp(lit_tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("xllamacpp", reason="needs llama.cpp: make llama-cpp")
    out = tmp_path / "out"
    main(["export", str(lit_tiny), str(out), "--style", "phi2-newline", "--gguf", "f16"])
    assert llama_cpp_answers(out / "model-f16.gguf") == ours(out, capsys)


def test_an_adapter(lit_tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peft = pytest.importorskip("peft")
    tuned, out = tmp_path / "tuned", tmp_path / "out"
    write_adapter(tuned, lit_tiny)
    main(["export", str(tuned), str(out), "--base", str(lit_tiny), "--adapter"])
    model = peft.AutoPeftModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    assert transformers_answers(model, out) == ours(out, capsys, "--base", str(lit_tiny))
