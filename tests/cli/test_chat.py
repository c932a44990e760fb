"""The two commands as people and scripts use them: arguments, pipes, and a terminal with Ctrl-C."""

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from steadyphi.cli.chat import Chat
from steadyphi.cli.conversation import Conversation, Session
from steadyphi.cli.main import main
from steadyphi.inference.generate import Options, generate
from steadyphi.inference.load import load_model
from steadyphi.tokenizer import TextTokenizer
from tests.conftest import ROOT, make_hub_folder

TINY = ROOT / "assets" / "phi-tiny"
Capture = pytest.CaptureFixture[str]


def run(*arguments: object) -> None:
    main([str(argument) for argument in (*arguments, "--dtype", "float32")])


def refused(*arguments: object) -> str:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert isinstance(caught.value.code, str)
    return caught.value.code


def expected_text(prompt: str, new: int) -> str:
    tokenizer = TextTokenizer(TINY)
    model = load_model(TINY, None, torch.float32)
    return generate(model, tokenizer, [tokenizer.encode(prompt)], Options(new))[0].text


def test_generate(capsys: Capture) -> None:
    run("generate", TINY, "The old ship", "--max-new-tokens", 12)
    out, err = capsys.readouterr()
    assert out == expected_text("The old ship", 12) + "\n"
    assert re.fullmatch(
        r"\[12 tokens, [\d.]+ tokens/s, the first after [\d.]+ s\] cut at 12 tokens \(--max-new-tokens\)\n",
        err,
    )


