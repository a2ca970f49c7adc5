"""A chat request, and what it becomes for the engine. Nothing that would change the answer is ignored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, WithJsonSchema, model_validator

from postil.api.bodies import Body, Metadata
from postil.api.refusals import refused
from postil.locales import say
from postil.records import Message
from postil.serve import Request

NEUTRAL: Mapping[str, tuple[Any, ...]] = {  # fields that change the answer, with the values that ask for nothing
    "tools": ([],), "tool_choice": ("none", "auto"), "functions": ([],), "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},), "modalities": (["text"],), "audio": (), "prediction": (),
    "reasoning_effort": ("none",), "verbosity": ("medium",), "web_search_options": (), "moderation": (),
}  # fmt: skip
SAYS_NOTHING = (  # members of a message that clients keep beside what was said; none changes what is read
    "annotations", "cache_control", "weight", "provider_specific_fields", "thinking_blocks", "reasoning_details", "id",
    "index", "object", "created", "created_at", "status", "x_postil",
)  # fmt: skip
EMPTY: tuple[Any, ...] = (None, False, "", [], {})
TEMPLATE_SWITCHES = ("enable_thinking",)
TOKENS = 1_048_576
_NOTHING: dict[str, Any] = {name: {} for name in SAYS_NOTHING}
_EMPTY_MEMBERS = {"enum": list(EMPTY)}  # what else there is may stand there as long as it is empty
_PART = {"type": "object", "required": ["type", "text"], "additionalProperties": _EMPTY_MEMBERS,
         "properties": {"type": {"const": "text"}, "text": {"type": "string"}, **_NOTHING}}  # fmt: skip
_TEXT_OR_PARTS = {"anyOf": [{"type": "string"}, {"type": "array", "items": _PART}, {"type": "null"}]}
_STOP = {"anyOf": [
    {"type": "string", "maxLength": 1000},
    {"type": "array", "maxItems": 4, "items": {"type": "string", "maxLength": 1000}}, {"type": "null"},
]}  # fmt: skip


class StreamOptions(Body):
    """Whether a stream ends with its usage."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


def _schema_of_message(schema: dict[str, Any]) -> None:
    schema["properties"] |= _NOTHING
    schema["additionalProperties"] = _EMPTY_MEMBERS


class ChatMessage(Body):
    """One message of the dialogue, as it was answered: clients send back what they were given, and more.

    What says nothing is left aside: members that are empty, and `SAYS_NOTHING`.
    """

    model_config = ConfigDict(json_schema_extra=_schema_of_message)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Annotated[Any, WithJsonSchema(_TEXT_OR_PARTS)] = None
    name: str | None = Field(None, max_length=256)
    tool_call_id: str | None = Field(None, max_length=256)
    tool_calls: list[dict[str, Any]] | None = Field(None, max_length=128)
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    audio: Any = None
    function_call: Any = None

    @model_validator(mode="before")
    @classmethod
    def _what_says_something(cls, told: Any) -> Any:
        if not isinstance(told, dict):
            return told
        own = cls.model_fields.keys()
        return {name: part for name, part in told.items()
                if name in own or (name not in SAYS_NOTHING and part not in EMPTY)}  # fmt: skip


class ChatRequest(Body):
    """What is asked."""

    model: str = Field(min_length=1, max_length=255)
    messages: list[ChatMessage] = Field(min_length=1, max_length=2048)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_completion_tokens: int | None = Field(None, ge=1, le=TOKENS)
    max_tokens: int | None = Field(None, ge=1, le=TOKENS)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    stop: Annotated[Any, WithJsonSchema(_STOP)] = None
    n: int | None = Field(None, ge=1, le=8)
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    logit_bias: dict[Annotated[str, Field(max_length=10)], Annotated[float, Field(ge=-100, le=100)]] | None = Field(
        None, max_length=1024
    )
    chat_template_kwargs: dict[str, Any] | None = None
    # what changes the answer and is not implemented
    tools: Any = None
    tool_choice: Any = None
    functions: Any = None
    function_call: Any = None
    response_format: Any = None
    modalities: Any = None
    audio: Any = None
    prediction: Any = None
    reasoning_effort: Any = None
    verbosity: Any = None
    web_search_options: Any = None
    moderation: Any = None
    # what does not change it
    user: str | None = Field(None, max_length=512)
    safety_identifier: str | None = Field(None, max_length=512)
    prompt_cache_key: str | None = Field(None, max_length=512)
    prompt_cache_retention: str | None = Field(None, max_length=40)
    prompt_cache_options: Any = None
    metadata: Metadata | None = None
    store: bool | None = None
    service_tier: str | None = Field(None, max_length=40)
    parallel_tool_calls: bool | None = None


