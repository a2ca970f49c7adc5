"""A dialogue becomes tokens, by the tokenizer's own chat template, and each token knows whether it is learned.

The rule that everything here follows: **what is learned is what serving will see.** For each answer the prompt is
exactly what the template writes when it asks for that answer (`add_generation_prompt=True`), and what is learned is
the answer and the token that ends the turn. Several answers share one sequence as long as the serving prompt of the
next one begins with the tokens so far; where a template rewrites earlier turns (Qwen3 drops earlier reasoning), the
answer gets a sequence of its own. So every answer is learned once, in the context in which it will be given.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from jinja2.exceptions import TemplateError

from postil.errors import ModelError
from postil.model.marks import Marks, Words, count_hidden, show_hidden, words_of
from postil.records import Example, Message, Role

# For a tokenizer that has no chat template of its own. Line breaks, not spaces, stand before an answer, because
# tokenizers differ in what they do with a leading space.
PLAIN_TEMPLATE = (
    "{{ bos }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}"
    "{% elif message['role'] == 'assistant' %}{{ 'Assistant:\n' + message['content'] + eos_token + '\n' }}"
    "{% else %}{{ 'User:\n' + message['content'] + '\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:\n' }}{% endif %}"
)

_OPEN_THINKING = re.compile(r"<think>\s*$")
_PROBE_ANSWER = "POSTILANSWER"
_SPEAKERS: tuple[Role, ...] = ("user", "assistant")
_PROBE_ROLES: tuple[Role, ...] = ("system", "user", "assistant", "user")
_DAY = datetime(2024, 7, 26)  # templates that print today's date would teach each day another prompt


class Tokenizer(Protocol):
    """What we need of a transformers tokenizer."""

    chat_template: str | None
    eos_token: str | None
    eos_token_id: int | None
    bos_token_id: int | None
    pad_token_id: int | None
    backend_tokenizer: Any  # the library's own, of which it can be written down
    all_special_tokens: list[str]
    added_tokens_decoder: Mapping[int, Any]

    def encode(self, text: str, add_special_tokens: bool = ...) -> list[int]: ...
    def decode(self, ids: Sequence[int], **how: Any) -> str: ...
    def apply_chat_template(self, conversation: Sequence[Mapping[str, Any]], **how: Any) -> Any: ...
    def convert_tokens_to_ids(self, tokens: Any) -> Any: ...
    def save_pretrained(self, directory: str) -> Any: ...


@dataclass(frozen=True, slots=True)
class Span:
    """An answer inside a sequence: tokens [start, end), of which the last ends the turn; `text` is the user's own."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the model reads at once. `weights[i]` is how much the prediction of token i counts (0: not learned).

    `source`: how many of the first tokens an encoder reads, where the model has one; the others are its decoder's.
    """

    ids: tuple[int, ...]
    weights: tuple[float, ...]
    spans: tuple[Span, ...]
    rows: tuple[int, ...] = ()
    source: int = 0

    @property
    def length(self) -> int:
        """How many tokens one side of the model must take at most."""
        return max(self.source, len(self.ids) - self.source)

    @property
    def learned(self) -> float:
        return sum(self.weights)


class Template:
    """The chat template of one tokenizer: prompts for serving, sequences for training, tokens at which to stop."""

    def __init__(
        self, tokenizer: Any, *, thinking: bool = False, stop_ids: Sequence[int] = (), identity: str = ""
    ) -> None:
        """`identity`: a hash of the files that it comes from; empty: unknown, and nothing of it may be kept."""
        self.tokenizer: Tokenizer = tokenizer
        self.thinking = thinking
        self.identity = identity
        self.own = tokenizer.chat_template is None
        if self.own:
            tokenizer.chat_template = _plain_template(tokenizer)
        self._marks = Marks(self.tokenizer, self._words)
        self.folds_system = self._refuses_system()
        self.end_text = self._end_text()
        end_id = self._end_id()
        known = [i for i in (end_id, tokenizer.eos_token_id, *stop_ids) if i is not None]
        self.end_id = end_id
        self.stop_ids: tuple[int, ...] = tuple(dict.fromkeys(known))

    @property
    def text(self) -> str:
        """The Jinja text of the template."""
        text = self.tokenizer.chat_template
        if isinstance(text, dict):  # several, each with a name
            text = text.get("default") or next(iter(text.values()))
        return text or ""

    # ── serving ──

    def prompt_text(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> str:
        """The text that asks for the next answer."""
        return show_hidden(self._asks(self.hidden(messages), self._hidden_tools(tools)))

    def prompt(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> list[int]:
        """The tokens that ask for the next answer: what serving feeds to the model."""
        return self._encode(self._asks(self.hidden(messages), self._hidden_tools(tools)))

    # ── texts of people ──

    def text_ids(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """The tokens of a text by itself, without a dialogue around it; none of them is a mark."""
        return self._marks.encode_text(text, add_special_tokens=add_special_tokens)

    def hidden(self, messages: Sequence[Message]) -> list[Message]:
        """The messages with all marks in them hidden: what may be given to the template."""
        return [
            Message(m.role, self._marks.hide(m.content, m.role), m.weight, self._marks.hide_all(_opened(m.extra)))
            for m in messages
        ]

    def check_said(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> None:
        """Refuse what this template leaves out, or writes as if another had said it.

        Raises ModelError `template_cannot_say`, whose `what` is a role, `tool_calls` or `tools`.
        """
        if all(message.role in _SPEAKERS and not message.extra for message in messages) and not tools:
            return
        text = self.prompt_text(messages, tools)
        shown = _bare(text)
        roles: set[str] = set()  # looked at: each once, or many messages would take as many looks at all of them
        for place, message in enumerate(messages):
            if not all(_bare(name) in shown for name in _names_of(message.extra.get("tool_calls"))):
                raise ModelError("template_cannot_say", what="tool_calls")
            odd = message.role == "tool" or (message.role == "system" and place > 0 and not self.folds_system)
            odd = odd and message.role not in roles
            if odd:
                roles.add(message.role)
            lost = message.role not in _SPEAKERS and not _says(shown, message.content)
            if lost or (odd and any(self._as(role, messages, place, tools) == text for role in _SPEAKERS)):
                raise ModelError("template_cannot_say", what=message.role)
        if not all(_bare(name) in shown for name in _names_of(tools)):
            raise ModelError("template_cannot_say", what="tools")

    def _as(
        self, role: Role, messages: Sequence[Message], place: int, tools: Sequence[Mapping[str, Any]]
    ) -> str | None:
        """What would be written if the message at `place` were of another role; None: it would be refused."""
        try:
            return self.prompt_text([*messages[:place], replace(messages[place], role=role), *messages[place + 1 :]],
                                    tools)  # fmt: skip
        except ModelError:
            return None

    def count_marks(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> int:
        """How many marks stand in the texts of these messages; each is read as plain text."""
        seen = [[m.content, m.extra] for m in self.hidden(messages)]
        return count_hidden(seen) + count_hidden(self._hidden_tools(tools))

    # ── training ──

    def sequences(self, example: Example) -> list[Tokens]:
        """The sequences from which `example` is learned: one, unless the template rewrites earlier turns.

        Raises ModelError `template_refuses`, with the example's rows, when the template cannot write such a dialogue.
        """
        try:
            return self._sequences(example)
        except ModelError as error:
            raise ModelError(error.code, rows=example.rows, **error.values) from error

    def _sequences(self, example: Example) -> list[Tokens]:
        own = example.messages
        example = replace(example, messages=tuple(self.hidden(own)), tools=self._hidden_tools(example.tools))
        done: list[Tokens] = []
        ids: list[int] = []
        spans: list[tuple[Span, float]] = []
        for i, message in enumerate(example.messages):
            if message.role != "assistant" or message.weight == 0:
                continue
            prompt_text = self._asks(example.messages[:i], example.tools)
            prompt = self._encode(prompt_text)
            if spans and prompt[: len(ids)] != ids:
                done.append(_close(ids, spans, example.rows))
                spans = []
            answer = self._answer(example, i, prompt_text, prompt)
            spans.append((Span(len(prompt), len(prompt) + len(answer), own[i].content), message.weight))
            ids = prompt + answer
        if spans:
            done.append(_close(ids, spans, example.rows))
        return done

    def _answer(self, example: Example, i: int, prompt_text: str, prompt: list[int]) -> list[int]:
        """The tokens of answer `i` and of its end, as they follow `prompt`."""
        message = example.messages[i]
        written = self._render(example.messages[: i + 1], example.tools, ask=False)
        if written.startswith(prompt_text) and message.content.strip() in written[len(prompt_text) :]:
            text = self._up_to_end(written[len(prompt_text) :])
        else:  # the template changes the answer (it strips reasoning, say): the user's own words are what is learned
            text = _after_open_thinking(prompt_text, message.content) + (self.end_text or "")
        together = self._encode(prompt_text + text)
        return together[len(prompt) :] if together[: len(prompt)] == prompt else self._encode(text)

    def _up_to_end(self, text: str) -> str:
        """`text` up to and with the end of the turn; what the template writes after that is no part of an answer."""
        if not self.end_text:
            return text
        at = text.rfind(self.end_text)
        return text if at < 0 else text[: at + len(self.end_text)]

    def causes(self, example: Example, sequences: Sequence[Tokens], max_length: int) -> list[str] | None:
        """What is wrong with an example that is no dialogue to be answered; None: it is one, see `labels.prove`."""
        return None

    # ── the template itself ──

    def _asks(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> str:
        return self._render(messages, tools, ask=True)

    def _hidden_tools(self, tools: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
        return tuple(self._marks.hide_all(tool, "system") for tool in tools)

    def _render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], *, ask: bool) -> str:
        if self.folds_system:
            messages = _fold_system(messages)
        try:
            text = self.tokenizer.apply_chat_template(
                [{"role": m.role, "content": m.content, **_opened(m.extra)} for m in messages],
                tools=[dict(tool) for tool in tools] or None,
                add_generation_prompt=ask,
                tokenize=False,
                enable_thinking=self.thinking,
                strftime_now=_DAY.strftime,
                date_string=_DAY.strftime("%d %b %Y"),
            )
        except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, RecursionError) as error:
            raise ModelError("template_refuses", reason=show_hidden(str(error))) from error
        assert isinstance(text, str)
        return text

    def _encode(self, text: str) -> list[int]:
        return self._marks.encode(text)

    def _words(self) -> Words:
        """The marks of this tokenizer, and what its template writes between messages."""
        said = [f"{_PROBE_ANSWER}{number}X" for number in range(4)]
        dialogue = [Message(role, text) for role, text in zip(_PROBE_ROLES, said, strict=True)]
        try:
            written = self._render(dialogue, (), ask=True)
        except ModelError:  # it does not write every dialogue
            written = self._render(dialogue[1:3], (), ask=False)
        return words_of(self.tokenizer, self.text, re.split("|".join(said), written))

    def _refuses_system(self) -> bool:
        """Whether the template cannot take a system message (it is then put before the first question)."""
        self.folds_system = False
        try:
            text = self._render([Message("system", "SYSTEMTEXT"), Message("user", "q")], (), ask=True)
        except ModelError:
            return True
        return "SYSTEMTEXT" not in text

    def _end_text(self) -> str | None:
        """What the template writes to end an answer, without the white space around it; None if it writes nothing."""
        written = self._render([Message("user", "q"), Message("assistant", _PROBE_ANSWER)], (), ask=False)
        if _PROBE_ANSWER not in written:
            raise ModelError("template_drops_answer")
        tail = written.rsplit(_PROBE_ANSWER, 1)[1]
        found = [token for token in self.special_tokens() if token in tail]
        return min(found, key=tail.index) if found else tail.strip() or None

    def special_tokens(self) -> set[str]:
        """The texts that this tokenizer reads as one token with a meaning of its own."""
        added = (str(token) for token in self.tokenizer.added_tokens_decoder.values())
        return {token for token in (*self.tokenizer.all_special_tokens, *added) if token.strip()}

    def _end_id(self) -> int | None:
        if not self.end_text:
            return None
        ids = self._encode(self.end_text)
        return ids[0] if len(ids) == 1 else None


def count_marks(example: Example, template: Template) -> int:
    """How many marks stand in the texts of an example, its unwanted answer included."""
    unwanted = [Message("assistant", example.rejected)] if example.rejected else []
    return template.count_marks([*example.messages, *unwanted], example.tools)


def fixed_day(form: str) -> str:
    """The day that every prompt says, where a template wants one."""
    return _DAY.strftime(form)


def _plain_template(tokenizer: Any) -> str:
    if not tokenizer.eos_token:
        raise ModelError("no_end_token")
    starts = tokenizer.encode("x", add_special_tokens=True)[:1] == [tokenizer.bos_token_id]
    return PLAIN_TEMPLATE.replace("{{ bos }}", "{{ bos_token }}" if starts and tokenizer.bos_token else "")


def _says(shown: str, content: str) -> bool:
    """Whether a content was written: as it is, or, as Llama's templates do with results of tools, as JSON."""
    forms = (content, json.dumps(content, ensure_ascii=False)[1:-1], json.dumps(content)[1:-1])
    return any(_bare(form) in shown for form in forms)


