"""A completions endpoint on 127.0.0.1 that answers with phi-tiny, as vLLM, llama.cpp or transformers do."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import torch

from steadyphi.inference.generate import Options, generate
from steadyphi.model import Phi
from steadyphi.tokenizer import TextTokenizer

Kind = Literal["vllm", "llama.cpp", "transformers"]


@dataclass
class Completions:
    """A server of one of these kinds.

    faults: (status, headers) of the next answers, instead of them; status 0 cuts the connection.
    limit: the number of answers after which every answer is status 503.
    bodies: what was asked and answered. together: the most requests that were answered at a time.
    """

    model: Phi
    tokenizer: TextTokenizer
    kind: Kind = "vllm"
    faults: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    limit: int | None = None
    slow: float = 0.0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    now: int = 0
    together: int = 0
    lock: Any = field(default_factory=threading.Lock)
    url: str = ""

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
        prompts = [prompts] if isinstance(prompts[0], int) else prompts
        if self.kind == "transformers":
            if "logprobs" in body or "echo" in body:
                return 422, {"detail": "Unsupported fields in the request: logprobs, echo"}
            if not isinstance(body["prompt"], str):
                return 400, {"detail": "prompt must be a string."}
            prompts = [self.tokenizer.encode(body["prompt"])]
        if self.kind == "llama.cpp" and body.get("echo"):
            return 400, {"error": {"code": 400, "message": "Only no echo is supported", "type": "x"}}
        choices = [self._choice(body, n, ids) for n, ids in enumerate(prompts)]
        usage = {"prompt_tokens": sum(map(len, prompts)), "completion_tokens": len(choices)}
        return 200, {"choices": choices[::-1], "usage": usage}

    def _choice(self, body: dict[str, Any], index: int, ids: list[int]) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": index, "text": ""}
        if "logprobs" not in body:
            (result,) = generate(self.model, self.tokenizer, [ids], Options(body["max_tokens"]))
            return {**choice, "text": result.text}
        with torch.inference_mode():
            logprobs = self.model(torch.tensor(ids), [len(ids)]).log_softmax(-1)
        if self.kind == "llama.cpp":
            top = [{"id": n, "token": "", "logprob": p} for n, p in enumerate(logprobs[-1].tolist())]
            return {**choice, "logprobs": {"content": [{"top_logprobs": top}]}}
        values = [None] + [logprobs[n, token].item() for n, token in enumerate(ids[1:])]
        return {**choice, "logprobs": {"token_logprobs": [*values, -0.5], "tokens": []}}


def handler(server: Completions) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server.lock:
                server.now += 1
                server.together = max(server.together, server.now)
                server.keys.add(self.headers.get("Authorization", ""))
            time.sleep(server.slow)
            with server.lock:
                server.now -= 1
                status, headers = server.faults.pop(0) if server.faults else (200, {})
                if server.limit is not None and len(server.bodies) >= server.limit:
                    status = 503
                content: dict[str, Any] = {"error": {"message": "try\nlater \x1b[31m"}}
                if status == 200 and self.path == "/v1/completions":
                    status, content = server.answer(body)
                    server.bodies += [body] if status == 200 else []
            if not status:
                self.close_connection = True
                return
            data = json.dumps(content).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@contextmanager
def serving(server: Completions) -> Iterator[Completions]:
    """Run the server while the block runs."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler(server))
    server.url = f"http://127.0.0.1:{http.server_port}/v1"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
