"""What is read, changed by a person and written back whole: each state has a name, and nobody writes over another's."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from postil.errors import StoreError
from postil.locales import in_all

ABSENT = ""  # the version of what is not there yet


def version_of(*contents: Any) -> str:
    """A name for this state: the same contents, the same name."""
    text = json.dumps(contents, ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def require_version(version: str | None, present: str, kind: str) -> None:
    """Only who has seen the `present` state may write another in its place.

    version: of the state that was read; None writes whatever stands there.
    kind: as in the sentences `stale.<kind>`. Raises StoreError `stale_version`.
    """
    if version is not None and version != present:
        raise StoreError("stale_version", what=in_all(f"stale.{kind}"), parameter="version", version=present)
