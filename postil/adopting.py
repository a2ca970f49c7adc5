"""Adapters that a person has: of our own runs, or made by another program."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from postil.bases import fetched, find_base, fingerprint, open_adapter
from postil.errors import AdapterError, ModelError
from postil.records import ADAPTER_CONFIG, Adapter, Base
from postil.settings import quiet


def is_adapter(directory: Path) -> bool:
    """Whether a directory holds a PEFT adapter, of whomever."""
    return (directory / ADAPTER_CONFIG).is_file()


@contextmanager
def adopted(directory: Path, base: str | None = None) -> Iterator[tuple[Adapter, Mapping[str, Any]]]:
    """An adapter in a directory, of ours or of whomever; and what its config says that nobody here knows.

    base: the base model that it belongs to, where it does not say so or says what is not here. The adapter may be used
    until this is left. Raises AdapterError: `adapter_base_unknown`, `adapter_misfit`, and what is refused for safety.
    """
    quiet()
    from postil import export as room
    from postil.model.adopt import adopt

    if base is None and (directory / "plan.json").is_file():
        yield open_adapter(directory), {}
        return
    found = _base_of(directory, base)
    with tempfile.TemporaryDirectory() as place:
        made = Path(place) / "adapter"
        made.mkdir()
        told = adopt(directory, found, fingerprint(found), made)
        room.check_fit(made, found)
        yield open_adapter(made), told.unknown


def _base_of(directory: Path, base: str | None) -> Base:
    """The base that a person named, or the first of those that the adapter's config may mean."""
    from postil.model.adopt import named_base

    if base is not None:
        return fetched(find_base(base))
    names = named_base(directory)
    for name in names:
        try:
            found = find_base(name)
        except ModelError:
            continue
        if found.path is not None:
            return found
    raise AdapterError("adapter_base_unknown", path=str(directory), name=names[0] if names else "-")
