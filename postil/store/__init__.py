"""What is remembered: files that are whole or not there at all, and the tables of jobs, files, keys and models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from postil.store.files import (
    link_or_copy,
    make_directory,
    publish,
    read_json,
    sha256,
    sync,
    sync_directory,
    temporary_directory,
    write_bytes,
    write_json,
    write_text,
)  # fmt: skip

if TYPE_CHECKING:
    from postil.store.audit import ACTS, COMMAND_LINE, Actor, act_as
    from postil.store.blobs import Incoming
    from postil.store.corrections import correction_version
    from postil.store.database import Database, looking
    from postil.store.datasets import LABEL
    from postil.store.disk import FULL, free_bytes, in_our_words
    from postil.store.ids import letters, new_id, now
    from postil.store.keys import LOCAL, PAGES, SCOPES, covers
    from postil.store.lines import LINE, line_version
    from postil.store.models import note_version
    from postil.store.pages import Page
    from postil.store.place import Store, open_store
    from postil.store.private import keep_private, open_places
    from postil.store.replies import Asked
    from postil.store.uploaded import PART_BYTES, TERMINAL, display_name
    from postil.store.versions import ABSENT

__all__ = [
    "ABSENT", "ACTS", "COMMAND_LINE", "FULL", "LABEL", "LINE", "LOCAL", "PAGES", "PART_BYTES", "SCOPES", "TERMINAL",
    "Actor", "Asked", "Database", "Incoming", "Page", "Store", "act_as", "correction_version", "covers", "display_name",
    "free_bytes", "in_our_words", "keep_private", "letters", "line_version", "link_or_copy", "looking",
    "make_directory", "new_id", "note_version", "now", "open_places", "open_store", "publish", "read_json", "sha256",
    "sync", "sync_directory", "temporary_directory", "write_bytes", "write_json", "write_text",
]  # fmt: skip

_LATER = {  # what needs the database's library is loaded by whoever needs it: most commands do not
    "ABSENT": "versions", "ACTS": "audit", "Actor": "audit", "Asked": "replies", "COMMAND_LINE": "audit",
    "Database": "database", "FULL": "disk", "Incoming": "blobs", "LABEL": "datasets", "LINE": "lines", "LOCAL": "keys",
    "PAGES": "keys", "PART_BYTES": "uploaded", "Page": "pages", "SCOPES": "keys", "Store": "place",
    "TERMINAL": "uploaded", "act_as": "audit", "correction_version": "corrections", "covers": "keys",
    "display_name": "uploaded", "free_bytes": "disk", "in_our_words": "disk", "keep_private": "private",
    "letters": "ids", "line_version": "lines", "looking": "database", "new_id": "ids", "note_version": "models",
    "now": "ids", "open_places": "private", "open_store": "place",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
