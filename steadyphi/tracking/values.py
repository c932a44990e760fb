"""Values as MLflow takes them: flat, finite, with allowed names, and without secrets."""

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from steadyphi.errors import mask

MOST_PARAM = 6000  # characters of a param, MLflow's own limit
_SECRET_KEY = re.compile(
    r"secret|passw(or)?d|passphrase|credential|(api|access|private)[_-]?key"
    r"|(?<!pad_)(?<!bos_)(?<!eos_)(?<!unk_)token$",  # but not `tokenizer`, `max_tokens` or `pad_token`
    re.IGNORECASE,
)


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_secrets(v) for k, v in value.items() if not _SECRET_KEY.search(str(k))}
    if isinstance(value, list | tuple):
        return [_without_secrets(item) for item in value]
    return value


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        elif value is None or isinstance(value, bool | list | Mapping):
            yield f"{prefix}{key}", mask(json.dumps(value, default=str, ensure_ascii=False))
        else:
            yield f"{prefix}{key}", mask(str(value))


def flatten(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return nested settings as `{"a.b": "text"}`.

    Lists, booleans and null become JSON. Secrets are left out or masked.
    """
    return dict(_leaves(_without_secrets(settings)))


def allowed_name(text: str) -> str:
    """Return a param's or metric's name restricted to the characters and length that MLflow allows."""
    return re.sub(r"[^\w\-./: ]", "_", text)[:250]


def flat_params(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return nested settings as MLflow's params, without secrets."""
    return {allowed_name(key): value[:MOST_PARAM] for key, value in flatten(settings).items()}


def finite(value: float) -> float:
    """Replace ±inf with the largest float, as MLflow does, so that `same` can compare with stored values."""
    return min(max(float(value), -sys.float_info.max), sys.float_info.max)  # NaN passes through


def same(a: float | None, b: float) -> bool:
    """Return whether two values are equal; NaN is equal to NaN."""
    return a is not None and (a == b or (math.isnan(a) and math.isnan(b)))
