"""A Hub of data sets on 127.0.0.1: the loopback Hub of models, asked in the words of `datasets`."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs

from tests.pipeline.loopback_hub import Handler, LoopbackHub, Server, files_of


class DatasetHandler(Handler):
    """One connection. `datasets` lists folder by folder."""

    def do_GET(self) -> None:
        self.path = re.sub("^/api/datasets/", "/api/models/", self.path)
        self.path = re.sub("^/datasets/", "/", self.path)
        if match := re.fullmatch(r"/api/models/[^/]+/[^/]+/tree/[^/]+/?([^?]*)\??(.*)", self.path):
            return self.tree(match[1], "true" in parse_qs(match[2].lower()).get("recursive", []))
        super().do_GET()

    def tree(self, below: str, recursive: bool) -> None:
        top = self.hub.folder / below
        if not top.is_dir():
            return self.answer(404, headers={"X-Error-Code": "EntryNotFound"})
        entries = [self.tree_entry(self.entry(p)) for p in files_of(top) if recursive or p.parent == top]
        folders = [p for p in sorted(top.rglob("*") if recursive else top.iterdir()) if p.is_dir()]
        entries += [
            {
                "type": "directory",
                "path": p.relative_to(self.hub.folder).as_posix(),
                "oid": "0" * 40,
                "size": 0,
            }
            for p in folders
        ]
        self.answer(200, json.dumps(entries).encode())


@contextmanager
def serve_datasets(folder: Path, *repos: tuple[str, str]) -> Iterator[LoopbackHub]:
    """Serve `folder` as each of the data sets `repos` (name, commit) and yield the server."""
    hub = LoopbackHub(folder, dict(repos))
    server = Server(("127.0.0.1", 0), type("Bound", (DatasetHandler,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
