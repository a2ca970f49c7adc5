"""Answers as OpenAI's clients read them: whole, or in chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel

from postil.serve import Reply, Token

Finished = Literal["stop", "length"]


class Likely(BaseModel):
    """A token, its natural log probability, and its bytes."""

    token: str
    logprob: float
    bytes: list[int]


class LikelyToken(Likely):
    """The same with those that might have stood there."""

    top_logprobs: list[Likely]


class Logprobs(BaseModel):
    """Of every token of a text."""

    content: list[LikelyToken]
    refusal: None = None


class Said(BaseModel):
    """What the model said."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Chance(BaseModel):
    """A label, and how likely it is."""

    label: str
    probability: float


class Chances(BaseModel):
    """The likeliest labels, the likeliest first."""

    labels: list[Chance]


class SaidOfLabels(Said):
    """What a model chose that knows labels."""

    x_postil: Chances


class Choice(BaseModel):
    """One answer."""

    index: int
    message: SaidOfLabels | Said
    logprobs: Logprobs | None
    finish_reason: Finished


class CachedTokens(BaseModel):
    """What had been read before."""

    cached_tokens: int


class Usage(BaseModel):
    """How many tokens it took."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens


class ChatCompletion(BaseModel):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    system_fingerprint: str


class Marked(BaseModel):
    """How many marks that are reserved for the model stood in the texts of the request; they were read as text."""

    marks_as_text: int


class MarkedCompletion(ChatCompletion):
    """The answer to a request with such marks."""

    x_postil: Marked


def completion(
    answer_id: str, created: int, model: str, replies: Sequence[Reply], with_logprobs: bool
) -> ChatCompletion:
    choices = [
        Choice(index=i, message=_said(reply), logprobs=logprobs(reply.tokens) if with_logprobs else None,
               finish_reason=finished(reply))
        for i, reply in enumerate(replies)
    ]  # fmt: skip
    told = {"id": answer_id, "created": created, "model": model, "choices": choices, "usage": usage(replies),
            "system_fingerprint": "fp_local"}  # fmt: skip
    marks = replies[0].marks
    return MarkedCompletion(**told, x_postil=Marked(marks_as_text=marks)) if marks else ChatCompletion(**told)


def _said(reply: Reply) -> Said:
    return SaidOfLabels(content=reply.text, x_postil=chances(reply)) if reply.chances else Said(content=reply.text)


def chances(reply: Reply) -> Chances:
    """Of the labels that were to choose from."""
    return Chances(labels=[Chance(label=label, probability=value) for label, value in reply.chances])


def finished(reply: Reply) -> Finished:
    return "stop" if reply.finish == "stop" else "length"


def usage(replies: Sequence[Reply]) -> Usage:
    """The prompt counts once, however many answers it had."""
    prompt, cached = replies[0].prompt_tokens, replies[0].cached_tokens
    new = sum(reply.completion_tokens for reply in replies)
    return Usage(prompt_tokens=prompt, completion_tokens=new, total_tokens=prompt + new,
                 prompt_tokens_details=CachedTokens(cached_tokens=cached))  # fmt: skip


def logprobs(tokens: Sequence[Token]) -> Logprobs:
    return Logprobs(content=[
        LikelyToken(**_likely(token.text, token.logprob, token.raw), top_logprobs=_top(token)) for token in tokens
    ])  # fmt: skip


def _top(token: Token) -> list[Likely]:
    raw = token.top_raw or ((),) * len(token.top)
    return [Likely(**_likely(text, chance, own)) for (text, chance), own in zip(token.top, raw, strict=True)]


def _likely(text: str, logprob: float, raw: Sequence[int]) -> dict[str, Any]:
    """JSON has no minus infinity: OpenAI writes -9999."""
    return {"token": text, "logprob": max(logprob, -9999.0), "bytes": list(raw or text.encode("utf-8", "replace"))}
