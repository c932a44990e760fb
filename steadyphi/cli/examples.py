"""The examples in every `--help`, and what `steadyphi` alone prints."""

import argparse
from collections.abc import Mapping

START = """\
What people do here, in the folder of the project:

  dvc repro                               measure the model, fine-tune it and measure it again
  dvc exp run -S data=jsonl -S data_file=/path/to/rows.jsonl
                                          the same with your own data (docs/data.md)
  steadyphi experiments                   compare the experiments in a table
  steadyphi chat artifacts/model --tuned artifacts/tuned
                                          talk to the fine-tuned model
  steadyphi export artifacts/tuned my-model
                                          export it for transformers, llama.cpp or the Hub

steadyphi --help lists all commands, and steadyphi COMMAND --help shows options and examples.
"""
# Commands by the name of their subcommand. Each command of `steadyphi` has at least one; a test checks it.
EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "inspect": (
        "steadyphi inspect artifacts/model",
        "steadyphi inspect artifacts/tuned --json",
        "steadyphi inspect microsoft/phi-2",
    ),
    "convert": (
        "steadyphi convert assets/phi-tiny my-lit-gpt-model",
        "steadyphi convert artifacts/model my-hub-model --to hub --dtype float32",
    ),
    "export": (
        "steadyphi export artifacts/tuned my-model",
        "steadyphi export artifacts/tuned my-chat-model --style chat",
        "steadyphi export artifacts/tuned my-phi-model --gguf q8_0 --push me/my-phi --private",
    ),
    "generate": (
        'steadyphi generate artifacts/model "The old ship"',
        'steadyphi generate artifacts/model --tuned artifacts/tuned --style phi2 "Who has the red box?"',
        'steadyphi generate artifacts/model "The old ship" "The red box" --top-p 0.9 --json',
        'echo "The old ship" | steadyphi generate artifacts/model --prompt-file -',
    ),
    "chat": (
        "steadyphi chat artifacts/model",
        "steadyphi chat artifacts/model --tuned artifacts/tuned --style chat",
    ),
    "compare": (
        "steadyphi compare artifacts/scores/base artifacts/scores/tuned",
        "steadyphi compare main my-experiment",
    ),
    "preview": (
        "steadyphi preview my-rows.jsonl",
        "steadyphi preview my-rows.jsonl --rows 1 --style qa --model phi-2",
    ),
    "plan": (
        "steadyphi plan --formats 24 --detect 5",
        "steadyphi plan --pilot artifacts/scores/base artifacts/scores/tuned --questions 400",
    ),
    "evaluate": (
        "steadyphi evaluate answers --endpoint http://127.0.0.1:8000/v1",
        "steadyphi evaluate answers --endpoint http://127.0.0.1:8000/v1 --model my-model --items 50",
    ),
    "experiments": (
        "steadyphi experiments",
        "steadyphi experiments --all --json",
    ),
}


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Show the examples of each command at the end of its `--help`."""
    for name, parser in commands.choices.items():
        if name in EXAMPLES:
            parser.formatter_class = argparse.RawDescriptionHelpFormatter
            parser.epilog = "\n  ".join(["examples:", *EXAMPLES[name]])
