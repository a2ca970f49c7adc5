"""Bytes named by their SHA-256, on this disk or, through fsspec, in an object store.

They are written beside the place, counted, hashed and synced, and only then get their name: what is there is whole.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

import fsspec
from fsspec.registry import known_implementations

from postil.errors import StoreError
from postil.extras import missing
from postil.secret import Address
from postil.store.disk import in_our_words
from postil.store.files import link_or_copy, make_directory, sync_directory

PIECE = 1 << 20
REST_SECONDS = 2 * 3600


def _opened(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """The file system of a URL, and the place in it. Raises StoreError `extra_missing`, `files_address`."""
    kind = url.partition("://")[0] if "://" in url else "file"
    try:
        opened: tuple[Any, str] = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        package = str(known_implementations.get(kind, {}).get("class", kind)).partition(".")[0]
        raise missing(package, "files", StoreError) from error
    except ValueError as error:
        raise StoreError("files_address", address=str(Address(url))[:200]) from error
    return opened


class Incoming:
    """Bytes on their way in: written piece by piece, counted and hashed, never held in memory."""

    def __init__(self, file: IO[bytes], path: Path, most: int | None) -> None:
        self._file, self.path, self._most = file, path, most
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        self.bytes = 0

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def md5(self) -> str:
        return self._md5.hexdigest()

    def write(self, piece: bytes) -> None:
        """Raises StoreError `upload_too_large` as soon as it is, and `storage_full`."""
        self.bytes += len(piece)
        if self._most is not None and self.bytes > self._most:
            raise StoreError("upload_too_large", most=self._most)
        self._sha256.update(piece)
        self._md5.update(piece)
        with in_our_words():
            self._file.write(piece)

    def read_from(self, source: BinaryIO) -> None:
        """Write all that is left in `source`."""
        while piece := source.read(PIECE):
            self.write(piece)

    def sync(self) -> None:
        """To the disk."""
        with in_our_words():
            self._file.flush()
            os.fsync(self._file.fileno())


class Blobs:
    """The bytes of all files. `url`: a directory, or what fsspec understands (s3://..., oss://..., memory://...)."""

    def __init__(self, url: str, staging: Path, **options: Any) -> None:
        self._staging = staging
        make_directory(staging)
        self._files, self._root = _opened(url, options)
        self._local = Path(self._root) if self._files.protocol == ("file", "local") else None
        if self._local is not None:
            make_directory(self._local, private=True)

    @contextmanager
    def incoming(self, most: int | None = None) -> Iterator[Incoming]:
        """A place for bytes whose name is not known yet; gone at the end, unless it was `put`."""
        with in_our_words():
            handle, name = tempfile.mkstemp(prefix="in-", dir=self._staging)
        try:
            with os.fdopen(handle, "wb") as file:
                yield Incoming(file, Path(name), most)
        finally:
            Path(name).unlink(missing_ok=True)

    def put(self, made: Incoming) -> None:
        """Give these bytes their name. Whole or not at all; again is no harm."""
        made.sync()
        key = self._key(made.sha256)
        with in_our_words():
            if self._local is None:
                self._files.makedirs(key.rpartition("/")[0], exist_ok=True)
                self._files.put_file(str(made.path), key)
                return
            final = Path(key)
            make_directory(final.parent)
            if final.exists():
                return
            beside = final.with_name(f".{made.path.name}")
            link_or_copy(made.path, beside)
            beside.replace(final)
            sync_directory(final.parent)

    def exists(self, sha256: str) -> bool:
        return bool(self._files.exists(self._key(sha256)))

    def open(self, sha256: str) -> IO[bytes]:
        """The bytes, to be read in pieces. Raises StoreError `bytes_missing`."""
        if self._local is not None and Path(self._key(sha256)).is_symlink():  # nobody of ours makes one
            raise StoreError("bytes_missing", sha256=sha256)
        try:
            opened: IO[bytes] = self._files.open(self._key(sha256), "rb")
        except FileNotFoundError as error:
            raise StoreError("bytes_missing", sha256=sha256) from error
        return opened

    def copy_to(self, sha256: str, path: Path) -> None:
        """Put the bytes at `path`. Raises StoreError `bytes_changed` when they are not what they are named."""
        found = hashlib.sha256()
        with self.open(sha256) as source, in_our_words(), path.open("wb") as target:
            while piece := source.read(PIECE):
                found.update(piece)
                target.write(piece)
            target.flush()
            os.fsync(target.fileno())
        if found.hexdigest() != sha256:
            raise StoreError("bytes_changed", sha256=sha256)

    def delete(self, sha256: str) -> None:
        if self.exists(sha256):
            self._files.rm_file(self._key(sha256))

    def tidy(self) -> None:
        """Remove what a crash left half received. What is younger may be another server's, still coming in."""
        for rest in self._staging.glob("in-*"):
            if time.time() - rest.stat().st_mtime > REST_SECONDS:
                rest.unlink(missing_ok=True)

    def _key(self, sha256: str) -> str:
        return f"{self._root}/{sha256[:2]}/{sha256}"