def test_several_prompts_and_files_are_one_batch(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prompt.txt").write_text("A red box\n")
    stdin = io.TextIOWrapper(io.BytesIO("Täg".encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    files = ("--prompt-file", tmp_path / "prompt.txt", "--prompt-file", "-")
    run("generate", TINY, "The old ship", *files, "--json", "--max-new-tokens", 8)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["prompt"] for row in rows] == ["The old ship", "A red box\n", "Täg"]
    assert [row["text"] for row in rows] == [expected_text(row["prompt"], 8) for row in rows]
    assert {"tokens", "reason", "prompt_tokens", "seconds", "first_seconds"} <= rows[0].keys()
    run("generate", TINY, "The old ship", "A red box\n", "--max-new-tokens", 8)
    out, err = capsys.readouterr()
    assert out == f"--- 1\n{rows[0]['text']}\n--- 2\n{rows[1]['text']}\n"
    assert err.startswith("[16 tokens, ") and "\n2: cut at 8 tokens" in err


def test_style_stop_seed_and_draft(tmp_path: Path, capsys: Capture) -> None:
    def row(*arguments: object) -> dict[str, object]:
        run("generate", TINY, *arguments, "--json")
        return json.loads(capsys.readouterr().out)

    styled = row("Who has the red box?", "--style", "phi2", "--max-new-tokens", 20)
    assert styled["prompt"] == "Instruct: Who has the red box?\nOutput:"
    whole = row("The old ship", "--max-new-tokens", 30)
    cut = row("The old ship", "--max-new-tokens", 30, "--stop", str(whole["text"])[9:12])
    assert cut["reason"] == "stop" and cut["text"] == str(whole["text"])[:9]
    drawn = [row("The old ship", "--top-p", 0.95, "--seed", seed)["text"] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert (
        row("The old ship", "--temperature", 0, "--top-k", 5, "--max-new-tokens", 30)["text"] == whole["text"]
    )
    assert row("The old ship", "--draft", TINY, "--max-new-tokens", 30)["tokens"] == whole["tokens"]


def test_the_context_is_said(capsys: Capture) -> None:
    long = "The old ship is here. " * 90
    count = len(TextTokenizer(TINY).encode(long))
    assert count > 512
    message = refused("generate", TINY, long)
    assert (
        message
        == f"error: the prompt: is {count} tokens long and fills the model's context of 512; shorten it"
    )
    run("generate", TINY, "The old ship is here. " * 72, "--max-new-tokens", 500, "--temperature", 3)
    assert "cut: the model's context of 512 tokens is full" in capsys.readouterr().err


def test_what_cannot_be_run_is_refused_in_a_line(tmp_path: Path) -> None:
    assert "The old ship: is not a folder" in refused("generate", "The old ship", "and so on")
    assert "no prompt" in refused("generate", TINY)
    assert "is empty" in refused("generate", TINY, "")
    assert "top_p" in refused("generate", TINY, "a", "--top-p", 3)
    assert "not UTF-8" in refused("generate", TINY, "a\udcff")
    (tmp_path / "latin").write_bytes(b"\xff")
    assert "latin: is not UTF-8" in refused("generate", TINY, "--prompt-file", tmp_path / "latin")
    assert "none" in refused("generate", TINY, "--prompt-file", tmp_path / "none")
    make_hub_folder(tmp_path / "hub")
    path = tmp_path / "hub" / "tokenizer.json"
    path.write_text(
        path.read_text().replace('"individual_digits":', '"individual_digits" :').replace("true", "false")
    )
    assert "another tokenizer" in refused("generate", TINY, "a", "--draft", tmp_path / "hub")
    assert "is not a folder" in refused("chat", tmp_path / "none")


@pytest.fixture(scope="module")
def session() -> Session:
    return Session(load_model(TINY, None, torch.float32), TextTokenizer(TINY))


def piped(
    session: Session, monkeypatch: pytest.MonkeyPatch, capsys: Capture, text: str, new: int = 20
) -> tuple[str, str, Chat]:
    """Run a chat whose input is not a terminal."""
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    chat = Chat(session, Conversation(session.tokenizer), Options(new))
    chat.run()
    return *capsys.readouterr(), chat


def test_a_script_gets_answers_and_no_prompts(
    session: Session, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    out, err, chat = piped(session, monkeypatch, capsys, "What is a lighthouse?\n\nWhy?\n")
    turns = chat.conversation.turns
    assert [turn.question for turn in turns] == ["What is a lighthouse?", "Why?"]
    assert out == "".join(turn.answer.lstrip() + "\n" for turn in turns)
    assert len(re.findall(r"^\[\d+ tokens", err, re.M)) == 2


def test_messages_of_several_lines(
    session: Session, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    text = 'one\\\ntwo\n"""\nfirst\n\n/reset\n"""\nthree\n'
    *_, chat = piped(session, monkeypatch, capsys, text, new=2)
    assert [turn.question for turn in chat.conversation.turns] == ["one\ntwo", "first\n\n/reset", "three"]


@pytest.mark.parametrize("word", ["/exit", "/quit"])
def test_a_word_ends_the_chat(
    session: Session, monkeypatch: pytest.MonkeyPatch, capsys: Capture, word: str
) -> None:
    *_, chat = piped(session, monkeypatch, capsys, f"one\n{word}\ntwo\n", new=2)
    assert [turn.question for turn in chat.conversation.turns] == ["one"]


def test_commands(session: Session, monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path) -> None:
    text = (
        f"one\n/reset\n/style chat\ntwo\n/style nonsense\n/nothing\n/style\n/save {tmp_path}/talk.txt\n"
        f"/save {tmp_path}/talk.txt\n/save {tmp_path}/talk.jsonl\n/save {tmp_path}/talk.txt/within\n/save\n"
        "/help\n/quit\nthree\n"
    )
    _, err, chat = piped(session, monkeypatch, capsys, text, new=4)
    (turn,) = chat.conversation.turns
    assert turn.question == "two"
    assert (tmp_path / "talk.txt").read_text().startswith("Alice: two\nBob:")
    row = json.loads((tmp_path / "talk.jsonl").read_text())
    assert row == {"instruction": "two", "response": turn.answer.strip()}
    for message in (
        "no style 'nonsense'",
        "no such command",
        "chat of phi2, ",
        "exists already",
        "which file?",
        "/reset ",
    ):
        assert message in err, message
    assert err.count("error: ") == 5


def test_dropping_old_turns_is_said(
    session: Session, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    lines = [f"Tom has {n} apples, and Ann has {n} more of them. " * 4 + "\n" for n in range(9)]
    _, err, chat = piped(session, monkeypatch, capsys, "".join(lines), new=20)
    assert "the oldest turn was dropped, to stay within the context of 512 tokens" in err
    assert 0 < len(chat.conversation.turns) < 9
    _, err, chat = piped(session, monkeypatch, capsys, lines[0].strip() * 20 + "\nWhy?\n", new=2)
    assert "error: the message is" in err and [turn.question for turn in chat.conversation.turns] == ["Why?"]


def test_the_model_s_control_characters_are_not_printed(
    session: Session, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(type(session.tokenizer), "decode", lambda *_: "\x1b[31mx\r")
    out, _, _ = piped(session, monkeypatch, capsys, "Why?\n", new=2)
    assert out == "[31mx[31mx\n"


class Terminal:
    """`steadyphi chat` on a pseudo-terminal. Its model takes 0.05 s per token and never ends a text."""

    PROGRAM = (
        "import time; from steadyphi.inference import cache, generate; from steadyphi.cli.main import main\n"
        "extend = cache.Cache.extend\n"
        "cache.Cache.extend = lambda *a: (time.sleep(0.05), extend(*a))[1]\n"
        "push = generate.GenerationState.push\n"
        "generate.GenerationState.push = lambda text, token: push(text, token or 50)\n"
        "main()"
    )

    def __init__(self, *arguments: object) -> None:
        self.master, slave = pty.openpty()
        command = [
            sys.executable,
            "-c",
            self.PROGRAM,
            "chat",
            str(TINY),
            "--dtype",
            "float32",
            *map(str, arguments),
        ]
        environment = {**os.environ, "TERM": "dumb", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def interrupt(self) -> None:
        """Send SIGINT to all processes, as a terminal does."""
        time.sleep(0.3)  # readline ignores signals between writing its prompt and waiting for a key
        os.killpg(self.process.pid, signal.SIGINT)

    def until(self, pattern: str, seconds: float = 60) -> str:
        """Read until a pattern occurs; return the text up to its end."""
        end = time.monotonic() + seconds
        while not (match := re.search(pattern, self.seen)):
            assert time.monotonic() < end, (pattern, self.seen)
            if select.select([self.master], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.master, 4096).decode(errors="replace")
                except OSError:  # closed: the program has ended
                    assert re.search(pattern, self.seen), (pattern, self.seen)
        text, self.seen = self.seen[: match.end()], self.seen[match.end() :]
        return text

    def end(self) -> int:
        """Read to the end, because readline waits until its last output is read; return the exit status."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if select.select([self.master], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.master, 4096).decode(errors="replace")
                except OSError:
                    break
            elif self.process.poll() is not None:
                break
        return self.process.wait(1)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    opened = Terminal("--max-new-tokens", 200, "--temperature", 2)
    yield opened
    if opened.process.poll() is None:
        opened.process.kill()
    opened.process.wait()
    os.close(opened.master)


@pytest.mark.slow
def test_on_a_terminal_ctrl_c_stops_the_answer_and_not_the_program(
    terminal: Terminal, tmp_path: Path
) -> None:
    terminal.until("> ")
    terminal.type("What is a lighthouse?\n")
    terminal.until(r"lighthouse\?\r\n")
    terminal.until(r"\S+")  # the answer has begun
    terminal.interrupt()
    assert "tokens/s" not in terminal.until("stopped")
    terminal.until("> ")
    terminal.type("Why?\n")
    terminal.until(r"Why\?\r\n")
    terminal.interrupt()
    terminal.until("stopped")
    terminal.until("> ")
    terminal.type(f"/save {tmp_path}/talk.jsonl\n")
    terminal.until("2 turns")
    rows = [json.loads(line) for line in (tmp_path / "talk.jsonl").read_text().splitlines()]
    assert [row["instruction"] for row in rows] == ["What is a lighthouse?", "Why?"]
    assert rows[0]["response"]  # the text generated so far is kept
    terminal.until("> ")
    terminal.interrupt()
    terminal.until("press Ctrl-C again to quit")
    terminal.until("> ")
    terminal.interrupt()
    assert terminal.end() == 0
    assert "Traceback" not in terminal.seen


@pytest.mark.slow
def test_on_a_terminal_ctrl_d_leaves(terminal: Terminal) -> None:
    terminal.until("> ")
    terminal.type("\x04")
    assert terminal.end() == 0
