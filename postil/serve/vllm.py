"""The engine whose answers a vLLM server gives: adapters are registered there, and requests handed on.

What is said to it stands in vLLM's documentation of its OpenAI-compatible server and of LoRA adapters at run time.
"""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postil.errors import AdapterError, EngineError, PostilError
from postil.serve.engine import Ended, Finish, Health, Heard, Limits, Piece, Reply, Request, Token
from postil.serve.kind import CONFIG, WEIGHTS, Stamp, beyond, kind_of, stamp
from postil.serve.launched import Server
from postil.store import read_json

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS, QUIET_SECONDS = 10.0, 600.0  # to be reached; between two words of an answer


class Vllm:
    """An engine behind a vLLM server. See `Engine` for its methods.

    open_server: finds or starts it, when it is first asked and again when it was lost.
    """

    def __init__(self, base: Path, open_server: Callable[[Vllm], Server], limits: Limits | None = None) -> None:
        import httpx

        limits = limits or Limits()
        self._base, self._open_server, self._most = base, open_server, limits.rows + limits.waiting
        # what the environment says of proxies and passwords is not followed, nor are redirects
        self._http = httpx.Client(
            timeout=httpx.Timeout(QUIET_SECONDS, connect=CONNECT_SECONDS), follow_redirects=False, trust_env=False,
            limits=httpx.Limits(max_connections=self._most + 8),
        )  # fmt: skip
        self._server: Server | None = None
        self._model, self._context, self._starts = "", 0, 0
        self._resident: dict[Path, tuple[str, Stamp]] = {}
        self._running: set[_Answering] = set()
        self._closed = False
        self._lock, self._starting = threading.Lock(), threading.RLock()

    def ensure(self, adapter: Path) -> None:
        self._model_of(self._reached(), adapter.absolute())

    def start(
        self, request: Request, heard: Heard = lambda piece: None, ended: Ended = lambda running: None
    ) -> _Answering:
        _check(request)
        server = self._reached()
        model = self._model
        if request.adapter is not None and request.scale:
            model = self._model_of(server, request.adapter.absolute())
        answering = _Answering(heard, ended)
        with self._lock:
            if self._closed:
                raise EngineError("engine_closed")
            if len(self._running) >= self._most:
                raise EngineError("engine_full", waiting=len(self._running))
            self._running.add(answering)
        threading.Thread(target=self._answer, args=(server, model, request, answering), daemon=True).start()
        return answering

    def generate(self, request: Request, heard: Heard = lambda piece: None) -> Reply:
        return self.start(request, heard).result()

    def evict(self, adapter: Path) -> None:
        with self._lock:
            held, server = self._resident.pop(adapter.absolute(), None), self._server
        if held is not None and server is not None and server.alive:
            try:
                self._post(server, "/v1/unload_lora_adapter", {"lora_name": held[0]})
            except EngineError as error:
                if error.values.get("status") != 404:  # it does not have it any more: all is well
                    raise

    def prompt_tokens(self, request: Request) -> int:
        request, _ = self._without_marks(request)
        return len(request.prompt_ids) or self._counted(self._reached(), request)

    def health(self) -> Health:
        with self._lock:
            server, running, adapters = self._server, len(self._running), tuple(self._resident)
        return Health(
            self._base, not self._closed and server is not None and server.alive and self.answers(server), running,
            adapters=adapters, context=self._context, restarts=max(0, self._starts - 1),
        )  # fmt: skip

    def failed(self) -> bool:
        with self._lock:
            server = self._server
        return not self._closed and server is not None and not server.alive

    def rest(self, seconds: float) -> bool:
        return False  # a start takes minutes, and the card is there for it

    def close(self) -> None:
        with self._lock:
            self._closed, running = True, list(self._running)
        for answering in running:
            answering.break_off(EngineError("engine_closed"))
        with self._starting:
            if self._server is not None:
                self._server.close()
        self._http.close()

    def answers(self, server: Server) -> bool:
        """Whether the server says that it is well."""
        import httpx

        try:
            return self._http.get(f"{server.url}/health", timeout=CONNECT_SECONDS).status_code == 200
        except httpx.HTTPError:
            return False

    # ── the server ──

    def _reached(self) -> Server:
        """The server, found or started if it was not yet."""
        with self._starting:
            if self._closed:
                raise EngineError("engine_closed")
            if self._server is None or not self._server.alive:
                if self._server is not None:
                    self._server.close()
                self._resident.clear()
                server = self._open_server(self)
                self._model, self._context = self._found(server)
                self._server = server
                self._starts += 1
            return self._server

    def _found(self, server: Server) -> tuple[str, int]:
        """What the server calls the base, and how many tokens it reads. Raises EngineError `vllm_base`."""
        cards = self._get(server, "/v1/models").get("data", [])
        names = (server.name,) if server.name else (str(self._base.absolute()), self._base.name)
        for card in cards:
            if card.get("id") in names or card.get("root") in names:
                return str(card["id"]), int(card.get("max_model_len") or 0)
        models = ", ".join(str(card.get("id")) for card in cards) or "-"
        raise EngineError("vllm_base", url=server.url, models=models, base=self._base.name)

    def _model_of(self, server: Server, adapter: Path) -> str:
        """The name under which the server has this adapter, registered if it is not yet, or was written anew since."""
        written = stamp(adapter / WEIGHTS)
        if written is None or not (adapter / CONFIG).exists():
            raise AdapterError("not_an_adapter", path=str(adapter))
        held = self._resident.get(adapter)
        if held is not None and held[1] == written:
            return held[0]
        if not kind_of(adapter).together:
            reason = ", ".join(beyond(read_json(adapter / CONFIG))) or "task, method"
            raise AdapterError("vllm_adapter", path=str(adapter), reason=reason)
        if held is not None:
            self.evict(adapter)
        name = "postil-" + hashlib.sha256(f"{adapter} {written}".encode()).hexdigest()[:24]
        known = {card.get("id") for card in self._get(server, "/v1/models").get("data", [])}
        if name not in known:  # it may have it from before we were started again
            self._post(server, "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(adapter)})
        with self._lock:
            self._resident[adapter] = name, written
        return name

    def _counted(self, server: Server, request: Request) -> int:
        body = {"model": self._model, **_asked(request)}
        thinking = {"chat_template_kwargs": {"enable_thinking": request.thinking}} if "messages" in body else {}
        return int(self._post(server, "/tokenize", {**body, **thinking})["count"])

    def _get(self, server: Server, path: str) -> dict[str, Any]:
        return self._told(server, "GET", path, None)

    def _post(self, server: Server, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._told(server, "POST", path, body)

    def _told(self, server: Server, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        import httpx

        try:
            answer = self._http.request(method, server.url + path, json=body, headers=_headers(server))
        except httpx.HTTPError as error:
            raise EngineError("engine_lost", reason=server.last_words()) from error
        if answer.status_code != 200:
            raise refusal(answer.status_code, answer.content)
        try:
            told = json.loads(answer.content)  # of adapters it says in a plain sentence that all is well
        except ValueError:
            return {}
        return told if isinstance(told, dict) else {}

    # ── answers ──

    def _answer(self, server: Server, model: str, request: Request, answering: _Answering) -> None:
        import httpx

        try:
            asked, marks = self._without_marks(request)
            outcome = self._reply(server, model, asked, answering)
            if isinstance(outcome, Reply):
                outcome = replace(outcome, marks=marks)
        except PostilError as error:
            outcome = error
        except (httpx.HTTPError, httpx.StreamError):
            outcome = answering.lost(server.last_words())
        with self._lock:
            self._running.discard(answering)
        answering.end(outcome)

    def _without_marks(self, request: Request) -> tuple[Request, int]:
        """The request as tokens where marks of the model stand in its texts, and how many: vLLM would read them as
        what they are."""
        if (
            request.prompt_ids or not (self._base / "config.json").is_file()
        ):  # where there is no base there is no tokenizer to ask
            return request, 0
        from postil.model.load import load_template
        from postil.model.plaintext import beginning, check_plain

        template = copy(load_template(self._base))
        template.thinking = request.thinking
        plain = request.adapter is not None and kind_of(request.adapter).plain
        if plain:
            check_plain(request.messages)
        else:
            template.check_said(request.messages, request.tools)
        marks = template.count_marks(request.messages, request.tools)
        if not marks:
            return request, 0
        ids = beginning(request.messages, template) if plain else template.prompt(request.messages, request.tools)
        return replace(request, prompt_ids=tuple(ids)), marks

    def _reply(self, server: Server, model: str, request: Request, answering: _Answering) -> Reply | PostilError:
        outcome = self._heard_all(server, model, request, answering)
        if outcome is not None:
            return outcome
        tokens = self.prompt_tokens(request)
        if tokens >= self._context:
            raise EngineError("context_too_long", tokens=tokens, context=self._context)
        less = replace(request, max_tokens=self._context - tokens)
        outcome = self._heard_all(server, model, less, answering, again=False)
        assert outcome is not None
        return outcome

    def _heard_all(
        self, server: Server, model: str, request: Request, answering: _Answering, *, again: bool = True
    ) -> Reply | PostilError | None:
        """Ask, and listen to the end. None, with `again`, when more was wanted than the context holds."""
        if "prompt" in _asked(request) and request.max_tokens is None:
            return None  # of a completion it would write 16 tokens where nothing is said
        body = _body(model, request)
        path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
        with self._http.stream("POST", server.url + path, json=body, headers=_headers(server)) as answer:
            if answer.status_code == 200:
                return answering.hear(answer, request)
            said = answer.read()
        if answer.status_code == 400 and self._context:
            tokens = self.prompt_tokens(request)
            if tokens >= self._context:
                raise EngineError("context_too_long", tokens=tokens, context=self._context)
            if again and tokens + (request.max_tokens or 0) > self._context:
                return None
        raise refusal(answer.status_code, said)


class _Answering:
    """An answer under way."""

    def __init__(self, heard: Heard, ended: Ended) -> None:
        self._heard = heard
        self._cancelled = threading.Event()
        self._future: Future[Reply] = Future()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._text = ""
        self._tokens: list[Token] = []
        self._usage: dict[str, Any] = {}
        self._finish: Finish | None = None
        self._future.add_done_callback(lambda _: ended(self))

    def result(self, timeout: float | None = None) -> Reply:
        return self._future.result(timeout)

    def cancel(self) -> None:
        """vLLM gives an answer up when nobody is there to hear it."""
        if not self._future.done():
            self._cancelled.set()
            self._hang_up()

    def break_off(self, error: PostilError) -> None:
        self.end(error)
        self._hang_up()

    def end(self, outcome: Reply | PostilError) -> None:
        with self._lock:
            if self._future.done():
                return
            if isinstance(outcome, Reply):
                self._future.set_result(outcome)
            else:
                self._future.set_exception(outcome)

    def lost(self, reason: str) -> Reply | PostilError:
        """The connection ended: because it was to, or not."""
        return self._reply("cancelled") if self._cancelled.is_set() else EngineError("engine_lost", reason=reason)

    def hear(self, answer: httpx.Response, request: Request) -> Reply | PostilError:
        """All that is said, to its end."""
        self._socket = answer.extensions["network_stream"].get_extra_info("socket")
        for line in answer.iter_lines():
            if self._cancelled.is_set():
                break
            if line.startswith("data:"):
                said = line.removeprefix("data:").strip()
                if said == "[DONE]":
                    break
                self._take(json.loads(said), request)
        if self._cancelled.is_set() or self._finish is None:
            return self.lost("an answer without an end")
        return self._reply(self._finish)

    def _take(self, told: Mapping[str, Any], request: Request) -> None:
        if "error" in told:
            raise refusal(int(told["error"].get("code") or 500), json.dumps(told).encode())
        self._usage = told.get("usage") or self._usage
        for choice in told.get("choices", ()):
            text = choice["delta"].get("content") if "delta" in choice else choice.get("text")
            tokens = () if request.logprobs is None else _tokens(choice.get("logprobs") or {})
            if text or tokens:
                self._text += text or ""
                self._tokens += tokens
                self._heard(Piece(text or "", tokens))
            if choice.get("finish_reason"):
                self._finish = "length" if choice["finish_reason"] == "length" else "stop"

    def _reply(self, finish: Finish) -> Reply:
        usage, details = self._usage, self._usage.get("prompt_tokens_details") or {}
        return Reply(self._text, finish, int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0)),
                     int(details.get("cached_tokens") or 0), tuple(self._tokens))  # fmt: skip

    def _hang_up(self) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # a close alone would not wake who reads


def refusal(status: int, said: bytes) -> PostilError:
    """What vLLM says when it refuses. Its error object stands by itself, or under "error"."""
    try:
        told = json.loads(said)
    except ValueError:
        told = said.decode("utf-8", "replace")
    if isinstance(told, dict):
        told = told.get("error", told)
    reason = str(told.get("message", told)) if isinstance(told, dict) else str(told)
    return EngineError("vllm_refuses", status=status, reason=reason.strip()[:300] or "-")


def _check(request: Request) -> None:
    if request.tools:
        raise EngineError("vllm_cannot", what="tools")
    if request.scale not in (0.0, 1.0):
        raise EngineError("vllm_cannot", what=f"scale {request.scale}")


def _asked(request: Request) -> dict[str, Any]:
    """The prompt: a dialogue, tokens, or the words alone."""
    if request.prompt_ids:
        return {"prompt": list(request.prompt_ids)}
    if request.adapter is not None and kind_of(request.adapter).plain:
        return {"prompt": "\n".join(message.content for message in request.messages)}
    return {"messages": [{"role": one.role, "content": one.content, **one.extra} for one in request.messages]}


def _body(model: str, request: Request) -> dict[str, Any]:
    """The body of a request. What a base's own generation config would add is switched off, as in our own engine."""
    asked = _asked(request)
    chat = "messages" in asked
    body: dict[str, Any] = {
        "model": model, **asked, "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},  # also when it is broken off
        "temperature": request.temperature, "top_p": request.top_p, "top_k": -1, "min_p": 0.0,
        "repetition_penalty": 1.0, "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
    }  # fmt: skip
    if chat:
        body["chat_template_kwargs"] = {"enable_thinking": request.thinking}
    if request.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": request.logprobs} if chat else {"logprobs": request.logprobs}
    wanted = {"max_tokens": request.max_tokens, "seed": request.seed, "stop": list(request.stop),
              "logit_bias": {str(token): bias for token, bias in request.logit_bias.items()}}  # fmt: skip
    return body | {name: value for name, value in wanted.items() if value not in (None, [], {})}


def _tokens(told: Mapping[str, Any]) -> tuple[Token, ...]:
    """The log probabilities of a piece: a chat's, or a completion's."""
    if "content" in told:
        return tuple(
            Token(
                one["token"],
                one["logprob"],
                tuple((top["token"], top["logprob"]) for top in one["top_logprobs"]),
                tuple(one.get("bytes") or ()),
                tuple(tuple(top.get("bytes") or ()) for top in one["top_logprobs"]),
            )
            for one in told["content"] or ()
        )
    tops = told.get("top_logprobs") or [{}] * len(told.get("tokens", ()))
    return tuple(
        Token(text, logprob, tuple((top or {}).items()))
        for text, logprob, top in zip(told.get("tokens", ()), told.get("token_logprobs", ()), tops, strict=True)
    )


def _headers(server: Server) -> dict[str, str]:
    return {"authorization": f"Bearer {server.key.reveal()}"} if server.key else {}