def _bare(text: str) -> str:
    """Without white space: templates trim."""
    return "".join(text.split())


def _names_of(calls: Any) -> list[str]:
    """The names of functions, of calls or of tools."""
    entries = [call for call in calls or () if isinstance(call, Mapping)]
    functions = [entry.get("function") or entry for entry in entries]
    return [str(function.get("name", "")) for function in functions if isinstance(function, Mapping)]


def _opened(extra: Mapping[str, Any]) -> dict[str, Any]:
    """`extra` with the arguments of tool calls as objects: the API has them as JSON text, templates want the object."""
    if not extra.get("tool_calls"):
        return dict(extra)
    calls = []
    for call in extra["tool_calls"]:
        function = dict(call.get("function") or {})
        with suppress(KeyError, TypeError, ValueError):  # an object already, or no JSON: as it is
            function["arguments"] = json.loads(function["arguments"])
        calls.append({**call, "function": function})
    return {**extra, "tool_calls": calls}


def _fold_system(messages: Sequence[Message]) -> list[Message]:
    system = [m.content for m in messages if m.role == "system"]
    rest = [m for m in messages if m.role != "system"]
    for i, message in enumerate(rest):
        if system and message.role == "user":
            rest[i] = Message("user", "\n\n".join([*system, message.content]), message.weight, message.extra)
            break
    return rest


def _after_open_thinking(prompt: str, answer: str) -> str:
    """`answer` as it goes on after a prompt that already opened `<think>` (DeepSeek-R1's does)."""
    if not _OPEN_THINKING.search(prompt):
        return answer
    if answer.startswith("<think>"):
        return answer.removeprefix("<think>").lstrip("\n")
    return f"\n</think>\n\n{answer}"


def _close(ids: list[int], spans: Sequence[tuple[Span, float]], rows: tuple[int, ...]) -> Tokens:
    weights = [0.0] * len(ids)
    for span, weight in spans:
        weights[span.start : span.end] = [weight] * (span.end - span.start)
    return Tokens(tuple(ids), tuple(weights), tuple(span for span, _ in spans), rows)
