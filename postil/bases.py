"""Base models: found by name, fetched, added, and held to be the very ones that an adapter was made on."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from postil.errors import ModelError
from postil.locales import language, say
from postil.records import Adapter, Base, Dataset, Example, Shape
from postil.settings import EMBEDDED, Settings, quiet

if TYPE_CHECKING:
    from postil.model.template import Template

NO_SHAPE = Shape(0, 0, 0, 0, 0, 0, 0, 0)  # where only a name and a place are needed


def find_base(name: str) -> Base:
    """The base model of that name, repository id or directory."""
    from postil.plan import find

    return find(name, Settings().home)


def add_base(directory: Path, name: str | None = None) -> Base:
    """Give a base model in a directory a name of its own; its files are linked, or copied where they cannot be."""
    quiet()
    from postil.model.add import add

    find_base(str(directory))
    return find_base(add(directory, Settings().home, name or directory.resolve().name))


def fetched(base: Base, tell: Callable[[str, float | None], None] = lambda text, share: None) -> Base:
    """The base with its files on this machine: fetched if they are not."""
    if base.path is not None:
        return base
    from postil.model.fetch import fetch

    settings = Settings()
    path = fetch(base, settings.home, settings.hub, settings.hub_mirror.reveal(), language(), tell)
    return replace(base, path=path)


def fingerprint(base: Base) -> str:
    """The SHA-256 that adapters record of their base."""
    from postil.model.trust import fingerprint as of

    assert base.path is not None
    return of(base.path)


def fingerprint_of(path: Path) -> str:
    """The same of a base that lies in `path`."""
    return fingerprint(Base("", NO_SHAPE, path=path))


def template_of(base: Base, thinking: bool, task: str = "causal_lm") -> Template:
    """How a base that is on this machine reads dialogues for a task: by its chat template, if it is to write."""
    quiet()
    from postil.model.load import load_template

    assert base.path is not None
    return load_template(base.path, thinking=thinking, task=task)


def thinks(examples: Sequence[Example]) -> bool:
    """Whether the answers show their reasoning."""
    return 2 * sum("<think>" in example.answer for example in examples) > max(1, len(examples))


def open_adapter(directory: Path) -> Adapter:
    """The adapter in `directory` with its base, which must be the very one that it was made on."""
    from postil import train as room

    return on_its_base(room.read_adapter(directory))


def on_its_base(adapter: Adapter) -> Adapter:
    """The adapter with the place where its base lies now.

    Raises ModelError: base_missing, base_changed.
    """
    if not adapter.base_path.is_dir():
        base = find_base(adapter.base)
        if base.path is None:
            raise ModelError("base_missing", name=adapter.base)
        adapter = replace(adapter, base_path=base.path)
    found = fingerprint(Base(adapter.base, NO_SHAPE, path=adapter.base_path))
    if found != adapter.base_sha256:
        raise ModelError("base_changed", name=adapter.base, path=str(adapter.base_path))
    return adapter


def public_place(adapter: Adapter) -> str:
    """Where others find the base of an adapter: its repository on a hub if it has one, else where it lies here."""
    from postil.plan import bases

    known = next((base.sources for base in bases() if base.name == adapter.base), {})
    found = known.get("huggingface") or known.get("modelscope")
    return found or str(adapter.base_path)


def plain_name(text: str) -> str:
    """A name that file systems, shells and Ollama take: letters, digits, dots, dashes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.").lower()[:64] or "model"


def recommended_base(dataset: Dataset) -> dict[str, str]:
    """The base model that suits this data and this machine best, and why: {"base", "reason"}."""
    from postil.plan import chinese_share, machine, recommend

    best, reason, values = recommend(chinese_share(dataset.examples), machine())
    return {"base": best.name, "reason": say(f"reason.{reason}", **values)}


def advice_on_base(dataset: Dataset, base: Base) -> str | None:
    """A sentence on a base model that suits this data better than the embedded demonstration, if there is one."""
    better = recommended_base(dataset)
    return None if base.name != EMBEDDED or better["base"] == base.name else better["reason"]
