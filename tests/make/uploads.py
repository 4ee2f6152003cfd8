"""A loopback server that takes what a run sends to Weights & Biases while it is online."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_NONE = {"edges": []}
_VIEWER = {"id": "1", "username": "toy", "entity": "me", "flags": "{}", "teams": _NONE,
           "email": "", "name": "toy", "admin": False, "apiKeys": _NONE}  # fmt: skip


@dataclass
class Received:
    """What the server was sent: by run its facts, the lines of its history and its files."""

    url: str = ""
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    history: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    artifacts: list[str] = field(default_factory=list)

    def answer(self, query: str, given: dict[str, Any]) -> Any:
        """Answer a GraphQL query."""
        if "upsertBucket" in query:
            known = self.facts.setdefault(given["name"], {})
            known.update({name: value for name, value in given.items() if value is not None})
            project = {"id": "p", "name": given["project"], "entity": {"id": "e", "name": "me"}}
            bucket = {"id": given["name"], "name": given["name"], "displayName": "",
                      "description": "", "config": "{}", "sweepName": "", "historyLineCount": 0,
                      "project": project}  # fmt: skip
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if "createRunFiles" in query:
            files = [{"name": n, "uploadUrl": f"{self.url}/up/{n}"} for n in given["files"]]
            return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}
        if "createArtifactManifest" in query or "updateArtifactManifest" in query:
            name = query[query.index("create" if "createA" in query else "update") :].split("(")[0]
            return {name: {"artifactManifest": {"id": "m", "file": self.file("manifest")}}}
        if "createArtifactFiles" in query:
            names = [one["name"] for one in given["input"]["artifactFiles"]]
            nodes = [{"node": self.file(n) | {"artifact": {"id": "a"}}} for n in names]
            return {"createArtifactFiles": {"files": {"edges": nodes}}}
        if "createArtifact(" in query:
            self.artifacts.append(given["input"]["aliases"][0]["artifactCollectionName"])
            sequence = {"id": "s", "latestArtifact": None}
            artifact = {"id": "a", "state": "PENDING", "artifactSequence": sequence}
            return {"createArtifact": {"artifact": artifact}}
        if "commitArtifact" in query:
            return {"commitArtifact": {"artifact": {"id": "a", "digest": "d"}}}
        return {"project": None, "viewer": _VIEWER, "serverInfo": {"features": []}}

    def file(self, name: str) -> dict[str, Any]:
        """Return where a file of an artifact goes."""
        where = f"{self.url}/up/artifact/{name}"
        return {"id": name, "name": name, "displayName": name, "uploadUrl": where,
                "uploadHeaders": [], "storagePath": name, "uploadMultipartUrls": None}  # fmt: skip


@contextmanager
def receiving() -> Iterator[Received]:
    """Serve on the loopback while the block runs."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.body()
            if self.path.endswith("/graphql") and raw:
                given = json.loads(raw)
                data = received.answer(given["query"], given.get("variables") or {})
                self.reply(json.dumps({"data": data}).encode())
                return
            if self.path.endswith("/file_stream"):
                lines = json.loads(raw).get("files", {}).get("wandb-history.jsonl", {})
                rows = received.history.setdefault(self.path.split("/")[-2], [])
                rows += map(json.loads, lines.get("content", ()))
            self.reply(b"{}")  # of measurements of the library itself

        def do_PUT(self) -> None:
            received.files[self.path.removeprefix("/up/")] = self.body()
            self.reply(b"")

        def body(self) -> bytes:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw

        def reply(self, data: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        received.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield received
        finally:
            server.shutdown()
