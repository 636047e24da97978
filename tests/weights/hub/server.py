"""A Hub on loopback, as small as `huggingface_hub` allows, that can be told to misbehave."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class Hub:
    """Repositories as lists of commits, each a mapping from path to content.

    Attributes:
        fault: Called with the handler before each request; returns True when it has answered by itself.
        private: Repositories that need `Authorization: Bearer secret`.
        requests: Method and path of everything that was asked.
    """

    def __init__(self) -> None:
        self.commits: dict[str, list[tuple[str, dict[str, bytes]]]] = {}
        self.private: set[str] = set()
        self.requests: list[tuple[str, str]] = []
        self.fault: Callable[[Handler], bool] = lambda handler: False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.hub = self  # type: ignore[attr-defined]
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def commit(self, repo_id: str, files: dict[str, bytes]) -> str:
        history = self.commits.setdefault(repo_id, [])
        tree = {**(history[-1][1] if history else {}), **files}
        oid = hashlib.sha1(repr((len(history), sorted(tree.items()))).encode()).hexdigest()
        history.append((oid, tree))
        return oid

    def find(self, repo_id: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        history = self.commits.get(repo_id, [])
        if revision == "main" and history:
            return history[-1]
        return next((commit for commit in history if commit[0] == revision), None)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: ThreadingHTTPServer

    @property
    def hub(self) -> Hub:
        return self.server.hub  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def reply(self, status: int, body: bytes = b"", error: str = "", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", headers.pop("content_length", str(len(body))))
        if error:
            self.send_header("X-Error-Code", error)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, data: object) -> None:
        self.reply(200, json.dumps(data).encode(), Content_Type="application/json")

    def handle_request(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.requests.append((self.command, self.path))
        if not self.hub.fault(self):
            self.answer([unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")])

    do_GET = do_HEAD = do_POST = handle_request

    def answer(self, parts: list[str]) -> None:
        if parts == ["api", "repos", "create"]:
            wanted = json.loads(self.body)
            repo_id = "/".join(filter(None, [wanted.get("organization"), wanted["name"]]))
            if repo_id in self.hub.commits:
                self.reply(409, json.dumps({"url": f"{self.hub.endpoint}/{repo_id}", "error": "exists"}).encode())
                return
            self.hub.commit(repo_id, {})
            if wanted.get("private") or wanted.get("visibility") == "private":
                self.hub.private.add(repo_id)
            self.json({"url": f"{self.hub.endpoint}/{repo_id}", "id": repo_id})
        elif parts == ["api", "validate-yaml"]:
            self.json({"errors": [], "warnings": []})
        elif parts[:2] == ["api", "models"]:
            self.answer_model("/".join(parts[2:4]), parts[4:])
        elif parts[2:3] == ["resolve"]:
            self.answer_file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self.reply(404)

    def may_read(self, repo_id: str) -> bool:
        known = repo_id in self.hub.commits
        if known and (repo_id not in self.hub.private or self.headers.get("Authorization") == "Bearer secret"):
            return True
        self.reply(401 if known else 404, error="RepoNotFound")
        return False

    def answer_model(self, repo_id: str, rest: list[str]) -> None:
        if not self.may_read(repo_id):
            return
        action, revision = rest[:2] if rest else ("revision", "main")
        commit = self.hub.find(repo_id, revision)
        if commit is None:
            self.reply(404, error="RevisionNotFound")
            return
        oid, tree = commit
        if action == "revision":
            self.json({"id": repo_id, "modelId": repo_id, "sha": oid, "siblings": [{"rfilename": f} for f in tree]})
        elif action == "tree":
            listed = [{"type": "file", "path": f, "size": len(c), "oid": blob(c)} for f, c in tree.items()]
            self.json(listed)
        elif action == "preupload":
            files = [file["path"] for file in json.loads(self.body)["files"]]
            known = {f: {"oid": blob(tree[f])} if f in tree else {} for f in files}
            self.json(
                {"files": [{"path": f, "uploadMode": "regular", "shouldIgnore": False, **known[f]} for f in files]}
            )
        elif action == "commit":
            lines = [json.loads(line) for line in self.body.splitlines()]
            files = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            oid = self.hub.commit(repo_id, files)
            url = f"{self.hub.endpoint}/{repo_id}/commit/{oid}"
            self.json({"success": True, "commitOid": oid, "commitUrl": url})
        else:
            self.reply(404)

    def answer_file(self, repo_id: str, revision: str, file: str) -> None:
        if not self.may_read(repo_id):
            return
        commit = self.hub.find(repo_id, revision)
        if commit is None:
            self.reply(404, error="RevisionNotFound")
        elif file not in commit[1]:
            self.reply(404, error="EntryNotFound", X_Repo_Commit=commit[0])
        else:
            self.send_file(commit[0], commit[1][file], file)

    def send_file(self, oid: str, content: bytes, file: str) -> None:
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        headers = {"ETag": f'"{blob(content)}"', "X_Repo_Commit": oid, "Accept_Ranges": "bytes"}
        if file.endswith(".safetensors"):  # as the Hub does for what it keeps in LFS
            headers["X_Linked_Etag"] = f'"{hashlib.sha256(content).hexdigest()}"'
        if self.command == "HEAD":
            self.reply(200, content_length=str(len(content)), **headers)
        elif start:
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.reply(206, content[start:], Content_Range=span, **headers)
        else:
            self.reply(200, content, **headers)


def blob(content: bytes) -> str:
    """Git's identifier of a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
