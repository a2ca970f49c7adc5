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
    from postil.store.blobs import Incoming
    from postil.store.corrections import correction_version
    from postil.store.database import Database
    from postil.store.datasets import LABEL
    from postil.store.disk import FULL, free_bytes, in_our_words
    from postil.store.ids import letters, new_id, now
    from postil.store.keys import LOCAL, SCOPES
    from postil.store.lines import LINE, line_version
    from postil.store.models import note_version
    from postil.store.pages import Page
    from postil.store.place import Store, open_store
    from postil.store.replies import Asked
    from postil.store.uploaded import PART_BYTES, TERMINAL, display_name
    from postil.store.versions import ABSENT

__all__ = [
    "ABSENT", "FULL", "LABEL", "LINE", "LOCAL", "PART_BYTES", "SCOPES", "TERMINAL", "Asked", "Database", "Incoming",
    "Page", "Store", "correction_version", "display_name", "free_bytes", "in_our_words", "letters", "line_version",
    "link_or_copy", "make_directory", "new_id", "note_version", "now", "open_store", "publish", "read_json", "sha256",
    "sync", "sync_directory", "temporary_directory", "write_bytes", "write_json", "write_text",
]  # fmt: skip

_LATER = {  # what needs the database's library is loaded by whoever needs it: most commands do not
    "ABSENT": "versions", "Asked": "replies", "Database": "database", "FULL": "disk", "Incoming": "blobs",
    "LABEL": "datasets", "LINE": "lines", "LOCAL": "keys", "PART_BYTES": "uploaded", "Page": "pages",
    "SCOPES": "keys", "Store": "place", "TERMINAL": "uploaded", "correction_version": "corrections",
    "display_name": "uploaded", "free_bytes": "disk", "in_our_words": "disk", "letters": "ids",
    "line_version": "lines", "new_id": "ids", "note_version": "models", "now": "ids", "open_store": "place",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
