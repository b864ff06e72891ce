"""A small Hugging Face Hub on 127.0.0.1: the endpoints that `huggingface_hub` calls, and its bad days."""

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin", ".parquet", ".png", ".model", ".spm")
"""Suffixes of what the Hub keeps as LFS objects, by sha256; it keeps the rest in git."""
API = re.compile(r"/api/(?P<sort>models|datasets)/(?P<repo>[^/]+/[^/]+)(/revision/(?P<revision>[^/?]+))?$")
FILE = re.compile(r"/(?P<sort>datasets/)?(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)$")


@dataclass
class Repository:
    """Contents by commit; `main` is the newest."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: bool = False

    def put(self, commit: str, files: dict[str, bytes]) -> None:
        self.commits[commit] = files

    def resolve(self, revision: str) -> str | None:
        return list(self.commits)[-1] if revision == "main" else revision if revision in self.commits else None


@dataclass
class Server:
    """Repositories by sort and name, what was asked of them, and how the next answers go wrong."""

    endpoint: str = ""
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    trouble: str = ""
    """429, 500, reset, truncated, wrong-hash, endless, more, silent; on answers to `trouble_at`."""
    trouble_at: str = "resolve"

    def put(self, sort: str, name: str, commit: str, files: dict[str, bytes]) -> Repository:
        repository = self.repositories.setdefault((sort, name), Repository())
        repository.put(commit, files)
        return repository


def git_name(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        state, path = self.server_state, unquote(urlsplit(self.path).path)
        state.asked.append(f"{self.command} {path}")
        if state.trouble and state.trouble_at in path and self._misbehave(body):
            return
        if found := API.match(path):
            self._api(found["sort"].rstrip("s"), found["repo"], found["revision"] or "main")
        elif found := FILE.match(path):
            sort = "dataset" if found["sort"] else "model"
            self._file(sort, found["repo"], found["revision"], found["name"], body)
        else:
            self._fail(404, "EntryNotFound")

    def _misbehave(self, body: bool) -> bool:
        """Answer wrongly; False where this trouble lets this answer be."""
        match self.server_state.trouble:
            case "429" | "500" as status:
                self._fail(int(status), "")
            case "reset":
                self.close_connection = True
                self.connection.close()
            case "silent":
                time.sleep(60)
            case _:
                return False
        return True

    def _repository(self, sort: str, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        repository = self.server_state.repositories.get((sort, name))
        if repository is None:
            self._fail(401, "RepoNotFound")  # as the Hub answers whoever has no token
            return None
        if repository.gated:
            self._fail(401, "GatedRepo")
            return None
        commit = repository.resolve(revision)
        if commit is None:
            self._fail(404, "RevisionNotFound")
            return None
        return commit, repository.commits[commit]

    def _api(self, sort: str, name: str, revision: str) -> None:
        found = self._repository(sort, name, revision)
        if found is None:
            return
        siblings = []
        for file, content in found[1].items():
            described: dict[str, object] = {"rfilename": file, "size": len(content), "blobId": git_name(content)}
            if file.endswith(LARGE):
                described["lfs"] = {"sha256": sha256(content), "size": len(content), "pointerSize": 134}
            siblings.append(described)
        self._send(json.dumps({"_id": "0", "id": name, "sha": found[0], "siblings": siblings}).encode())

    def _file(self, sort: str, name: str, revision: str, file: str, body: bool) -> None:
        found = self._repository(sort, name, revision)
        if found is None:
            return
        commit, files = found
        if file not in files:
            self._fail(404, "EntryNotFound")
            return
        content = files[file]
        etag = sha256(content) if file.endswith(LARGE) else git_name(content)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"', "Content-Length": str(len(content))}
        if body and self.server_state.trouble == "more":
            headers["X-Linked-Size"] = headers.pop("Content-Length")
        self.send_response(200)
        for header, value in headers.items():
            self.send_header(header, value)
        self.end_headers()
        if body:
            self._body(content)

    def _more(self, content: bytes) -> None:
        """As much as anybody takes, of a length that is not said."""
        self.close_connection = True
        while True:
            self.wfile.write(content.ljust(1 << 17))
            time.sleep(0.3)

    def _body(self, content: bytes) -> None:
        match self.server_state.trouble:
            case "truncated":
                self.wfile.write(content[: len(content) // 2])
                self.close_connection = True
                self.connection.close()
            case "wrong-hash":
                self.wfile.write(content[:-1] + bytes([content[-1] ^ 1]))
            case "endless":  # a byte now and then
                for byte in content:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(0.5)
            case "more":
                self._more(content)
            case _:
                self.wfile.write(content)

    def _send(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _fail(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", "Invalid username or password." if code == "RepoNotFound" else code)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def hub() -> Iterator[Server]:
    """A server for the time of the block."""
    state = Server()
    handler = type("Handler", (_Handler,), {"server_state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        state.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
