"""The types of values in settings, and the error messages for wrong values."""

import itertools
import json
import math
import re
from typing import Annotated, Any, Literal, TypeVar

import regex
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter
from pydantic_core import ErrorDetails, PydanticCustomError

T = TypeVar("T")
MOST_REPEATED = 1_000_000
STRICT = ConfigDict(strict=True, extra="forbid")


def no_twice(names: tuple[T, ...]) -> tuple[T, ...]:
    """Return the values. Raises ValueError if one occurs more than once."""
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"should name {name} once")
    return names


def _not_empty(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise ValueError("should name at least one")
    return names


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    return no_twice(_not_empty(names))


def template(text: str) -> str:
    """Return a template. The name of a column alone needs no braces, because shells and Hydra read them."""
    if re.fullmatch(r"[\w.-]+", text):
        return f"{{{text}}}"
    if not re.search(r"\{[^{}]+\}", text):
        raise ValueError(
            "should name a column, such as question, or have names in braces, as those with a space need: "
            "{hint} {the question}"
        )
    return text


def _commit(revision: str) -> str:
    if not re.fullmatch("[0-9a-f]{40}", revision):
        raise ValueError("should be a commit of 40 hex digits")
    return revision


def _source_name(name: str) -> str:
    if not re.fullmatch("[a-z0-9][a-z0-9_-]*", name):
        raise ValueError("should be lower-case letters, digits, - and _")
    return name


def _columns(value: object) -> str | tuple[str, ...] | None:
    if value is None or (isinstance(value, str) and value):
        return value
    texts = tuple(v for v in value if isinstance(v, str) and v) if isinstance(value, list | tuple) else ()
    if not isinstance(value, list | tuple) or len(set(texts)) < max(2, len(value)):
        raise ValueError('should name a column, or list two texts or more, such as ["no", "yes"] in quotes')
    return texts


def _no_float16(precision: object) -> object:
    if precision in ("float16", "fp16", "half"):
        problem = "float16 overflows in Phi-2's attention scores (QK^T) and gives NaN; use bfloat16 or auto"
        raise PydanticCustomError("float16", problem)
    return precision


def _model_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ValueError("should be letters, digits, hyphens and underscores, as MLflow allows")
    return name


def _alias(name: str) -> str:
    if name.lower() == "latest" or re.fullmatch(r"[vV]?\d+", name):
        raise ValueError("MLflow keeps this name for itself; take another, such as champion")
    return _model_name(name)


def _one_group(pattern: str) -> str:
    counts = re.findall(
        r"(\d{1,9})\d*\}", pattern
    )  # of (a{9}){99}: compiling it takes time for each repetition
    if math.prod(max(1, int(count)) for count in counts) > MOST_REPEATED:
        raise ValueError(f"should not repeat a part more than {MOST_REPEATED:,} times")
    try:
        groups = regex.compile(pattern).groups
    except regex.error as error:
        raise ValueError(f"should be a regular expression ({error})") from None
    if groups != 1:
        raise ValueError(f"should have one group in parentheses, it has {groups}")
    return pattern


Text = Annotated[str, Field(min_length=1)]
SourceName = Annotated[str, AfterValidator(_source_name)]  # it becomes a part of metrics' keys
ModelName = Annotated[str, AfterValidator(_model_name)]
Alias = Annotated[str, AfterValidator(_alias)]
Names = Annotated[tuple[Text, ...], AfterValidator(_distinct)]
Weighted = Annotated[tuple[Text, ...], AfterValidator(_not_empty)]  # a name that is there twice counts twice
Template = Annotated[str, AfterValidator(template)]
Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Threads = Annotated[int, Field(ge=1, le=4096)]  # each of tens of thousands takes memory until none is left
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # the range that NumPy and torch both accept
Real = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[Real, Field(gt=0)]
Share = Annotated[Real, Field(ge=0, le=1)]
Precision = Annotated[Literal["auto", "float32", "bfloat16", "portable"], BeforeValidator(_no_float16)]
Source = Literal["textbook", "jsonl", "hub", "mixture"]
TaskSource = Literal["textbook", "jsonl", "hub"]
# Of the rows of a data file; `steadyphi.data.row_formats` explains them.
RowFormatName = Literal[
    "auto",
    "alpaca",
    "messages",
    "sharegpt",
    "prompt-completion",
    "question-answer",
    "instruction-response",
    "text",
    "columns",
]
# The templates of the columns that every recognized format is converted to.
DEFAULT_TEMPLATES = ("{instruction}", "{response}")
# A column, several columns, or None. Any, because for a union pydantic reports one error per member.
Columns = Annotated[Any, AfterValidator(_columns)]
Commit = Annotated[str, AfterValidator(_commit)]
Regex = Annotated[str, AfterValidator(_one_group)]
Atoms = Annotated[tuple[Text, ...], AfterValidator(no_twice)]
Noise = Literal["typos", "misspellings", "spaces", "case", "contractions", "filler"]
Target = Literal["attn.qkv", "attn.proj", "mlp.fc", "mlp.proj", "lm_head", "wte"]
Targets = Annotated[tuple[Target, ...], AfterValidator(_distinct)]


ROWS = (".jsonl", ".json", ".csv", ".parquet")  # files of rows
PACKED = (".gz", ".zst")  # that a file name may end in too, except that of a .parquet file


def rows_suffix(name: str) -> str:
    """Return the suffix in `ROWS` that a file name has, ignoring case and `PACKED`; "" if it has none."""
    stem = name.lower()
    packed = stem.endswith(PACKED)
    if packed:
        stem = stem.rpartition(".")[0]
    suffix = "." + stem.rpartition(".")[2]
    return suffix if suffix in ROWS and not (packed and suffix == ".parquet") else ""


def validate(value: object, kind: Any) -> Any:
    """Return `value`, plain YAML data, as an instance of `kind`. Raises pydantic's ValidationError."""
    # Through JSON, because strict mode then accepts a list as a tuple, and a mapping as a dataclass.
    return TypeAdapter(kind).validate_json(json.dumps(value, default=str))


def location(error: ErrorDetails, section: str = "") -> str:
    """Return the dotted key of an error that was raised for the value of `section`."""
    # Pydantic adds the index in a list, and after `method` the name of the method that it tried.
    names = ["", section, *(part for part in error["loc"] if isinstance(part, str))]
    tried = [("method", method) for method in ("lora", "qlora", "full")]
    return ".".join(pair[1] for pair in itertools.pairwise(names) if pair[1] and pair not in tried)


def explain(error: ErrorDetails) -> str:
    """Return what is wrong with a value, and how to write it correctly if that is known."""
    if error["type"] == "missing":
        return "missing; write a value"
    if error["type"] == "unexpected_keyword_argument" and "sources" in error["loc"]:
        return "no such key of a source; docs/data.md lists them"
    if error["type"] == "unexpected_keyword_argument":
        return "no such key with this method"  # only here do the keys depend on a value
    if error["type"].startswith("union_tag"):
        return "name should be lora, qlora or full"
    if error["type"] == "float16":
        return error["msg"]
    value, text = error["input"], re.sub("^(Value error, |Input |String )", "", error["msg"])
    text = text.replace("an object", "a mapping").replace("a valid array", "a list")
    shown = json.dumps(value, ensure_ascii=False)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    text = f"{text}, not {shown}"
    number = re.fullmatch(r"([+-]?\d+)(\.\d*)?[eE]([+-]?)(\d+)", value) if isinstance(value, str) else None
    if number:
        whole, part, sign, exponent = number.groups()
        text += f"; write {whole}{part or '.0'}e{sign or '+'}{exponent} without quotes"
    return text
