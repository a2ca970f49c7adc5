"""A chat template is a program that came with a model. Does it end soon, and write no more than it should?

`python -m postil.model.bounded` reads a JSON list of templates, writes a few dialogues with each, in a sandbox and
under limits of time, memory and length, and ends with 0 if all was well. Most templates hold nothing that could grow;
they are not tried.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from postil.child import Limit, TookTooLong, run
from postil.errors import ModelError
from postil.settings import for_child

CPU_SECONDS = 2  # for all of them
MEMORY_BYTES = 256 << 20  # more than the process has at its begin
MOST_CHARACTERS = 1 << 20
WAIT_SECONDS = 20  # with its start; it holds where a process cannot set such a limit for itself
MOST_LOOPS = 8
_GROWS = re.compile(r"\brange\b|\*|\bmacro\b|\brecursive\b|\blipsum\b|\bcycler\b|\bjoiner\b")
_LOOP = re.compile(r"\{%[-+]?\s*for\b")
UNBOUNDED = 3


def check_templates(path: Path) -> None:
    """Raises ModelError `template_unbounded` when a template in `path` takes too long, or writes too much."""
    suspicious = [text for text in _templates(path) if _GROWS.search(text) or len(_LOOP.findall(text)) > MOST_LOOPS]
    if not suspicious:
        return
    command = [sys.executable, "-m", "postil.model.bounded"]
    try:
        done = run(command, Limit(WAIT_SECONDS), env=for_child(), sent=json.dumps(suspicious).encode())
    except TookTooLong as error:
        raise ModelError("template_unbounded", path=str(path)) from error
    if done.returncode != 0:
        raise ModelError("template_unbounded", path=str(path))


def _templates(path: Path) -> Iterator[str]:
    """All that a tokenizer of this directory could use."""
    for file in (*path.glob("*.jinja"), *(path / "additional_chat_templates").glob("*.jinja")):
        yield file.read_text("utf-8", "replace")
    for name in ("tokenizer_config.json", "processor_config.json", "chat_template.json"):
        try:
            told = json.loads((path / name).read_bytes()).get("chat_template")
        except (OSError, ValueError, AttributeError):
            continue
        for one in told if isinstance(told, list) else [told]:
            text = one.get("template") if isinstance(one, dict) else one
            if isinstance(text, str):
                yield text


# ── in the child ──


def main() -> int:
    from jinja2.exceptions import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    texts = json.load(sys.stdin)
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    made.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    _limit()
    for text in texts:
        for dialogue in _dialogues():
            try:
                if not _writes(made.from_string(text), dialogue):
                    return UNBOUNDED
            except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError):
                continue  # it refuses such a dialogue, and soon
    return 0


def _writes(template: Any, dialogue: dict[str, Any]) -> bool:
    """Whether it comes to an end within the limits."""
    length = 0
    for piece in template.generate(**dialogue, raise_exception=_refuse, strftime_now=lambda form: "2024-07-26"):
        length += len(piece)
        if length > MOST_CHARACTERS:
            return False
    return True


def _refuse(message: str = "") -> None:
    raise ValueError(message)


def _dialogues() -> Iterator[dict[str, Any]]:
    """A question; a long dialogue; one with tools whose parameters lie in each other."""
    common = {"add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>", "enable_thinking": True}
    yield {**common, "messages": [{"role": "user", "content": "Hi"}], "tools": None}
    turns = [{"role": role, "content": "word " * 400} for _ in range(30) for role in ("user", "assistant")]
    yield {**common, "messages": [{"role": "system", "content": "Be brief."}, *turns], "tools": None}
    shape: dict[str, Any] = {"type": "string"}
    for depth in range(6):
        shape = {"type": "object", "properties": {f"a{depth}": shape, "b": {"type": "array", "items": shape}}}
    tool = {"type": "function", "function": {"name": "f", "description": "d", "parameters": shape}}
    yield {**common, "messages": [{"role": "user", "content": "Hi"}], "tools": [tool]}


def _limit() -> None:
    if sys.platform == "win32":
        return  # the wait ends it
    import resource

    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    resource.setrlimit(resource.RLIMIT_CPU, (int(used) + CPU_SECONDS, int(used) + CPU_SECONDS + 1))
    if sys.platform == "linux":  # elsewhere the address space says nothing of memory
        taken = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY_BYTES, taken + MEMORY_BYTES))


if __name__ == "__main__":
    sys.exit(main())
