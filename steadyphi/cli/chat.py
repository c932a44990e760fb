"""The interactive chat, on a terminal or from a script through standard input."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from steadyphi.cli.conversation import Conversation, Session
from steadyphi.errors import SteadyPhiError
from steadyphi.files import write_text
from steadyphi.inference.generate import Options, Result
from steadyphi.inference.text import printable
from steadyphi.prompts.dialogue import stops
from steadyphi.prompts.formats import FORMATS

HELP = """\
/reset        forget the conversation
/style NAME   change the prompt style of the conversation; without NAME: list the styles
/save FILE    write the prompt text to a new file; for .jsonl, write instructions and responses
/exit         end the chat; /quit, Ctrl-D, or Ctrl-C twice, do the same
A line that ends with \\ continues on the next line; the lines between two lines of \"\"\" are one message.
Ctrl-C stops an answer."""
BLOCK = '"""'


class Chat:
    """Reads messages and commands and writes answers; status messages go to standard error."""

    def __init__(self, session: Session, conversation: Conversation, options: Options) -> None:
        self.session, self.conversation, self.options = session, conversation, options
        self.terminal = sys.stdin.isatty() and sys.stdout.isatty()
        self.commands: dict[str, Callable[[str], None]] = {
            "/reset": self.reset,
            "/style": self.style,
            "/save": self.save,
            "/help": lambda _: note(HELP),
        }

    def run(self) -> None:
        """Run the chat until the end of the input, /exit, or Ctrl-C twice at the prompt."""
        if self.terminal:
            import readline  # noqa: F401 - input() supports line editing once it is loaded

            note(f"style {self.conversation.style.name}; /help lists the commands")
        interrupted = False
        while True:
            try:
                message = self.read()
            except EOFError:
                break
            except KeyboardInterrupt:
                print(file=sys.stderr)
                if interrupted:
                    break
                note("press Ctrl-C again to quit, or use /exit")
                interrupted = True
                continue
            interrupted = False
            word, _, rest = message.strip().partition(" ")
            if word in ("/exit", "/quit"):
                break
            try:
                if word.startswith("/") and "\n" not in message:
                    self.commands.get(word, self.unknown)(rest.strip() or word)
                elif word:
                    self.answer(message)
            except SteadyPhiError as error:
                note(f"error: {error}")

    def read(self) -> str:
        """Return the next message. Raises EOFError at the end of the input."""
        line = self.line("> ")
        lines = []
        if line.strip() == BLOCK:
            while (line := self.line(". ")).strip() != BLOCK:
                lines.append(line)
            return "\n".join(lines)
        while line.endswith("\\"):
            lines.append(line[:-1])
            line = self.line(". ")
        return "\n".join([*lines, line])

    def line(self, prompt: str) -> str:
        """Return one line of input. The prompt is only shown on a terminal."""
        if self.terminal:
            return input(prompt)
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.rstrip("\n")

    def answer(self, question: str) -> None:
        """Answer a message. Ctrl-C stops the answer; the conversation keeps the text generated so far."""
        context = self.session.model.config.block_size
        # Reserve at most half of the context for the answer, so that the conversation has the other half.
        reserved = min(self.options.max_new_tokens, context // 2)
        prompt, dropped = self.conversation.ask(question, context, reserved)
        if dropped:
            turns = "turn was" if dropped == 1 else f"{dropped} turns were"
            note(f"the oldest {turns} dropped, to stay within the context of {context} tokens")
        options = replace(self.options, stop=(*self.options.stop, *stops(self.conversation.style)))
        pieces: list[str] = []

        def on_text(_: int, text: str) -> None:
            shown = text if "".join(pieces).strip() else text.lstrip()  # no leading space
            pieces.append(text)
            print(printable(shown), end="", flush=True)

        try:
            result = self.session.answer(prompt, options, on_text)
        except KeyboardInterrupt:
            print(flush=True)
            note("stopped")
            self.conversation.add(question, "".join(pieces), None)
            return
        print(flush=True)
        self.conversation.add(question, result.text, result.tokens)
        note(speed(result) + ending(result, self.options.max_new_tokens, context))

    def reset(self, _: str) -> None:
        """Delete all turns of the conversation."""
        self.conversation.turns.clear()
        note("the conversation is forgotten")

    def style(self, name: str) -> None:
        """Change the style, or list all styles."""
        if name == "/style":
            note(f"{self.conversation.style.name} of {', '.join(FORMATS)}")
        elif name not in FORMATS:
            raise SteadyPhiError(f"no style {name!r}; there are {', '.join(FORMATS)}")
        else:
            self.conversation.change_style(FORMATS[name])
            note(f"style {name}")

    def save(self, name: str) -> None:
        """Write the conversation to a new file."""
        path = Path(name).expanduser()
        if name == "/save":
            raise SteadyPhiError("/save FILE: which file?")
        if path.exists():
            raise SteadyPhiError(f"{path}: exists already")
        text = self.conversation.text()
        if path.suffix == ".jsonl":
            rows = [
                {"instruction": turn.question, "response": turn.answer.strip()}
                for turn in self.conversation.turns
            ]
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        try:
            write_text(path, text)
        except OSError as error:
            raise SteadyPhiError(f"{path}: {error.strerror}") from None
        note(f"{path}: {len(self.conversation.turns)} turns")

    def unknown(self, _: str) -> None:
        """Raise SteadyPhiError for an unknown command."""
        raise SteadyPhiError("no such command; /help lists them")


def note(text: str) -> None:
    """Print a status message to standard error."""
    print(text, file=sys.stderr, flush=True)


def speed(result: Result) -> str:
    """Return the number of generated tokens, the rate after the first, and the time to the first."""
    count, after = len(result.tokens), result.seconds - result.first_seconds
    rate = f", {(count - 1) / after:.1f} tokens/s" if count > 1 and after > 0 else ""
    return f"[{count} tokens{rate}, the first after {result.first_seconds:.2f} s]"


def ending(result: Result, most: int, context: int) -> str:
    """Return the reason why a text was cut, or an empty string."""
    if result.reason == "length":
        return f" cut at {most} tokens (--max-new-tokens)"
    if result.reason == "context":
        return f" cut: the model's context of {context} tokens is full"
    return ""
