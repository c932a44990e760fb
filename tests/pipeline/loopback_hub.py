"""A Hugging Face Hub on 127.0.0.1 that serves one folder as repositories at pinned commits."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any


@contextmanager
def serve(folder: Path, *repos: tuple[str, str], wrong: str = "") -> Iterator[str]:
    """Serve `folder` as each of `repos` (name, commit) and yield the endpoint's URL.

    For the file named `wrong` another SHA-256 is listed than it has.
    """
    names = "|".join(f"{name}(?=/.*{commit})" for name, commit in repos)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            if found := re.fullmatch(f"/api/models/({names})/revision/(.+)", path):
                self.answer(json.dumps(self.info(found[1], found[2])).encode())
            elif re.match(f"/api/models/({names})/tree/", path):
                self.answer(json.dumps(self.tree()).encode())
            elif found := re.fullmatch(f"/({names})/resolve/([^/]+)/(.+)", path):
                self.file(folder / found[3], found[2])
            else:
                self.answer(b'{"error": "Repository not found"}', 404, {"X-Error-Code": "RepoNotFound"})

        def info(self, repo: str, commit: str) -> dict[str, Any]:
            return {
                "id": repo,
                "sha": commit,
                "siblings": [self.sibling(p) for p in files_of(folder)],
            }

        def sibling(self, path: Path) -> dict[str, Any]:
            size = path.stat().st_size
            name = path.relative_to(folder).as_posix()
            listed: dict[str, Any] = {"rfilename": name, "size": size, "blobId": "0" * 40}
            if path.suffix == ".safetensors":
                listed["lfs"] = {
                    "sha256": sha256(path, wrong),
                    "size": path.stat().st_size,
                    "pointerSize": 134,
                }
            return listed

        def tree(self) -> list[dict[str, Any]]:
            found = []
            for path in files_of(folder):
                entry: dict[str, Any] = {
                    "type": "file",
                    "path": path.relative_to(folder).as_posix(),
                    "size": path.stat().st_size,
                    "oid": "0" * 40,
                }
                if path.suffix == ".safetensors":
                    size = path.stat().st_size
                    entry["lfs"] = {"oid": sha256(path, wrong), "size": size, "pointerSize": 134}
                found.append(entry)
            return found

        def file(self, path: Path, commit: str) -> None:
            if not path.is_file():
                self.answer(b"", 404, {"X-Error-Code": "EntryNotFound"})
                return
            etag = sha256(path, "") if path.suffix == ".safetensors" else f"{path.stat().st_size:040}"
            self.answer(path.read_bytes(), 200, {"ETag": f'"{etag}"', "X-Repo-Commit": commit})

        def answer(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def files_of(folder: Path) -> list[Path]:
    """Return all files below a folder."""
    return sorted(p for p in folder.rglob("*") if p.is_file())


def sha256(path: Path, wrong: str) -> str:
    """Return a file's digest; for the file named `wrong` that of something else."""
    return hashlib.sha256(b"other" if path.name == wrong else path.read_bytes()).hexdigest()
