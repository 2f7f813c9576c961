"""A hub on the loopback interface that speaks the protocol of huggingface_hub's client."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

_INFO = re.compile(r"/api/models/(?P<id>[^/]+/[^/]+)(/revision/(?P<revision>[^/]+))?")
_FILE = re.compile(r"/(?P<id>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


@dataclass
class Hub:
    """Models below a folder, each with one commit.

    Attributes:
        root: ``owner/name/files``.
        license: of every model, as its page says.
        tags: of models, by owner and name.
        gated: models whose terms nobody has accepted.
        failures: how many of the next requests are answered with 503.
        corrupt: names of files of which other bytes are sent.
        requests: method and path of each.
        url: where the server listens.
    """

    root: Path
    license: str = "apache-2.0"
    tags: dict[str, list[str]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    failures: int = 0
    corrupt: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def models(self) -> list[str]:
        return sorted(f"{path.parent.name}/{path.name}" for path in self.root.glob("*/*"))

    def commit(self, model: str) -> str:
        files = sorted((self.root / model).rglob("*"))
        told = "".join(f"{path} {path.stat().st_mtime_ns}" for path in files)
        return hashlib.sha1(told.encode()).hexdigest()

    def info(self, model: str) -> dict[str, Any]:
        folder = self.root / model
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {
            "id": model,
            "sha": self.commit(model),
            "tags": ["image-classification", *self.tags.get(model, [])],
            "cardData": {"license": self.license},
            "siblings": [self._sibling(folder, path) for path in files],
        }

    def _sibling(self, folder: Path, path: Path) -> dict[str, Any]:
        content = path.read_bytes()
        told = {
            "rfilename": str(path.relative_to(folder)),
            "size": len(content),
            "blobId": hashlib.sha1(content).hexdigest(),
        }
        if path.suffix != ".json":  # small texts lie in git itself
            digest = hashlib.sha256(content).hexdigest()
            told["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 130}
        return told


@contextmanager
def serve_hub(root: Path) -> Iterator[Hub]:
    """A hub of the models below a folder."""
    hub = Hub(root)
    server = _Server(hub)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def ask(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the client's library ask this hub, and keep what it answers in that folder."""
    import huggingface_hub.constants as known

    template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(known, "ENDPOINT", hub.url)
    monkeypatch.setattr(known, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(known, "HF_HUB_CACHE", str(cache))


class _Server(ThreadingHTTPServer):
    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        assert isinstance(self.server, _Server)
        return self.server.hub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        del format, args

    def _answer(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        if self.hub.failures:
            self.hub.failures -= 1
            self._send(503, b"overloaded")
            return
        url = urlsplit(self.path)
        if url.path == "/api/models":
            found = _found(self.hub, parse_qs(url.query))
            self._send(200, json.dumps(found).encode())
        elif match := _INFO.fullmatch(url.path):
            if self._is_there(match["id"], match["revision"]):
                self._send(200, json.dumps(self.hub.info(match["id"])).encode())
        elif (match := _FILE.fullmatch(url.path)) and self._is_there(
            match["id"], match["revision"]
        ):
            self._send_file(match["id"], match["file"])

    def _is_there(self, model: str, revision: str | None) -> bool:
        if model not in self.hub.models():
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif model in self.hub.gated:
            self._send(403, b"{}", {"X-Error-Code": "GatedRepo"})
        elif revision not in (None, "main", self.hub.commit(model)):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        else:
            return True
        return False

    def _send_file(self, model: str, name: str) -> None:
        path = self.hub.root / model / name
        told = {"X-Repo-Commit": self.hub.commit(model)}
        if not path.is_file():
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound", **told})
            return
        content = path.read_bytes()
        told["ETag"] = f'"{hashlib.sha256(content).hexdigest()}"'
        if name in self.hub.corrupt:
            content = content[:-8] + bytes(8)
        self._send(200, content, told)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def _found(hub: Hub, query: dict[str, list[str]]) -> list[dict[str, Any]]:
    """What a search finds, as the hub lists it: without files."""
    (author,) = query.get("author", [""])
    (search,) = query.get("search", [""])
    wanted = {tag for value in query.get("filter", []) for tag in value.split(",")}
    found = []
    for model in hub.models():
        told = hub.info(model)
        owner, _, name = model.partition("/")
        if author in ("", owner) and search in name and wanted <= set(told["tags"]):
            found.append({key: told[key] for key in ("id", "sha", "tags")})
    return found[: int(query.get("limit", ["1000"])[0])]
