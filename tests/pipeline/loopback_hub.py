"""A Hugging Face Hub on 127.0.0.1 that serves one folder as repositories at pinned commits, with faults.

    python -m tests.pipeline.loopback_hub FOLDER NAME COMMIT     # prints its address and serves until killed

It speaks what huggingface_hub and we ask of a Hub: a model's info, its tree, and HEAD and GET of
its files with ranges. What is large on the Hub (LFS) is here what ends in `LFS`.
"""

import contextlib
import functools
import gzip
import hashlib
import json
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

LFS = (".safetensors", ".bin", ".pth")


@dataclass
class Answer:
    """An answer instead of the right one, `times` times, to requests whose path matches `path`."""

    path: str
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1
    body: bytes = b"{}"


@dataclass
class Faults:
    """What goes wrong. Files are named as in the folder."""

    answers: list[Answer] = field(default_factory=list)
    cut: dict[str, list[int]] = field(default_factory=dict)  # offsets where a connection ends, each once
    corrupt: dict[str, int] = field(default_factory=dict)  # how many answers have a wrong byte
    endless: set[str] = field(default_factory=set)  # the body never ends
    shorter: set[str] = field(default_factory=set)  # one byte less than is listed
    listed_names: dict[str, str] = field(default_factory=dict)  # file -> the name it is listed with
    ranges: bool = True
    lengths: bool = True  # announce Content-Length
    compressed: bool = False  # text, also for clients that do not want it; for others it always is
    rate: float = 0.0  # bytes per second of each connection; 0 is as fast as can be
    token: str = ""  # the only one that is let in
    storage: str = ""  # where large files are redirected to, with a signature


@dataclass(frozen=True)
class Request:
    """One request, as it came."""

    method: str
    path: str
    range: str | None
    authorization: str | None


@dataclass
class LoopbackHub:
    """The server: where it is, what it should do wrong, and what it was asked."""

    folder: Path
    repos: dict[str, str]
    faults: Faults = field(default_factory=Faults)
    endpoint: str = ""
    requests: list[Request] = field(default_factory=list)
    served: Counter[str] = field(default_factory=Counter)  # bytes of each file's content that were sent

    def gets(self, name: str) -> list[Request]:
        """Return the GET requests for a file's content."""
        return [r for r in self.requests if r.method == "GET" and r.path.split("?")[0].endswith(f"/{name}")]


def digests(path: Path) -> tuple[str, str]:
    """Return a file's SHA-256 and its git blob id, as `git hash-object` says it."""
    state = path.stat()
    return _digests(path, state.st_size, state.st_mtime_ns)


