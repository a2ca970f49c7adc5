"""A hub on this machine that speaks as much of Hugging Face's protocol as an upload needs, and remembers it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_of_the_test"


class Hub:
    """repos: name -> whether it is private; files: of what was committed."""

    def __init__(self) -> None:
        self.repos: dict[str, bool] = {}
        self.files: dict[str, bytes] = {}
        self.url = ""
        self.full = False

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        path, _, _ = path.partition("?")
        parts = path.strip("/").split("/")
        if path == "/api/repos/create":
            told = json.loads(body)
            name = "/".join(filter(None, (told.get("organization"), told["name"])))
            self.repos[name] = told.get("private") or told.get("visibility") == "private"
            return 200, {"url": f"{self.url}/{name}", "name": name}
        if path == "/api/validate-yaml":  # of the card
            return 200, {"errors": [], "warnings": []}
        name = "/".join(parts[2:4])
        if parts[:2] != ["api", "models"] or name not in self.repos:
            return 404, {"error": "Repository not found"}
        if len(parts) == 4 or parts[4] == "revision":
            return 200, {"id": name, "modelId": name, "private": self.repos[name], "siblings": [], "sha": "0" * 40}
        if parts[4] == "preupload":
            wanted = json.loads(body)["files"]
            return 200, {"files": [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                                   for one in wanted]}  # fmt: skip
        if parts[4] == "commit" and self.full:
            return 403, {"error": "no room left on your account"}
        if parts[4] == "commit":
            for line in map(json.loads, body.decode().splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            return 200, {"commitUrl": f"{self.url}/{name}/commit/{'1' * 40}", "commitOid": "1" * 40,
                         "hookOutput": "", "success": True}  # fmt: skip
        return 404, {"error": path}


@contextmanager
def hub() -> Iterator[Hub]:
    made = Hub()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            code, told = 401, {"error": "no token"}
            if self.headers.get("authorization") == f"Bearer {TOKEN}":
                code, told = made.answer(self.command, self.path, body)
            data = json.dumps(told).encode()
            self.send_response(code)
            if code == 404:
                self.send_header("x-error-code", "RepoNotFound")
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else data)

        do_GET = do_POST = do_HEAD = handle_any

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
