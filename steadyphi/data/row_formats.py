"""The formats of rows that people have, and their conversion to dialogues.

A format is recognized from the columns that occur in any row, or named by the setting `format`:
    alpaca                  instruction, optional input, output
    messages                messages: a list of {role: system | user | assistant, content}
    sharegpt                conversations: a list of {from: system | human | gpt, value}
    prompt-completion       prompt, completion
    question-answer         question, answer
    instruction-response    instruction, response; with a column input it is alpaca
    text                    text: plain text without a question; recognized if no other format fits
    columns                 any columns, through the templates `instruction` and `response`
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from steadyphi.data.row_store import Rows
from steadyphi.data.rows import Row, plain, same, without_end_string
from steadyphi.errors import SteadyPhiError
from steadyphi.prompts.dialogue import SEPARATOR
from steadyphi.prompts.formats import Format
from steadyphi.settings.values import DEFAULT_TEMPLATES

Turns = tuple[tuple[str, str], ...]
ALPACA = "{instruction}\n{input?}"
ROLES = {"system": "system", "user": "user", "assistant": "assistant"}
SHAREGPT_ROLES = {"system": "system", "human": "user", "gpt": "assistant"}


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A training document, not yet in a prompt format: questions and their answers, in turns.

    Plain text is the answer of a single turn whose question is empty.
    ended: the number of answers that ended with the text of an end token, which was removed.
    source: the name of its source, if there are several.
    """

    id: str
    turns: Turns
    system: str = ""
    ended: int = 0
    source: str = ""

    @property
    def question(self) -> str:
        """The first question, with the system text before it."""
        return SEPARATOR.join(filter(None, (self.system, self.turns[0][0])))

    @property
    def response(self) -> str:
        """The last answer."""
        return self.turns[-1][1]

    @property
    def plain(self) -> bool:
        """Whether this is plain text."""
        return not self.turns[0][0]

    @property
    def asks_once(self) -> bool:
        """Whether this is one question with one answer, which can be asked in an evaluation."""
        return len(self.turns) == 1 and not self.plain

    def prompts(self, format_: Format) -> list[str]:
        """Return the prompt of each turn in a format, which places the system text before the first."""
        (first, _), *more = self.turns
        return [format_.prompt(first, self.system), *(format_.prompt(question) for question, _ in more)]

    @property
    def keys(self) -> set[str]:
        """The keys of all questions, see `rows.same`."""
        return {same(question) for question in (self.question, *(turn[0] for turn in self.turns)) if question}


Read = Callable[[Row], Dialogue]


@dataclass(frozen=True)
class RowFormat:
    """A format of rows: its name, the columns or templates that it needs, and how a row is converted."""

    name: str
    columns: tuple[str, ...]
    read: Read
    as_columns: bool = False  # whether a task's templates name the columns of the rows themselves

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(self.columns)})"

    def as_question(self, row: Row, dialogue: Dialogue) -> Row:
        """Return the row with its question and answer in the columns `instruction` and `response`.

        Its system text is kept apart, because the prompt format places it.

        So a task's templates have the same columns in every format, unless `as_columns` is true.
        """
        if self.as_columns:
            return row
        asked = {"instruction": dialogue.turns[0][0], "response": dialogue.response}
        return replace(row, values={**row.values, **asked}, system=dialogue.system)


class SettingNames(NamedTuple):
    """What errors call the settings of the format and of its columns. format: "" if it cannot be set."""

    format: str
    instruction: str
    response: str


SETTINGS = SettingNames("prepare.format", "prepare.instruction", "prepare.response")


def recognize(
    rows: Rows, name: str, instruction: str, response: str, keys: SettingNames = SETTINGS
) -> RowFormat:
    """Return the format `name` of the rows, or for `auto` the one that fits their columns.

    With `auto`, templates that name other columns than instruction and response are used as they are.
    Raises SteadyPhiError that names the formats if several fit, and if the columns of the format, or of any
    format, are absent.
    """
    by_template = RowFormat("columns", (instruction, response), partial(_filled, instruction, response), True)
    if name == "columns" or (name == "auto" and (instruction, response) != DEFAULT_TEMPLATES):
        return by_template
    source, suitable = rows[0].source, _suitable(rows.columns, name)
    if len(suitable) == 1:
        return suitable[0]
    others = f"for other columns, set {keys.instruction} and {keys.response}"
    if suitable and (different := _different(rows.columns_of)):
        raise SteadyPhiError(f"{different}; files that are read together need one format, see data=mixture")
    if suitable:
        named = f"name the right one in {keys.format}; " if keys.format else ""
        raise SteadyPhiError(f"{source}: the columns fit {' and '.join(map(str, suitable))}; {named}{others}")
    listed = ", ".join(sorted(rows.columns)) or "all empty"
    if name == "auto":
        raise SteadyPhiError(f"{source}: the columns, {listed}, are those of no known format; {others}")
    needed = " or ".join(str(f) for f in FORMATS if f.name == name)
    raise SteadyPhiError(f"{source}: lacks the columns of {needed}; the columns are {listed}")


