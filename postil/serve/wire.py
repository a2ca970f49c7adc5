"""What client and engine say to each other: JSON objects, each one message of a local socket. No pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from postil import errors
from postil.errors import PostilError
from postil.records import Message
from postil.serve.engine import Health, Limits, Piece, Reply, Request, Token

KINDS = {kind.__name__: kind for kind in PostilError.__subclasses__()}
assert errors.EngineError.__name__ in KINDS


def send(connection: Connection, told: Mapping[str, Any]) -> None:
    connection.send_bytes(json.dumps(told, ensure_ascii=False, default=str).encode())


def receive(connection: Connection) -> dict[str, Any]:
    """The next message. Raises EOFError or OSError when there will be none."""
    told = json.loads(connection.recv_bytes())
    return dict(told)


def request_json(request: Request) -> dict[str, Any]:
    told = {one.name: getattr(request, one.name) for one in fields(request)}
    told["messages"] = [message.as_json() for message in request.messages]
    told["adapter"] = str(request.adapter) if request.adapter else None
    told["logit_bias"] = [[token, bias] for token, bias in request.logit_bias.items()]
    return told


def request_of(told: Mapping[str, Any]) -> Request:
    return Request(**{
        **told,
        "messages": tuple(_message(one) for one in told["messages"]),
        "adapter": Path(told["adapter"]) if told["adapter"] else None,
        "logit_bias": {int(token): float(bias) for token, bias in told["logit_bias"]},
        **{name: tuple(told[name]) for name in ("stop", "tools", "prompt_ids")},
    })  # fmt: skip


def _message(told: Mapping[str, Any]) -> Message:
    extra = {key: value for key, value in told.items() if key not in ("role", "content", "weight")}
    return Message(told["role"], told["content"], told.get("weight", 1.0), extra)


def piece_of(told: Mapping[str, Any]) -> Piece:
    return Piece(told["text"], _tokens(told))


def reply_of(told: Mapping[str, Any]) -> Reply:
    chances = tuple((label, chance) for label, chance in told["chances"])
    return Reply(**{**told, "tokens": _tokens(told), "chances": chances})


def _tokens(told: Mapping[str, Any]) -> tuple[Token, ...]:
    return tuple(
        Token(
            one["text"],
            one["logprob"],
            tuple((text, logprob) for text, logprob in one["top"]),
            tuple(one["raw"]),
            tuple(map(tuple, one["top_raw"])),
        )
        for one in told["tokens"]
    )


def health_of(told: Mapping[str, Any]) -> Health:
    return Health(**{**told, "base": Path(told["base"]), "adapters": tuple(map(Path, told["adapters"]))})


def limits_of(told: Mapping[str, Any]) -> Limits:
    return Limits(**told)


def error_json(error: PostilError) -> dict[str, Any]:
    return {"kind": type(error).__name__, "code": error.code, "rows": error.rows, "values": error.values}


def error_of(told: Mapping[str, Any]) -> PostilError:
    return KINDS[told["kind"]](told["code"], rows=told["rows"], **told["values"])


def as_json(told: Piece | Reply | Health | Limits) -> dict[str, Any]:
    return asdict(told)