def requests_of(body: ChatRequest, adapter: Path | None, project: str) -> list[Request]:
    """One request for each of the `n` answers. Raises Refused."""
    for name, neutral in NEUTRAL.items():
        value = getattr(body, name)
        if value is not None and value not in neutral:
            raise refused("unsupported_parameter", param=name)
    if body.top_logprobs and not body.logprobs:
        raise refused("invalid_value", param="top_logprobs", detail="logprobs: true")
    asked = Request(
        messages=tuple(_message(message, f"messages[{i}]") for i, message in enumerate(body.messages)),
        adapter=adapter, max_tokens=body.max_completion_tokens or body.max_tokens,
        temperature=0.0 if body.top_p == 0 else 1.0 if body.temperature is None else body.temperature,
        top_p=body.top_p or 1.0, stop=_stops(body.stop),
        presence_penalty=body.presence_penalty or 0.0, frequency_penalty=body.frequency_penalty or 0.0,
        logit_bias=_biases(body.logit_bias or {}), logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        thinking=_thinking(body.chat_template_kwargs or {}), project=project,
    )  # fmt: skip
    seeds = [None if body.seed is None else (body.seed + i) % 2**63 for i in range(body.n or 1)]
    return [replace(asked, seed=seed) for seed in seeds]


def _message(message: ChatMessage, param: str) -> Message:
    for name in ("audio", "function_call"):
        if getattr(message, name) not in EMPTY:
            raise refused("unsupported_parameter", param=f"{param}.{name}")
    if message.role == "function":
        raise refused("unsupported_parameter", param=f"{param}.role")
    content = message.content
    if content is None and message.role == "assistant":
        content = message.refusal  # what it said in place of an answer
    if content is None and not message.tool_calls and message.role != "assistant":
        raise refused("missing_parameter", param=f"{param}.content")
    if isinstance(content, list):
        content = "".join(_part(part, f"{param}.content[{i}]") for i, part in enumerate(content))
    if content is not None and not isinstance(content, str):
        raise refused("invalid_value", param=f"{param}.content", detail=say("refusal.string_type"))
    extra: dict[str, Any] = {}
    if message.tool_calls:
        extra["tool_calls"] = message.tool_calls
    if reasoning := message.reasoning_content or message.reasoning:
        extra["reasoning_content"] = reasoning
    if message.tool_call_id:
        extra["tool_call_id"] = message.tool_call_id
    role = "system" if message.role == "developer" else message.role
    return Message(role, content or "", extra=extra)


def _part(part: Any, param: str) -> str:
    """Pictures, sounds and files are refused, not fetched."""
    if not isinstance(part, dict):
        raise refused("invalid_value", param=param, detail=say("refusal.no_model_text"))
    told = {name: value for name, value in part.items() if name not in SAYS_NOTHING and value not in EMPTY}
    text = part.get("text")
    if part.get("type") != "text" or not isinstance(text, str) or not told.keys() <= {"type", "text"}:
        raise refused("invalid_value", param=param, detail=say("refusal.no_model_text"))
    return text


def _stops(stop: Any) -> tuple[str, ...]:
    stops = [stop] if isinstance(stop, str) else stop or []
    if not isinstance(stops, list) or len(stops) > 4:
        raise refused("invalid_value", param="stop", detail=say("refusal.too_long", max_length=4))
    for text in stops:
        if not isinstance(text, str) or len(text) > 1000:
            raise refused("invalid_value", param="stop", detail=say("refusal.string_too_long", max_length=1000))
    return tuple(filter(None, stops))  # an empty one stops nothing


def _biases(biases: Mapping[str, float]) -> dict[int, float]:
    for token in biases:
        if not (token.isascii() and token.isdecimal()):
            raise refused("invalid_value", param=f"logit_bias.{token}", detail=say("refusal.token_id"))
    return {int(token): bias for token, bias in biases.items()}


def _thinking(switches: Mapping[str, Any]) -> bool:
    """What may be said to the chat template; a template itself may not be brought."""
    for name in switches:
        if name not in TEMPLATE_SWITCHES:
            known = ", ".join(TEMPLATE_SWITCHES)
            raise refused("invalid_value", param=f"chat_template_kwargs.{name}"[:120],
                          detail=say("refusal.no_template", known=known))  # fmt: skip
    value = switches.get("enable_thinking", False)
    if not isinstance(value, bool):
        raise refused("invalid_value", param="chat_template_kwargs.enable_thinking", detail=say("refusal.bool_type"))
    return value
