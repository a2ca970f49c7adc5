"""A server that speaks as vLLM's documentation says, with the engine's twin as its model: what `serve/vllm.py` meets.

As a program (`python -m tests.serve.vllm_server serve BASE --host ... --port ...`) it stands for the command `vllm`.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from postil.errors import EngineError
from postil.records import Message
from postil.serve import InMemory, Piece, Request, Token


class VllmServer(ThreadingHTTPServer):
    """`asked`: the bodies of all requests, by path. `updating`: VLLM_ALLOW_RUNTIME_LORA_UPDATING."""

    daemon_threads = True

    def __init__(self, twin: InMemory, base: str, *, name: str = "", key: str = "", port: int = 0,
                 updating: bool = True, context: int = 2048) -> None:  # fmt: skip
        super().__init__(("127.0.0.1", port), Door)
        self.twin, self.base, self.name, self.key = twin, base, name or base, key
        self.updating, self.context = updating, context
        self.loras: dict[str, str] = {}
        self.asked: dict[str, list[dict[str, Any]]] = {}
        self.left = threading.Event()  # somebody hung up before the end

    def handle_error(self, *told: Any) -> None:
        """Clients hang up as they like."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Door(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: VllmServer

    def log_message(self, *told: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/health":
            self._say(200, "", "text/plain")
        elif self.path == "/v1/models" and self._let_in():
            cards = [{"id": self.server.name, "object": "model", "owned_by": "vllm", "root": self.server.base,
                      "parent": None, "max_model_len": self.server.context}]  # fmt: skip
            cards += [{"id": name, "object": "model", "owned_by": "vllm", "root": path, "parent": self.server.name}
                      for name, path in self.server.loras.items()]  # fmt: skip
            self._say(200, json.dumps({"object": "list", "data": cards}))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.setdefault(self.path, []).append(body)
        if self.path.startswith("/v1/") and not self._let_in():
            return
        does = {"/v1/load_lora_adapter": self._load, "/v1/unload_lora_adapter": self._unload,
                "/tokenize": self._tokenize, "/v1/chat/completions": self._complete,
                "/v1/completions": self._complete}  # fmt: skip
        if "lora_adapter" in self.path and not self.server.updating:
            self._say(404, '{"detail":"Not Found"}')
        else:
            does[self.path](body)

    def _let_in(self) -> bool:
        allowed = not self.server.key or self.headers.get("authorization") == f"Bearer {self.server.key}"
        if not allowed:
            self._say(401, '{"error":"Unauthorized"}')
        return allowed

    # ── adapters ──

    def _load(self, body: dict[str, Any]) -> None:
        name, path = body.get("lora_name"), body.get("lora_path")
        if not name or not path:
            self._refuse(400, "Both 'lora_name' and 'lora_path' must be provided.", "InvalidUserInput")
        elif name in self.server.loras:
            self._refuse(400, f"The lora adapter '{name}' has already been loaded.", "InvalidUserInput")
        elif not Path(path, "adapter_config.json").exists():
            self._refuse(404, f"No adapter found for {path}", "NotFoundError")
        else:
            self.server.loras[name] = path
            self._say(200, f"Success: LoRA adapter '{name}' added successfully.", "text/plain")

    def _unload(self, body: dict[str, Any]) -> None:
        if self.server.loras.pop(body["lora_name"], None) is None:
            self._refuse(404, f"The lora adapter '{body['lora_name']}' cannot be found.", "NotFoundError")
        else:
            self._say(200, f"Success: LoRA adapter '{body['lora_name']}' removed successfully.", "text/plain")

    # ── answers ──

    def _tokenize(self, body: dict[str, Any]) -> None:
        count = self._count(body)
        told = {"count": count, "max_model_len": self.server.context, "tokens": [0] * count, "token_strs": None}
        self._say(200, json.dumps(told))

    def _complete(self, body: dict[str, Any]) -> None:
        model = body["model"]
        if model != self.server.name and model not in self.server.loras:
            self._refuse(404, f"The model `{model}` does not exist.", "NotFoundError")
            return
        count, most = self._count(body), body.get("max_tokens") or (0 if "messages" in body else 16)
        if count + max(most, 1) > self.server.context:
            said = f"This model's maximum context length is {self.server.context} tokens. Please reduce the length."
            self._refuse(400, said, "BadRequestError")
            return
        self._stream(body, count)

    def _stream(self, body: dict[str, Any], count: int) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        chat = "messages" in body
        if chat:
            self._event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
        said: queue.SimpleQueue[Piece | None] = queue.SimpleQueue()
        running = self.server.twin.start(_request(body, self.server.loras), said.put, lambda _: said.put(None))
        try:
            while (piece := said.get()) is not None:
                part = {"delta": {"content": piece.text}} if chat else {"text": piece.text}
                likely = _logprobs(piece.tokens, chat=chat) if body.get("logprobs") is not None else None
                self._event({"choices": [{"index": 0, **part, "logprobs": likely, "finish_reason": None}]})
            reply = running.result()
        except EngineError as error:
            if error.code == "engine_lost":  # as a process does that is killed
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self._event({"error": {"message": str(error), "type": "InternalServerError", "code": 500}})
        except (BrokenPipeError, ConnectionResetError):
            running.cancel()
            self.server.left.set()
            return
        else:
            last = {"delta": {}} if chat else {"text": ""}
            self._event({"choices": [{"index": 0, **last, "finish_reason": reply.finish}]})
            new = reply.completion_tokens
            usage = {"prompt_tokens": count, "completion_tokens": new, "total_tokens": count + new,
                     "prompt_tokens_details": {"cached_tokens": 1}}  # fmt: skip
            self._event({"choices": [], "usage": usage})
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _count(self, body: dict[str, Any]) -> int:
        return self.server.twin.prompt_tokens(_request(body, self.server.loras))

    def _event(self, told: dict[str, Any]) -> None:
        self._chunk(f"data: {json.dumps(told, ensure_ascii=False)}\n\n".encode())

    def _chunk(self, raw: bytes) -> None:
        self.wfile.write(f"{len(raw):x}\r\n".encode() + raw + b"\r\n")

    def _refuse(self, status: int, said: str, kind: str) -> None:
        self._say(status, json.dumps({"error": {"message": said, "type": kind, "param": None, "code": status}}))

    def _say(self, status: int, said: str, kind: str = "application/json") -> None:
        raw = said.encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


def _request(body: dict[str, Any], loras: dict[str, str]) -> Request:
    adapter, prompt = loras.get(body["model"]), body.get("prompt", "")
    words = prompt if isinstance(prompt, str) else ""
    return Request(
        messages=tuple(Message(one["role"], one["content"]) for one in body.get("messages", ()))
        or ((Message("user", words),) if words else ()),
        adapter=Path(adapter) if adapter else None, max_tokens=body.get("max_tokens"), stop=tuple(body.get("stop", ())),
        prompt_ids=tuple(prompt) if isinstance(prompt, list) else (),
        logprobs=None if body.get("logprobs") is None else int(body.get("top_logprobs", body["logprobs"])),
    )  # fmt: skip


def _logprobs(tokens: tuple[Token, ...], *, chat: bool) -> dict[str, Any]:
    if chat:
        return {"content": [
            {"token": one.text, "logprob": one.logprob, "bytes": list(one.text.encode()),
             "top_logprobs": [{"token": text, "logprob": value, "bytes": []} for text, value in one.top]}
            for one in tokens
        ]}  # fmt: skip
    return {"tokens": [one.text for one in tokens], "token_logprobs": [one.logprob for one in tokens],
            "top_logprobs": [dict(one.top) for one in tokens], "text_offset": []}  # fmt: skip


@contextmanager
def served(twin: InMemory, base: str, **how: Any) -> Iterator[VllmServer]:
    """A server in this process, for as long as it is wanted."""
    server = VllmServer(twin, base, **how)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def main(words: list[str]) -> int:
    """What `vllm` is called with. "--ends-early" says something and ends, as one does that finds no card."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("base")
    for name in ("host", "served-model-name", "generation-config"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("port", "max-loras", "max-cpu-loras", "max-lora-rank"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("enable-lora", "ends-early"):
        parser.add_argument(f"--{name}", action="store_true")
    given = parser.parse_args(words)
    print(f"rank {given.max_lora_rank}", flush=True)
    if given.ends_early:
        print("No CUDA GPUs are available", flush=True)
        return 1
    updating = os.environ.get("VLLM_ALLOW_RUNTIME_LORA_UPDATING") == "True" and given.enable_lora
    VllmServer(InMemory(), given.base, name=given.served_model_name, key=os.environ["VLLM_API_KEY"], port=given.port,
               updating=updating).serve_forever(0.02)  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
