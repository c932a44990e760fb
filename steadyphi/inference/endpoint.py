"""A model behind an OpenAI-compatible completions endpoint: a back end for evaluation.

There are two ways to score an answer. Where the server returns the log-probabilities of a prompt (`echo` with
`logprobs`, as vLLM does), one request scores one answer. Where it returns the log-probabilities of all tokens
that may come next (llama.cpp), one request is needed for each token of an answer, but answers after the same
text share it. A server with neither only generates.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from steadyphi.errors import SteadyPhiError
from steadyphi.inference.http_client import Client, Refused
from steadyphi.inference.language_model import Generated
from steadyphi.inference.score_cache import ScoreCache
from steadyphi.inference.scoring import Request
from steadyphi.progress import Progress
from steadyphi.tokenizer import TextTokenizer

PATH = "/completions"
TOGETHER = 128  # requests between two writes to the cache
PROMPTS = 8  # prompts in one HTTP request that scores them
PROBE = "Question: What is 1 + 1?\nAnswer: 2"

Way = Literal["echo", "next", "none"]
Tokens = tuple[int, ...]


class Endpoint:
    """The model of a server, with the tokenizer of the same model from a folder.

    model: its name on the server, if it has several. context: the longest sequence that it reads, in tokens.
    cache: keeps scores and texts until the evaluation is complete; None keeps nothing.
    way: how the server scores, which `connect` finds out. ids: whether it takes prompts as token ids.
    """

    def __init__(
        self,
        client: Client,
        tokenizer: TextTokenizer,
        context: int,
        model: str | None = None,
        cache: ScoreCache | None = None,
    ) -> None:
        self.client, self.tokenizer, self.context, self.cache = client, tokenizer, context, cache
        self.common: dict[str, Any] = {"temperature": 0, **({"model": model} if model else {})}
        self.way: Way = "none"
        self.ids = True

    def connect(self) -> str:
        """Find out what the server can do; return what it says to a fixed prompt, which tells models apart.

        Raises SteadyPhiError if it cannot even generate.
        """
        probe, tries = tuple(self.tokenizer.encode(PROBE)), self.client.tries
        self.client.tries = 2  # some servers answer with a temporary failure to what they do not know
        try:
            return self._connect(probe)
        finally:
            self.client.tries = tries

    def _connect(self, probe: Tokens) -> str:
        ways: tuple[Way, ...] = ("echo", "next")
        for way in ways:
            self.way = way
            try:
                return f"{way} {self._scores([Request(probe[:-2], probe[-2:], 'probe')], PROMPTS)[0]:.2f}"
            except (Refused, _Missing):
                continue
        self.way = "none"
        for self.ids in (True, False):
            try:
                return f"none {self._texts([PROBE], 4)[0].text}"
            except Refused as error:
                refusal = error
        raise refusal

    def score(self, requests: Sequence[Request], label: str = "score") -> list[float]:
        """Return the log-probability of each request's continuation, in nats, summed over its tokens.

        Raises SteadyPhiError if the server does not return log-probabilities.
        """
        progress = Progress(label, len(requests), "answers")
        scores: dict[Request, float] = {}
        todo = []
        for request in dict.fromkeys(requests):
            known = self.cache.get([(request.context, request.continuation)]) if self.cache else None
            if known:
                scores[request] = known[0]
            else:
                todo.append(request)
        progress.skip(len(requests) - len(todo))
        todo.sort(key=lambda request: (request.context, request.continuation))  # shared prompts together
        for at in range(0, len(todo), TOGETHER):
            part = todo[at : at + TOGETHER]
            for request, score in zip(part, self._scores(part, PROMPTS), strict=True):
                scores[request] = score
                if self.cache:
                    self.cache.put([(request.context, request.continuation)], [score])
            progress.add(len(part))
        progress.close()
        return [scores[request] for request in requests]

    def score_in_small_batches(self, requests: Sequence[Request], label: str) -> list[float]:
        """Return the scores, asked again one by one. Nothing is cached."""
        return self._scores(requests, 1)

    def generate(self, prompts: Sequence[str], max_new_tokens: int, label: str) -> list[Generated]:
        """Return the greedy continuation of each prompt, of at most `max_new_tokens` tokens."""
        progress = Progress(label, len(prompts), "texts")
        texts: dict[str, Generated] = {}
        keys = {prompt: [self.tokenizer.encode(prompt)] for prompt in prompts}
        for prompt, key in keys.items():
            if self.cache and (known := self.cache.get_texts(key, max_new_tokens)):
                texts[prompt] = Generated(*known[0])
        progress.skip(sum(prompt in texts for prompt in prompts))
        todo = [prompt for prompt in keys if prompt not in texts]
        for at in range(0, len(todo), TOGETHER):
            part = todo[at : at + TOGETHER]
            for prompt, text in zip(part, self._texts(part, max_new_tokens), strict=True):
                texts[prompt] = text
                if self.cache:
                    self.cache.put_texts(keys[prompt], max_new_tokens, [text])
            progress.add(len(part))
        progress.close()
        return [texts[prompt] for prompt in prompts]

    def _scores(self, requests: Sequence[Request], prompts: int) -> list[float]:
        if self.way == "echo":
            return list(self._by_echo(requests, prompts))
        if self.way == "next":
            return self._by_next_token(requests)
        raise SteadyPhiError(f"{self.client.url}: returns no log-probabilities, so it cannot score answers")

    def _by_echo(self, requests: Sequence[Request], prompts: int) -> Iterator[float]:
        parts = [requests[at : at + prompts] for at in range(0, len(requests), prompts)]
        settings = {**self.common, "max_tokens": 1, "echo": True, "logprobs": 1}
        bodies = [{**settings, "prompt": [[*r.context, *r.continuation] for r in part]} for part in parts]
        for part, answer in zip(parts, self.client.post_all(PATH, bodies), strict=True):
            choices = sorted(self._choices(answer, len(part)), key=_index)
            for request, choice in zip(part, choices, strict=True):
                first, last = len(request.context), len(request.context) + len(request.continuation)
                values = _list(_dict(choice.get("logprobs")).get("token_logprobs"))
                # The prompt, and at most the token that had to be generated.
                if len(values) not in (last, last + 1) or not all(map(_is_number, values[first:last])):
                    raise _Missing(f"{request.name}: {self.client.url} returned no log-probabilities for it")
                yield float(sum(values[first:last]))

    def _by_next_token(self, requests: Sequence[Request]) -> list[float]:
        """Ask for what comes after each text; llama.cpp calls the number of alternatives `n_probs`."""
        texts: dict[Tokens, set[int]] = {}
        for request in requests:
            for place, token in enumerate(request.continuation):
                texts.setdefault(request.context + request.continuation[:place], set()).add(token)
        every = 2 * self.tokenizer.size  # the model may have more rows than the tokenizer has tokens
        settings = {**self.common, "max_tokens": 1, "logprobs": every, "n_probs": every}
        bodies = [{**settings, "prompt": list(text)} for text in texts]
        known: dict[Tokens, float] = {}
        for (text, tokens), answer in zip(texts.items(), self.client.post_all(PATH, bodies), strict=True):
            (choice,) = self._choices(answer, 1)
            content = _list(_dict(choice.get("logprobs")).get("content")) or [{}]
            entries = map(_dict, _list(_dict(content[0]).get("top_logprobs")))
            logprobs: dict[int, Any] = {
                entry["id"]: entry.get("logprob") for entry in entries if type(entry.get("id")) is int
            }
            for token in tokens:
                if not _is_number(logprobs.get(token)):
                    raise _Missing(f"{self.client.url}: returned no log-probability for the token {token}")
                known[*text, token] = float(logprobs[token])
        return [
            sum(
                known[request.context + request.continuation[: place + 1]]
                for place in range(len(request.continuation))
            )
            for request in requests
        ]

    def _texts(self, prompts: Sequence[str], max_new_tokens: int) -> list[Generated]:
        settings = {**self.common, "max_tokens": max_new_tokens}
        read = self.tokenizer.encode if self.ids else str
        bodies = [{**settings, "prompt": read(prompt)} for prompt in prompts]
        texts = []
        for answer in self.client.post_all(PATH, bodies):
            choice = self._choices(answer, 1)[0]
            text = choice.get("text")
            if not isinstance(text, str):
                raise SteadyPhiError(f"{self.client.url}: returned no text")
            text = text.encode(errors="replace").decode()  # JSON may hold half of a character
            tokens = _dict(answer.get("usage")).get("completion_tokens")
            count = tokens if type(tokens) is int else len(self.tokenizer.encode(text))
            texts.append(Generated(text, count, choice.get("finish_reason") != "length"))
        return texts

    def _choices(self, answer: dict[str, Any], count: int) -> list[dict[str, Any]]:
        choices = answer.get("choices")
        if (
            not isinstance(choices, list)
            or len(choices) != count
            or not all(isinstance(c, dict) for c in choices)
        ):
            raise SteadyPhiError(f"{self.client.url}: returned no `choices` for {count} prompts")
        return choices


class _Missing(SteadyPhiError):
    """An answer without the log-probabilities that were asked for."""


def _dict(value: object) -> dict[str, Any]:
    """Return a JSON object, or an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    """Return a JSON array, or an empty one in place of anything else."""
    return value if isinstance(value, list) else []


def _index(choice: dict[str, Any]) -> int:
    index = choice.get("index")
    return index if type(index) is int else 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
