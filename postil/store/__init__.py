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
    from postil.store.database import Database
    from postil.store.disk import FULL, free_bytes, in_our_words
    from postil.store.ids import letters, new_id, now
    from postil.store.keys import LOCAL, PAGES, SCOPES, covers
    from postil.store.lines import LINE
    from postil.store.pages import Page
    from postil.store.place import Store, open_store
    from postil.store.replies import Asked
    from postil.store.uploaded import PART_BYTES, TERMINAL, display_name

__all__ = [
    "ACTS", "COMMAND_LINE", "FULL", "LINE", "LOCAL", "PAGES", "PART_BYTES", "SCOPES", "TERMINAL", "Actor", "Asked",
    "Database", "Incoming", "Page", "Store", "act_as", "covers", "display_name", "free_bytes", "in_our_words",
    "letters", "link_or_copy", "make_directory", "new_id", "now", "open_store", "publish", "read_json", "sha256",
    "sync", "sync_directory", "temporary_directory", "write_bytes", "write_json", "write_text",
]  # fmt: skip

_LATER = {  # what needs the database's library is loaded by whoever needs it: most commands do not
    "ACTS": "audit", "Actor": "audit", "COMMAND_LINE": "audit", "act_as": "audit", "covers": "keys",
    "Asked": "replies", "Database": "database", "FULL": "disk", "Incoming": "blobs", "LINE": "lines", "LOCAL": "keys",
    "PAGES": "keys", "PART_BYTES": "uploaded", "Page": "pages", "SCOPES": "keys", "Store": "place",
    "TERMINAL": "uploaded", "display_name": "uploaded", "free_bytes": "disk", "in_our_words": "disk", "letters": "ids",
    "new_id": "ids", "now": "ids", "open_store": "place",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
