"""A small Hugging Face Hub on 127.0.0.1: the endpoints that `huggingface_hub` calls, and its bad days."""

import base64
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

import yaml

LARGE = (".safetensors", ".onnx", ".bin", ".parquet", ".png", ".model", ".spm")
"""Suffixes of what the Hub keeps as LFS objects, by sha256; it keeps the rest in git."""
API = re.compile(
    r"/api/(?P<sort>models|datasets)/(?P<repo>[^/]+/[^/]+)(/(?P<what>revision|tree)/(?P<revision>[^/?]+))?$"
)
DATASET = re.compile(r"(?:[\w-]+/)?[\w.-]+", re.ASCII)
"""Dataset names that the Hub accepts in `model-index`."""
FILE = re.compile(r"/(?P<sort>datasets/)?(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)$")


WRITE = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/(?P<what>preupload|commit)/main$")
BATCH = re.compile(r"/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch$")


@dataclass
class Repository:
    """Contents by commit; `main` is the newest."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: bool = False
    private: bool = False

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
    """429, 500, reset, truncated, wrong-hash, stalled, more, silent; on answers to `trouble_at`."""
    trouble_at: str = "resolve"
    tokens: dict[str, str] = field(default_factory=dict)
    """Role of each token: `read` or `write`."""
    objects: dict[str, bytes] = field(default_factory=dict)
    """Large files that have arrived, by sha256; those of no commit are nobody's."""

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
        if path == "/api/whoami-v2":
            self._who()
        elif found := API.match(path):
            tree = found["what"] == "tree"
            self._api(found["sort"].rstrip("s"), found["repo"], found["revision"] or "main", tree)
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
        if repository is None or (repository.private and self._role() is None):
            # As the Hub answers whoever has no token; a known one is told the truth.
            self._fail(401 if self._role() is None else 404, "RepoNotFound")
            return None
        if repository.gated:
            self._fail(401, "GatedRepo")
            return None
        commit = repository.resolve(revision)
        if commit is None:
            self._fail(404, "RevisionNotFound")
            return None
        return commit, repository.commits[commit]

    def _role(self) -> str | None:
        return self.server_state.tokens.get(self.headers.get("Authorization", "").removeprefix("Bearer "))

    def _who(self) -> None:
        role = self._role()
        if role is None:
            self._fail(401, "")
        else:
            self._tell({"type": "user", "name": "toys", "auth": {"accessToken": {"role": role}}})

    def do_PUT(self) -> None:
        self._take()

    def do_POST(self) -> None:
        self._take()

    def _take(self) -> None:
        """Whatever is written: by whom, what, and whether it may be."""
        state, path = self.server_state, unquote(urlsplit(self.path).path)
        state.asked.append(f"{self.command} {path}")
        content = self._content()
        if state.trouble and state.trouble_at in path and self._misbehave(True):
            return
        if path.startswith("/lfs/"):
            assert path == f"/lfs/{sha256(content)}"
            state.objects[sha256(content)] = content
            self._tell({})
        elif path == "/api/validate-yaml":
            self._validate(json.loads(content)["content"])
        elif path == "/verify":
            self._tell({})
        elif self._role() != "write":
            self._fail(401 if self._role() is None else 403, "")
        elif path == "/api/repos/create":
            self._create(json.loads(content))
        elif BATCH.match(path):
            self._batch(json.loads(content)["objects"])
        elif found := WRITE.match(path):
            self._write(found["what"], found["repo"], content)
        else:
            self._fail(404, "EntryNotFound")

    def _validate(self, card: str) -> None:
        """As the Hub judges a card's metadata before it takes a commit."""
        metadata = yaml.safe_load(card.split("---\n")[1])
        wrong = [
            f'"model-index[0].results[{place}].dataset.type" with value "{told}" fails to match the required pattern'
            for place, result in enumerate(metadata["model-index"][0]["results"])
            if not DATASET.fullmatch(told := result["dataset"]["type"])
        ]
        answer = {"errors": [{"message": message} for message in wrong], "warnings": []}
        self._send(json.dumps(answer).encode(), 400 if wrong else 200)

    def _content(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _create(self, asked: dict[str, object]) -> None:
        name = f"{asked.get('organization') or 'toys'}/{asked['name']}"
        if ("model", name) in self.server_state.repositories:
            told = {"error": "You already created this model repo", "url": f"{self.server_state.endpoint}/{name}"}
            self._send(json.dumps(told).encode(), 409)
            return
        made = self.server_state.put("model", name, "0" * 40, {".gitattributes": b"*.safetensors filter=lfs"})
        made.private = asked.get("private") or asked.get("visibility") == "private"  # until version 2, and since
        self._tell({"url": f"{self.server_state.endpoint}/{name}"})

    def _batch(self, objects: list[dict[str, object]]) -> None:
        where = self.server_state.endpoint
        for one in objects:
            if one["oid"] not in self.server_state.objects:
                one["actions"] = {
                    "upload": {"href": f"{where}/lfs/{one['oid']}"},
                    "verify": {"href": f"{where}/verify"},
                }
        self._tell({"transfer": "basic", "objects": objects})

    def _write(self, what: str, name: str, content: bytes) -> None:
        if what == "preupload":
            modes = [
                (file["path"], "lfs" if file["path"].endswith(LARGE) else "regular")
                for file in json.loads(content)["files"]
            ]
            self._tell({"files": [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes]})
            return
        repository = self.server_state.repositories["model", name]
        files = dict(repository.commits[repository.resolve("main") or ""])
        for line in map(json.loads, content.splitlines()):
            match line["key"], line["value"]:
                case "file", value:
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile", value:
                    files[value["path"]] = self.server_state.objects[value["oid"]]
                case "deletedFile", value:
                    del files[value["path"]]
        commit = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        repository.put(commit, files)
        where = f"{self.server_state.endpoint}/{name}/commit/{commit}"
        self._tell({"success": True, "commitUrl": where, "commitOid": commit, "hookOutput": ""})

    def _tell(self, answer: object) -> None:
        self._send(json.dumps(answer).encode())

    def _api(self, sort: str, name: str, revision: str, tree: bool) -> None:
        found = self._repository(sort, name, revision)
        if found is None:
            return
        siblings = []
        for file, content in found[1].items():
            described: dict[str, object] = {"rfilename": file, "size": len(content), "blobId": git_name(content)}
            if file.endswith(LARGE):
                described["lfs"] = {"sha256": sha256(content), "size": len(content), "pointerSize": 134}
            siblings.append(described)
        if tree:
            paths = [{"type": "file", "path": one["rfilename"], "oid": one["blobId"], **one} for one in siblings]
            self._tell([{name: value for name, value in one.items() if name != "lfs"} for one in paths])
            return
        private = self.server_state.repositories[sort, name].private
        self._tell({"_id": "0", "id": name, "sha": found[0], "private": private, "siblings": siblings})

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
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if start and int(start[1]) >= len(content):
            self._fail(416, "")
            return
        if body and self.server_state.trouble == "more":
            content += b"more"
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"', "Content-Length": str(len(content))}
        self.send_response(200)
        for header, value in headers.items():
            self.send_header(header, value)
        self.end_headers()
        if body:
            self._body(content)

    def _body(self, content: bytes) -> None:
        match self.server_state.trouble:
            case "truncated":
                self.wfile.write(content[: len(content) // 2])
                self.close_connection = True
                self.connection.close()
            case "wrong-hash":
                self.wfile.write(content[:-1] + bytes([content[-1] ^ 1]))
            case "stalled":
                self.wfile.write(content[: len(content) // 2])
                time.sleep(60)
            case _:
                self.wfile.write(content)

    def _send(self, content: bytes, status: int = 200) -> None:
        self.send_response(status)
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
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
