"""JSON requests to a server, several at a time, repeated after temporary failures and counted."""

import itertools
import json
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests

from steadyphi.errors import SteadyPhiError, printable

FIRST_WAIT = 1.0  # seconds after the first failure of a request; doubled after each other
LONGEST_WAIT = 30.0
TIMEOUT = (10.0, 600.0)  # seconds to connect, and between two parts of an answer
LARGEST = 256 << 20  # bytes of an answer
TEMPORARY = (408, 425, 429, 500, 502, 503, 504)


class Refused(SteadyPhiError):
    """The server answered with an error, again and again if that may be temporary."""


@dataclass
class Usage:
    """What the server was asked for and what it counted: requests, tokens read and tokens generated."""

    requests: int = 0
    repeated: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __str__(self) -> str:
        again = f" ({self.repeated:,} of them again after a failure)" if self.repeated else ""
        tokens = f"{self.prompt_tokens:,} tokens read, {self.completion_tokens:,} generated"
        return f"{self.requests:,} requests{again}; {tokens}"


@dataclass
class Client:
    """A server with an OpenAI-compatible API.

    url: of the API, such as http://127.0.0.1:8000/v1. key: sent as a bearer token, and never shown.
    concurrency: the most requests at a time. tries: of each request.
    """

    url: str
    key: str | None = None
    concurrency: int = 4
    tries: int = 5
    usage: Usage = field(default_factory=Usage)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
        except ValueError:  # such as brackets without an IPv6 address
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise SteadyPhiError("--endpoint: should be the URL of an API, such as http://127.0.0.1:8000/v1")
        self.url = self.url.rstrip("/")
        self._sessions, self._lock = threading.local(), threading.Lock()

    def post_all(self, path: str, bodies: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield the answers to several requests, in their order. The first failure ends all of them."""
        with ThreadPoolExecutor(self.concurrency) as pool:
            try:
                yield from pool.map(lambda body: self.post(path, body), bodies)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a request, which is repeated after a temporary failure.

        Raises Refused if the server does not do it, and SteadyPhiError if there is no connection.
        """
        for failures in itertools.count(1):
            self._count(requests=1, repeated=int(failures > 1))
            failure, delay = SteadyPhiError, 0.0
            try:
                status, content, delay = self._send(path, body)
            except requests.RequestException as error:
                problem = f"no answer ({type(error).__name__}); does the server run there?"
            else:
                if status == 200:
                    return self._read(content)
                failure, problem = Refused, f"status {status}: {_message(content)}"
            last = failures == self.tries or (failure is Refused and status not in TEMPORARY)
            if last:
                raise failure(f"{self.url}{path}: {problem}")
            time.sleep(min(LONGEST_WAIT, max(delay, FIRST_WAIT * 2 ** (failures - 1))))
        raise AssertionError("never reached")

    def _send(self, path: str, body: dict[str, Any]) -> tuple[int, bytes, float]:
        """Return the status and the content of one answer, and the seconds that the server asks to wait."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        # Without redirects, because another server must not get the key.
        with self._session().post(
            self.url + path, json=body, headers=headers, timeout=TIMEOUT, stream=True, allow_redirects=False
        ) as response:
            content = b""
            for chunk in response.iter_content(1 << 20):
                content += chunk
                if len(content) > LARGEST:
                    raise SteadyPhiError(f"{self.url}{path}: sent more than {LARGEST >> 20} MB")
            after = response.headers.get("Retry-After", "")
            return response.status_code, content, float(after) if after.isdecimal() else 0.0

    def _session(self) -> requests.Session:
        """Return this thread's session, whose connection stays open. It reads no .netrc and no proxies."""
        if not hasattr(self._sessions, "session"):
            self._sessions.session = requests.Session()
            self._sessions.session.trust_env = False
        session: requests.Session = self._sessions.session
        return session

    def _read(self, content: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise SteadyPhiError(f"{self.url}: did not answer with a JSON object; is it an API's URL?")
        usage = answer.get("usage")
        counts = usage if isinstance(usage, dict) else {}
        names = ("prompt_tokens", "completion_tokens")
        self._count(**{name: counts[name] for name in names if type(counts.get(name)) is int})
        return answer

    def _count(self, **amounts: int) -> None:
        with self._lock:
            for name, amount in amounts.items():
                setattr(self.usage, name, getattr(self.usage, name) + amount)


def _message(content: bytes) -> str:
    """Return the message of an error in one line, as OpenAI's API and FastAPI give it."""
    try:
        answer = json.loads(content)
        error = answer.get("error", answer.get("detail", answer.get("message", "")))
        text = error.get("message", "") if isinstance(error, dict) else str(error)
    except (ValueError, AttributeError, RecursionError):
        text = content[:300].decode(errors="replace")
    return printable(" ".join(str(text).split())[:200])
