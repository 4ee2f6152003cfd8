"""A loopback server that speaks as much of Weights & Biases as fetching a model takes."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

KEY = "0123456789abcdef" * 2 + "01234567"


@dataclass
class Store:
    """Versions of one artifact: the files of v0, v1 ... by name."""

    entity: str
    project: str
    name: str
    versions: list[Mapping[str, bytes]]
    kind: str = "model"
    url: str = ""
    damaged: bool = False
    asked: list[str] = field(default_factory=list)

    def answer(self, query: str, variables: Mapping[str, Any]) -> Any:
        """Answer a GraphQL query."""
        self.asked.append(query.split("(")[0].split("{")[0].split()[-1])
        if "artifactCollectionMembership(" in query:
            return {"project": self.project_of(variables)}
        if "currentManifest" in query:
            number = int(str(variables["id"]))
            return {"artifact": {"currentManifest": {"file": {"directUrl": self.at(number, "")}}}}
        if "artifactMembership(aliasName" in query:
            number = self.number(variables["alias"])
            return {"project": {"artifactCollection": {
                "__typename": "ArtifactSequence",
                "artifactMembership": {"files": self.files(number)},
            }}}  # fmt: skip
        if "viewer" in query:
            return {"viewer": {"id": "1", "username": "toy", "entity": "toy", "flags": "{}",
                "teams": {"edges": []}, "email": "", "name": "toy", "admin": False,
                "apiKeys": {"edges": []}}}  # fmt: skip
        return {"serverInfo": {"features": []}}

    def number(self, version: str) -> int:
        return len(self.versions) - 1 if version == "latest" else int(version.removeprefix("v"))

    def at(self, number: int, name: str) -> str:
        return f"{self.url}/files/{number}/{name}"

    def project_of(self, variables: Mapping[str, Any]) -> Any:
        name, _, version = variables["name"].partition(":")
        if (variables["entity"], variables["project"]) != (self.entity, self.project):
            return None
        known = [f"v{n}" for n in range(len(self.versions))] + ["latest"]
        if name != self.name or version not in known:
            return {"artifactCollectionMembership": None}
        return {"artifactCollectionMembership": self.membership(self.number(version))}

    def membership(self, number: int) -> Any:
        collection = {
            "__typename": "ArtifactSequence", "name": self.name,
            "project": {"id": "p", "internalId": "1", "name": self.project,
                        "entity": {"name": self.entity}},
        }  # fmt: skip
        size = sum(map(len, self.versions[number].values()))
        artifact = {
            "__typename": "Artifact", "id": str(number), "artifactSequence": collection,
            "versionIndex": number, "artifactType": {"name": self.kind}, "description": None,
            "metadata": "{}", "ttlDurationSeconds": -2, "ttlIsInherited": True, "tags": [],
            "historyStep": None, "state": "COMMITTED", "size": str(size), "digest": "0" * 32,
            "commitHash": f"commit{number}", "fileCount": len(self.versions[number]),
            "createdAt": "2026-01-01T00:00:00", "updatedAt": None, "aliases": [],
        }  # fmt: skip
        alias = {"__typename": "ArtifactAlias", "id": "a", "alias": "latest"}
        return {
            "__typename": "ArtifactCollectionMembership", "id": f"m{number}",
            "versionIndex": number, "createdAt": "2026-01-01T00:00:00",
            "aliases": [alias] if number == len(self.versions) - 1 else [],
            "artifactCollection": collection, "artifact": artifact,
        }  # fmt: skip

    def files(self, number: int) -> Any:
        nodes = [
            {"__typename": "File", "name": name, "directUrl": self.at(number, name)}
            for name in self.versions[number]
        ]
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        return {"pageInfo": page, "edges": [{"node": node} for node in nodes]}

    def manifest(self, number: int) -> bytes:
        contents = {
            name: {
                "digest": base64.b64encode(hashlib.md5(data).digest()).decode(),
                "size": len(data),
                "birthArtifactID": str(number),
            }
            for name, data in self.versions[number].items()
        }
        head = {"version": 1, "storagePolicy": "wandb-storage-policy-v1",
                "storagePolicyConfig": {"storageLayout": "V2"}}  # fmt: skip
        return json.dumps({**head, "contents": contents}).encode()


@contextmanager
def serving(store: Store) -> Iterator[Store]:
    """Serve a store on the loopback while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            if not raw:  # is anyone there?
                self.reply(b"{}")
                return
            given = base64.b64decode(self.headers["Authorization"].partition(" ")[2]).decode()
            if given != f"api:{KEY}":
                self.reply(b'{"errors": [{"message": "user is not logged in"}]}', status=401)
                return
            body = json.loads(raw)
            data = store.answer(body["query"], body.get("variables") or {})
            self.reply(json.dumps({"data": data}).encode())

        def do_GET(self) -> None:
            _, _, number, name = unquote(self.path).split("/", 3)
            store.asked.append(name or "manifest")
            found = store.versions[int(number)]
            data = found[name] if name else store.manifest(int(number))
            self.reply(data[::-1] if store.damaged and name else data)

        def reply(self, data: bytes, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        store.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield store
        server.shutdown()
