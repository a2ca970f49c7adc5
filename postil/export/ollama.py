"""An Ollama Modelfile: the base's chat template in Ollama's language, the system prompt, the texts that end an answer.

Ollama's templates are Go's. What stands between the words of a dialogue is found by letting the base's own template
write one with marks in it; the result is held against that template for every question that is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from postil.errors import ExportError
from postil.model.template import Template
from postil.records import Message, Plan

S, U, A, V = "POSTILSYSTEM", "POSTILFIRST", "POSTILSAID", "POSTILSECOND"


@dataclass(frozen=True, slots=True)
class Turns:
    """What a template writes between the words of a dialogue, without the token that begins a text.

    before: the system prompt; after: it, before the first question; alone: before that without a system prompt;
    between: a question and its answer, when others follow; again: an answer and the next question; ask: after the last.
    """

    before: str
    after: str
    alone: str
    between: str
    again: str
    ask: str

    def render(self, messages: Sequence[Message]) -> str:
        """What Ollama makes of a dialogue with the template that `go` gives."""
        system = "\n\n".join(m.content for m in messages if m.role == "system")
        text = f"{self.before}{system}{self.after}" if system else self.alone
        asked = False
        for place, message in enumerate(messages):
            if message.role == "user":
                last = place == len(messages) - 1
                text += (self.again if asked else "") + message.content + (self.ask if last else self.between)
                asked = True
            elif message.role == "assistant":
                text += message.content
        return text

    def go(self) -> str:
        """The same as a Go template for Ollama's `.System` and `.Messages`."""
        return (
            f"{{{{ if .System }}}}{_literal(self.before)}{{{{ .System }}}}{_literal(self.after)}"
            f"{{{{ else }}}}{_literal(self.alone)}{{{{ end }}}}"
            "{{ $asked := false }}{{ range $i, $message := .Messages }}"
            f'{{{{ if eq $message.Role "user" }}}}{{{{ if $asked }}}}{_literal(self.again)}{{{{ end }}}}'
            "{{ $asked = true }}{{ $message.Content }}"
            "{{ if eq (len (slice $.Messages $i)) 1 }}"
            f"{_literal(self.ask)}{{{{ else }}}}{_literal(self.between)}{{{{ end }}}}"
            '{{ else if eq $message.Role "assistant" }}{{ $message.Content }}{{ end }}{{ end }}'
        )


def turns_of(template: Template) -> Turns:
    """Raises ExportError `ollama_template` for a template that Ollama's language cannot say in this form."""
    user, answer = Message("user", U), Message("assistant", A)
    with_system = template.prompt_text([Message("system", S), user])
    long = template.prompt_text([Message("system", S), user, answer, Message("user", V)])
    alone = template.prompt_text([user])
    if not (_in_order(with_system, S, U) and _in_order(long, S, U, A, V) and _in_order(alone, U)):
        raise ExportError("ollama_template")
    before, rest = _bare(template, with_system).split(S, 1)
    after, ask = rest.split(U, 1)
    tail = long.split(U, 1)[1]
    between, rest = tail.split(A, 1)
    again = rest.split(V, 1)[0]
    found = Turns(before, after, _bare(template, alone).split(U, 1)[0], between, again, ask)
    probes = ([Message("system", S), user, answer, Message("user", V)], [user, answer, Message("user", V)], [user])
    if any(found.render(probe) != _bare(template, template.prompt_text(probe)) for probe in probes):
        raise ExportError("ollama_template")
    return found


def write_modelfile(file: Path, model: str, template: Template, plan: Plan, context: int) -> Turns:
    """A Modelfile beside the GGUF file named `model`. Returns what its template writes."""
    turns = turns_of(template)
    stops = dict.fromkeys([template.end_text, *(template.tokenizer.decode([token]) for token in template.stop_ids)])
    lines = [f"FROM ./{model}", f'TEMPLATE """{_quoted(turns.go())}"""']
    if plan.system:
        lines.append(f'SYSTEM """{_quoted(plan.system)}"""')
    lines += [f'PARAMETER stop "{_escaped(stop)}"' for stop in stops if stop]
    lines += [f"PARAMETER temperature {plan.temperature:g}", f"PARAMETER num_ctx {context}",
              "PARAMETER repeat_penalty 1"]  # fmt: skip
    file.write_text("\n".join(lines) + "\n", "utf-8")
    return turns


def _bare(template: Template, text: str) -> str:
    """Without the token that begins a text: Ollama puts it there itself."""
    start = template.tokenizer.bos_token_id
    word = template.tokenizer.decode([start]) if start is not None else ""
    return text.removeprefix(word)


def _in_order(text: str, *marks: str) -> bool:
    places = [text.find(mark) for mark in marks]
    return -1 not in places and places == sorted(places) and all(text.count(mark) == 1 for mark in marks)


def _literal(text: str) -> str:
    """Plain text in a Go template."""
    return text.replace("{{", '{{ "{{" }}')


def _quoted(text: str) -> str:
    if '"""' in text:
        raise ExportError("ollama_template")
    return text


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
