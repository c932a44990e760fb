"""Handles failed requests to the Hub: waits and retries, or raises an error with a one-line message."""

import re
import threading
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn
from urllib.parse import urlsplit

from huggingface_hub import get_token
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,  # the base class of all exceptions of the library's HTTP client
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import parse_ratelimit_headers

from steadyphi.errors import SteadyPhiError
from steadyphi.hub.threads import Stopped, say

# What to do on a machine without a connection.
WITHOUT_HUB = (
    "without a connection, HF_HUB_OFFLINE=1 takes the files that were fetched before, "
    "and instead of a repository a local folder can be named (in the pipeline: fetch.source, below assets/)"
)
__all__ = ["RETRY", "HTTPError", "Patience", "Retry", "Where", "clean", "status_of"]


@dataclass(frozen=True)
class Retry:
    """The limits for retries. Times are in seconds."""

    tries: int = 5  # consecutive failures without any new data
    wait: float = 1.0  # after the first failure; doubled after each further one
    longest: float = 30.0
    total: float = 300.0  # total waiting time for one file


RETRY = Retry()


@dataclass(frozen=True)
class Where:
    """The target of a request, for messages: repository, Hub, revision and file."""

    source: str
    endpoint: str
    revision: str | None = None
    name: str = ""

    @property
    def host(self) -> str:
        return urlsplit(self.endpoint).netloc.rpartition("@")[2]

    def __str__(self) -> str:
        revision = f" at {self.revision}" if self.revision else ""
        return f"{self.source}{revision}" + (f": {self.name}" if self.name else "")


def clean(text: str) -> str:
    """Return the text as one line, with tokens, passwords and signatures removed."""
    token = get_token()
    text = text.replace(token, "***") if token else text
    text = re.sub(r"(\w://)[^/\s'\"]*@", r"\1***@", text)
    text = re.sub(r"\?[^\s'\"]*", "", text)
    return " ".join(text.split())[:300]


class Patience:
    """Waits after temporary failures of one listing or file, and raises SteadyPhiError at the limits."""

    _announced: dict[str, float] = {}  # host -> end of the announced wait  # noqa: RUF012
    _lock = threading.Lock()

    def __init__(self, where: Where, stop: threading.Event | None = None) -> None:
        self.where = where
        self.retry = RETRY
        self._stop = stop or threading.Event()
        self._failures = 0
        self._waited = 0.0

    def progressed(self) -> None:
        """Reset the number of failures, because data arrived."""
        self._failures = 0

    def after(self, error: Exception) -> None:
        """Wait until the next try. Raise SteadyPhiError if another try is pointless."""
        if not _is_temporary(error, self.where):
            self._give_up(error)
        self._failures += 1
        delay = _requested_delay(error)
        backoff = min(self.retry.wait * 2 ** (self._failures - 1), self.retry.longest)
        seconds = max(backoff, delay or 0.0)
        # The number of tries is limited only if the server does not state how long to wait.
        if (
            delay is None and self._failures >= self.retry.tries
        ) or self._waited + seconds > self.retry.total:
            self._give_up(error, delay)
        self._announce(_reason(error), seconds)
        self._waited += seconds
        if self._stop.wait(seconds):
            raise Stopped

    def _announce(self, reason: str, seconds: float) -> None:
        with self._lock:  # several files may wait for the same server
            now = time.monotonic()
            if now >= self._announced.get(self.where.host, 0.0):
                say(f"{self.where}: {reason}; trying again in {seconds:.0f} s")
                self._announced[self.where.host] = now + seconds

    def _give_up(self, error: Exception, delay: float | None = None) -> NoReturn:
        raise SteadyPhiError(f"{self.where}: {_explain(error, self.where, delay)}") from None


def status_of(error: Exception) -> int | None:
    """Return the HTTP status of the error, or None for a failed connection."""
    return int(error.response.status_code) if isinstance(error, HfHubHTTPError) else None


def _is_temporary(error: Exception, where: Where) -> bool:
    """Whether the failure may be temporary."""
    status = status_of(error)
    if status is None:
        return True  # a failed connection
    # A 403 from a storage host means that its signed URL has expired. The Hub issues a new one.
    return status in (408, 429) or status >= 500 or (status == 403 and _from_storage(error, where))


def _from_storage(error: Exception, where: Where) -> bool:
    """Whether the response came from a storage host that the Hub redirects to, not from the Hub."""
    return urlsplit(str(error.response.url)).hostname != urlsplit(where.endpoint).hostname  # type: ignore[attr-defined]


def _requested_delay(error: Exception) -> float | None:
    """Return the number of seconds that the server asks to wait, or None if it does not state any."""
    if not isinstance(error, HfHubHTTPError):
        return None
    headers: Any = error.response.headers
    if (limit := parse_ratelimit_headers(headers)) and limit.remaining == 0 and status_of(error) == 429:
        return float(limit.reset_in_seconds)
    value = headers.get("Retry-After", "").strip()
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _reason(error: Exception) -> str:
    status = status_of(error)
    if status == 429:
        return "the Hub asks for fewer requests (429)"
    if status is not None:
        return f"the server returned an error ({status})"
    return f"the connection failed ({clean(f'{type(error).__name__}: {error}')})"


def _explain(error: Exception, where: Where, delay: float | None) -> str:
    """Return the cause and the remedy. The order of the checks matters, because exception classes overlap."""
    status, token = status_of(error), get_token()
    if status is None:
        again = "run it again, the received data is kept"
        return f"{where.host}: {_reason(error)}; {again}; {WITHOUT_HUB}"
    if delay is None and _from_storage(error, where):
        return f"the storage of {where.host} refuses ({status}) repeatedly; run it again later"
    headers: Any = error.response.headers  # type: ignore[attr-defined]
    if isinstance(error, GatedRepoError):
        page = f"https://{where.host}/{where.source}"
        advice = "with this token's account" if token else "and set HF_TOKEN to a token of that account"
        return f"is gated ({status}); accept its terms at {page} {advice}"
    if isinstance(error, DisabledRepoError):
        return f"{where.host} has disabled this repository ({status})"
    if isinstance(error, RevisionNotFoundError):
        return f"{where.host} has the repository but no such revision (404); see its commits there"
    if isinstance(error, EntryNotFoundError):
        return f"{where.host} lists this file but does not have it (404)"
    if status == 401 and "Invalid credentials" in headers.get("X-Error-Message", ""):
        return f"{where.host} rejects the token (401); set HF_TOKEN to a valid token, or unset it"
    if isinstance(error, RepositoryNotFoundError) or status in (401, 404):
        cause = "the token cannot read it" if token else "it is private and needs HF_TOKEN"
        return f"no such repository on {where.host} ({status}), or {cause}; it is not a local folder either"
    if status == 403:
        return f"{where.host} denies access (403): the token has no permission to read this repository"
    if delay is not None:
        return f"{_reason(error)}, and to wait {delay:.0f} s; run it again later, the received data is kept"
    if _is_temporary(error, where):
        return f"{where.host}: {_reason(error)} repeatedly; run it again later, the received data is kept"
    return f"{where.host} refuses ({status}): {clean(str(error.server_message or ''))}"  # type: ignore[attr-defined]