@functools.cache
def _digests(path: Path, size: int, _changed: int) -> tuple[str, str]:
    sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
            if not path.name.endswith(LFS):
                git.update(block)
    if path.name.endswith(LFS):  # what git holds is the pointer
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256.hexdigest()}\nsize {size}\n"
        git = hashlib.sha1(b"blob %d\0%s" % (len(text), text.encode()))
    return sha256.hexdigest(), git.hexdigest()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    hub: LoopbackHub  # set by `start`

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, faults = self.hub, self.hub.faults
        seen = Request(self.command, self.path, self.headers["Range"], self.headers["Authorization"])
        hub.requests.append(seen)
        path = unquote(self.path.split("?")[0])
        for answer in faults.answers:
            if answer.times and re.search(answer.path, path):
                answer.times -= 1
                return self.answer(answer.status, answer.body, answer.headers)
        if faults.token and seen.authorization != f"Bearer {faults.token}":
            message = "Invalid credentials in Authorization header"
            return self.answer(401, headers={"X-Error-Message": message} if seen.authorization else {})
        if match := re.fullmatch("/storage/(.+)", path):  # where a signed address leads
            return self.file(hub.folder / match[1])
        if not (match := self.repo(path)):
            return self.answer(404, headers={"X-Error-Code": "RepoNotFound"})
        name, what, revision, rest = match
        commit = hub.repos[name]
        if revision not in (None, "main", commit):
            return self.answer(404, headers={"X-Error-Code": "RevisionNotFound"})
        if what == "resolve":
            return self.resolve(rest or "", commit)
        listed = [self.entry(p) for p in files_of(hub.folder)]
        if what == "tree":
            return self.answer(200, json.dumps([self.tree_entry(e) for e in listed]).encode())
        return self.answer(200, json.dumps({"id": name, "sha": commit, "siblings": listed}).encode())

    def repo(self, path: str) -> tuple[str, str, str | None, str | None] | None:
        """Return which repository, what of it, the revision, and the path inside."""
        for name in self.hub.repos:
            if path == f"/api/models/{name}":
                return name, "info", None, None
            if match := re.fullmatch(f"/api/models/{re.escape(name)}/(revision|tree)/([^/]+)", path):
                return name, match[1], match[2], None
            if match := re.fullmatch(f"/{re.escape(name)}/resolve/([^/]+)/(.+)", path):
                return name, "resolve", match[1], match[2]
        return None

    def entry(self, path: Path) -> dict[str, Any]:
        size, (sha256, git) = path.stat().st_size, digests(path)
        name = path.relative_to(self.hub.folder).as_posix()
        entry = {"rfilename": self.hub.faults.listed_names.get(name, name), "size": size, "blobId": git}
        if name.endswith(LFS):
            entry["lfs"] = {"sha256": sha256, "size": size, "pointerSize": 134}
        return entry

    def tree_entry(self, entry: dict[str, Any]) -> dict[str, Any]:
        facts = {
            "type": "file",
            "path": entry["rfilename"],
            "size": entry["size"],
            "oid": entry["blobId"],
        }
        if lfs := entry.get("lfs"):
            facts["lfs"] = {"oid": lfs["sha256"], "size": lfs["size"], "pointerSize": lfs["pointerSize"]}
        return facts

    def resolve(self, name: str, commit: str) -> None:
        path = self.hub.folder / name
        if not path.is_file():
            return self.answer(404, headers={"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        sha256, git = digests(path)
        large = name.endswith(LFS)
        headers = {"ETag": f'"{sha256 if large else git}"', "X-Repo-Commit": commit}
        if large:
            headers |= {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(path.stat().st_size)}
        if large and self.hub.faults.storage:
            signed = f"{self.hub.faults.storage}/storage/{name}?X-Amz-Signature=signature-secret"
            return self.answer(302, headers=headers | {"Location": signed})
        return self.file(path, headers)

    def file(self, path: Path, headers: dict[str, str] | None = None) -> None:
        """Answer with a file's content, or the range of it that is asked for."""
        name, size = path.relative_to(self.hub.folder).as_posix(), path.stat().st_size
        faults, all_headers = self.hub.faults, dict(headers or {})
        size -= name in faults.shorter
        if name.endswith(".json") and (faults.compressed or "gzip" in self.headers["Accept-Encoding"]):
            body = gzip.compress(path.read_bytes())
            return self.answer(200, body, all_headers | {"Content-Encoding": "gzip"})
        start, end, status = 0, size, 200
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"] or "")
        if faults.ranges:
            all_headers["Accept-Ranges"] = "bytes"
        if wanted and faults.ranges:
            start, end, status = int(wanted[1]), min(int(wanted[2] or size - 1) + 1, size), 206
            if start >= size:
                return self.answer(416, headers=all_headers | {"Content-Range": f"bytes */{size}"})
            all_headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        if faults.lengths and name not in faults.endless:
            all_headers["Content-Length"] = str(end - start)
        else:
            self.close_connection = True
        self.head(status, all_headers)
        if self.command != "HEAD":
            with contextlib.suppress(ConnectionError), path.open("rb") as file:
                self.send(file.fileno(), name, start, end)

    def send(self, file: int, name: str, start: int, end: int) -> None:
        """Send a file's bytes, as fast as the kernel can or slower, and wrong where that is asked for."""
        faults = self.hub.faults
        cuts = faults.cut.get(name, [])
        stop = min((c for c in cuts if start <= c < end), default=None)
        if stop is not None:
            cuts.remove(stop)
            end, self.close_connection = stop, True
        spoilt = faults.corrupt.get(name, 0)
        if spoilt:
            faults.corrupt[name] -= 1
        block = max(1, int(faults.rate / 100)) if faults.rate else 1 << 20
        place = start
        while place < end:
            count = min(block, end - place)
            self.hub.served[name] += count  # before, for the client may be done before this thread goes on
            if spoilt:
                data = bytearray(os.pread(file, count, place))
                data[0] ^= place == start  # the first byte that is sent
                self.connection.sendall(data)
                sent = count
            else:
                sent = os.sendfile(self.connection.fileno(), file, place, count)
            place += sent
            self.hub.served[name] += sent - count
            if faults.rate:
                time.sleep(sent / faults.rate)
        while name in faults.endless:
            self.connection.sendall(bytes(1 << 16))
            self.hub.served[name] += 1 << 16

    def answer(self, status: int, body: bytes = b"{}", headers: dict[str, str] | None = None) -> None:
        self.head(status, {"Content-Length": str(len(body)), **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(body)

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Silent about clients that are killed."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def start(folder: Path, *repos: tuple[str, str], faults: Faults | None = None) -> Iterator[LoopbackHub]:
    """Serve `folder` as each of `repos` (name, commit) and yield the server."""
    hub = LoopbackHub(folder, dict(repos), faults or Faults())
    with served(hub, Handler):
        yield hub


@contextmanager
def served(hub: LoopbackHub, handler: type[Handler]) -> Iterator[None]:
    """Serve a Hub, with one `handler` for each connection, and set its endpoint."""
    server = Server(("127.0.0.1", 0), type("Handler", (handler,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def serve(folder: Path, *repos: tuple[str, str]) -> Iterator[str]:
    """Serve `folder` as each of `repos` (name, commit) and yield the endpoint's URL."""
    with start(folder, *repos) as hub:
        yield hub.endpoint


def files_of(folder: Path) -> list[Path]:
    """Return all files below a folder."""
    return sorted(p for p in folder.rglob("*") if p.is_file())


if __name__ == "__main__":
    with start(Path(sys.argv[1]), (sys.argv[2], sys.argv[3])) as running:
        for file in files_of(running.folder):
            digests(file)  # now, not when the first client waits for them
        print(running.endpoint, flush=True)
        threading.Event().wait()
