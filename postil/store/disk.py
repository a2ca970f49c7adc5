"""The disk's own refusals, in our words, and how much room there is."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from postil.errors import StoreError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT} if hasattr(errno, "EDQUOT") else {errno.ENOSPC})


@contextmanager
def in_our_words() -> Iterator[None]:
    """Raises StoreError `storage_full` for a full disk and `storage_broken` for one that fails, MemoryError when the
    system had no memory for it."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise MemoryError from error
        if error.errno in FULL:
            raise StoreError("storage_full") from error
        raise StoreError("storage_broken", detail=error.strerror or type(error).__name__) from error


def free_bytes(path: Path) -> int:
    """Room on the disk of `path`."""
    return shutil.disk_usage(path).free
