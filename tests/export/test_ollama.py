"""A Modelfile says in Ollama's language what the base's own template writes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from postil.errors import ExportError
from postil.export.ollama import Turns, turns_of, write_modelfile
from postil.model.load import load_template
from postil.model.template import Template
from postil.records import Message
from tests.export.made import asked
from tests.models import CHAT, Build, plan

FAMILIES = ["qwen2", "qwen3", "llama3", "llama2", "mistral", "gemma3", "phi3", "untemplated"]


def bare(template: Template, text: str) -> str:
    start = template.tokenizer.bos_token_id
    return text.removeprefix(template.tokenizer.decode([start]) if start is not None else "")


@pytest.mark.parametrize("family", FAMILIES)
def test_its_turns_are_those_of_the_template(base: Build, family: str) -> None:
    """Of one question and of several, with a system prompt and without."""
    template = load_template(base(family))
    turns = turns_of(template)
    dialogues = [*asked(2), asked(1)[0][1:], CHAT.messages[:-1], CHAT.messages[1:4]]
    for messages in dialogues:
        if family == "llama2" and len(messages) > 2:
            continue  # its template begins each turn with the start token, which Ollama cannot write
        assert turns.render(messages) == bare(template, template.prompt_text(messages))


def rendered(go: str, messages: list[Message]) -> str:
    """What Go makes of such a template: its few forms, read without our own code."""
    system = "\n\n".join(m.content for m in messages if m.role == "system")
    head, loop = go.split("{{ $asked := false }}{{ range $i, $message := .Messages }}")
    found = re.fullmatch(r"\{\{ if \.System \}\}(.*)\{\{ \.System \}\}(.*)\{\{ else \}\}(.*)\{\{ end \}\}", head, re.S)
    body = re.fullmatch(
        r'\{\{ if eq \$message\.Role "user" \}\}\{\{ if \$asked \}\}(.*)\{\{ end \}\}\{\{ \$asked = true \}\}'
        r"\{\{ \$message\.Content \}\}\{\{ if eq \(len \(slice \$\.Messages \$i\)\) 1 \}\}(.*)\{\{ else \}\}(.*)"
        r"\{\{ end \}\}"
        r'\{\{ else if eq \$message\.Role "assistant" \}\}\{\{ \$message\.Content \}\}\{\{ end \}\}\{\{ end \}\}',
        loop, re.S,
    )  # fmt: skip
    assert found and body
    text, seen = f"{found[1]}{system}{found[2]}" if system else found[3], False
    for i, message in enumerate(messages):
        if message.role == "user":
            text += (body[1] if seen else "") + message.content + (body[2] if len(messages[i:]) == 1 else body[3])
            seen = True
        elif message.role == "assistant":
            text += message.content
    return text.replace('{{ "{{" }}', "{{")


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "gemma3"])
def test_the_go_template_writes_the_same(base: Build, family: str) -> None:
    template = load_template(base(family))
    go = turns_of(template).go()
    for messages in (list(asked(1)[0]), list(CHAT.messages[:-1])):
        assert rendered(go, messages) == bare(template, template.prompt_text(messages))


def test_the_modelfile_has_what_the_model_needs(base: Build, tmp_path: Path) -> None:
    template = load_template(base("llama3"))
    file = tmp_path / "Modelfile"
    write_modelfile(file, "shop.gguf", template, plan(system='说 "您好"'), 2048)
    text = file.read_text("utf-8")
    assert text.startswith("FROM ./shop.gguf\n")
    assert 'SYSTEM """说 "您好""""' in text and 'PARAMETER stop "<|eot_id|>"' in text
    assert "PARAMETER temperature 0\n" in text and "26 Jul 2024" in text
    assert "<|begin_of_text|>" not in text.split("PARAMETER")[0]  # Ollama puts it there itself


def test_what_the_modelfile_cannot_hold_is_refused(base: Build, tmp_path: Path) -> None:
    with pytest.raises(ExportError) as refused:
        write_modelfile(tmp_path / "Modelfile", "x", load_template(base("qwen2")), plan(system='a """ b'), 2048)
    assert refused.value.code == "ollama_template"


def test_braces_in_a_template_are_text() -> None:
    go = Turns("{{ not a command", "", "", "", "", "").go()
    assert '{{ "{{" }} not a command{{ .System }}' in go