def _suitable(columns: set[str], name: str = "auto") -> list[RowFormat]:
    """Return the formats, all or those of one name, whose columns are there."""
    suitable = [f for f in FORMATS if columns.issuperset(f.columns) and name in ("auto", f.name)]
    # `instruction, response` with the column `input` beside them is Alpaca.
    suitable = [f for f in suitable if not any(set(f.columns) < set(other.columns) for other in suitable)]
    if name == "auto" and len(suitable) > 1:
        suitable = [f for f in suitable if f.name != "text"]
    return suitable


def _different(columns_of: dict[str, set[str]]) -> str:
    """Return two files whose columns fit different formats, with these; "" if all fit the same."""
    fitting = {source: " and ".join(map(str, _suitable(columns))) for source, columns in columns_of.items()}
    first, *others = fitting.items()
    other = next((item for item in others if item[1] != first[1]), None)
    pair = (first, other) if other else ()
    return ", but ".join(f"{source} fits {fit or 'no format'}" for source, fit in pair)


def _filled(instruction: str, response: str, row: Row) -> Dialogue:
    # The response first: in a file that lacks both, it is the one that an error names.
    answer = row.text(response)
    return _dialogue(row, ((row.text(instruction), answer),))


def _text(row: Row) -> Dialogue:
    return _dialogue(row, (("", row.text("{text}")),))


def _messages(column: str, role: str, content: str, roles: dict[str, str], row: Row) -> Dialogue:
    """Convert a list of messages: an optional system text, then questions and answers in turns."""
    messages = row.value(column)
    if not isinstance(messages, list) or not messages:
        raise SteadyPhiError(f"{row.where}: {column} should be a list of messages with {role} and {content}")
    checked: list[tuple[str, str]] = []  # the general role and the text of each message
    for number, message in enumerate(messages, start=1):
        try:
            checked.append(_message(message, role, content, roles))
        except ValueError as error:
            raise SteadyPhiError(f"{row.where}: message {number}: {error}") from None
    system = checked.pop(0)[1] if checked[0][0] == "system" else ""
    named = {general: name for name, general in roles.items()}
    for index, (who, _) in enumerate(checked):
        expected = ("user", "assistant")[index % 2]
        if who != expected:
            number = len(messages) - len(checked) + index + 1
            raise SteadyPhiError(
                f"{row.where}: message {number} is from {named[who]}, but should be from {named[expected]}"
            )
    if not checked or len(checked) % 2:
        raise SteadyPhiError(f"{row.where}: there is no message from {named['assistant']} at the end")
    texts = [text for _, text in checked]
    return _dialogue(row, tuple(zip(texts[::2], texts[1::2], strict=True)), system)


def _message(message: object, role: str, content: str, roles: dict[str, str]) -> tuple[str, str]:
    """Return the general role and the text of a message. Raises ValueError that states what is wrong."""
    if not isinstance(message, dict):
        raise ValueError(f"should be an object with {role} and {content}")
    for key in (role, content):
        if key not in message:
            raise ValueError(f"lacks {key}; it has {', '.join(map(str, message)) or 'nothing'}")
    who, text = message[role], plain(message[content])
    if not isinstance(who, str) or who not in roles:
        raise ValueError(f"{role} should be {', '.join(roles)}, not {str(who)[:40]!r}")
    if not text and not (text == "" and who == "system"):
        raise ValueError(f"{content} should hold a text")
    return roles[who], text or ""


def _dialogue(row: Row, turns: Turns, system: str = "") -> Dialogue:
    """Return the dialogue, with end-of-document strings removed from its answers."""
    answers = [without_end_string(answer) for _, answer in turns]
    for answer, (_, whole) in zip(answers, turns, strict=True):
        if not answer:
            raise SteadyPhiError(f"{row.where}: the response is nothing but {whole}")
    kept = tuple((question, answer) for (question, _), answer in zip(turns, answers, strict=True))
    ended = sum(answer != whole for answer, (_, whole) in zip(answers, turns, strict=True))
    return Dialogue(row.id, kept, system, ended)


FORMATS = (
    RowFormat("alpaca", ("instruction", "output"), partial(_filled, ALPACA, "{output}")),
    RowFormat("alpaca", ("instruction", "input", "response"), partial(_filled, ALPACA, "{response}")),
    RowFormat("messages", ("messages",), partial(_messages, "messages", "role", "content", ROLES)),
    RowFormat(
        "sharegpt", ("conversations",), partial(_messages, "conversations", "from", "value", SHAREGPT_ROLES)
    ),
    RowFormat("prompt-completion", ("prompt", "completion"), partial(_filled, "{prompt}", "{completion}")),
    RowFormat("question-answer", ("question", "answer"), partial(_filled, "{question}", "{answer}")),
    RowFormat("instruction-response", ("instruction", "response"), partial(_filled, *DEFAULT_TEMPLATES)),
    RowFormat("text", ("text",), _text),
)
