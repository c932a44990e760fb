"""A Hub on 127.0.0.1 that takes new repositories: create, metadata check, large files by LFS, one commit."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.pipeline import loopback_hub
from tests.pipeline.loopback_hub import LFS, Faults, Handler, LoopbackHub, Request

COMMIT = "c0ffee" * 6 + "0123"


@dataclass
class Repository:
    """A repository of the Hub: whether it is private, and its files by name after each commit."""

    private: bool
    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b"*.safetensors lfs\n"})
    commits: int = 0


@dataclass
class WritableHub(LoopbackHub):
    """A Hub that takes uploads. `large` has the content of the large files by SHA-256."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    verified: set[str] = field(default_factory=set)


class Writer(Handler):
    """One connection that may write."""

    hub: WritableHub

    def do_GET(self) -> None:
        if self.refused():
            return None
        match = re.fullmatch("/api/models/([^/]+/[^/]+)", self.path)
        if not match or match[1] not in self.hub.repositories:
            return self.answer(404, headers={"X-Error-Code": "RepoNotFound"})
        repository = self.hub.repositories[match[1]]
        siblings = [{"rfilename": name} for name in repository.files]
        facts = {"id": match[1], "sha": COMMIT, "private": repository.private, "siblings": siblings}
        return self.json(facts)

    def do_PUT(self) -> None:
        body = self.body()
        if self.refused():
            return None
        self.hub.large[self.path.rpartition("/")[2]] = body
        return self.json({})

    def do_POST(self) -> None:
        body = self.body()
        if self.refused():
            return None
        path = self.path.split("?")[0]
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path == "/api/validate-yaml":
            return self.json({"errors": [], "warnings": []})
        match = re.fullmatch(r"/(?:api/models/)?([^/]+/[^/.]+)(?:\.git)?/(.+)", path)
        if not match or match[1] not in self.hub.repositories:
            return self.answer(404, headers={"X-Error-Code": "RepoNotFound"})
        name, what = match[1], match[2]
        if what == "preupload/main":
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LFS) else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return self.json({"files": modes})
        if what == "info/lfs/objects/batch":
            return self.json(
                {"transfer": "basic", "objects": [*map(self.wanted, json.loads(body)["objects"])]}
            )
        if what == "verify":
            oid = json.loads(body)["oid"]
            assert hashlib.sha256(self.hub.large[oid]).hexdigest() == oid
            self.hub.verified.add(oid)
            return self.json({})
        assert what == "commit/main", what
        return self.commit(name, [json.loads(line) for line in body.splitlines()])

    def create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        if name in self.hub.repositories:
            body = {"error": "You already created this model repo", "url": f"{self.hub.endpoint}/{name}"}
            return self.answer(409, json.dumps(body).encode(), {"Content-Type": "application/json"})
        private = wanted.get("private") or wanted.get("visibility") == "private"
        self.hub.repositories[name] = Repository(bool(private))
        return self.json({"url": f"{self.hub.endpoint}/{name}"})

    def wanted(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Return where a large file goes to, and where its arrival is confirmed."""
        name = self.path[1:].partition(".git/")[0]
        actions = {
            "upload": {"href": f"{self.hub.endpoint}/storage/{entry['oid']}"},
            "verify": {"href": f"{self.hub.endpoint}/{name}/verify"},
        }
        return {"oid": entry["oid"], "size": entry["size"], "actions": actions}

    def commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        repository = self.hub.repositories[name]
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "lfsFile":
                assert value["oid"] in self.hub.verified
                repository.files[value["path"]] = self.hub.large[value["oid"]]
            else:
                repository.files[value["path"]] = base64.b64decode(value["content"])
        repository.commits += 1
        return self.json({"commitUrl": f"{self.hub.endpoint}/{name}/commit/{COMMIT}", "commitOid": COMMIT})

    def refused(self) -> bool:
        """Answer with a fault, if one is planned or the token is wrong, and return whether it was."""
        hub, faults = self.hub, self.hub.faults
        seen = Request(self.command, self.path, None, self.headers["Authorization"])
        hub.requests.append(seen)
        for fault in faults.answers:
            if fault.times and re.search(fault.path, self.path):
                fault.times -= 1
                self.answer(fault.status, fault.body, fault.headers)
                return True
        signed = self.path.startswith("/storage/")  # a signed address needs no token
        if faults.token and not signed and seen.authorization != f"Bearer {faults.token}":
            message = "Invalid credentials in Authorization header"
            self.answer(401, headers={"X-Error-Message": message} if seen.authorization else {})
            return True
        return False

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"] or 0))

    def json(self, value: object) -> None:
        self.answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})


@contextmanager
def start(faults: Faults) -> Iterator[WritableHub]:
    """Serve an empty Hub and yield the server."""
    hub = WritableHub(Path(), {}, faults)
    with loopback_hub.served(hub, Writer):
        yield hub
