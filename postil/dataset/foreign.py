"""Files that people hand over by mistake: told by their first bytes and, of archives, by the names of what is in them.

Nothing is opened or unpacked here, and no more than TAIL bytes are held: a server may ask before it keeps a file.
"""

from __future__ import annotations

import re
from pathlib import Path

from postil.errors import FileError

HEAD, TAIL, PIECE = 8192, 2 << 20, 1 << 20
ZIP = (b"PK\3\4", b"PK\5\6", b"PK\7\x08")  # an archive, an empty one, one in parts; PK alone begins a heading, too
OLE, PARQUET = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"PAR1"
SIGNATURES = (  # where in the file, what stands there, and what such a file is
    (0, b"%PDF", "file_is_pdf"),
    (0, b"{\\rtf", "file_is_word"),
    (0, b"\x89PNG", "file_is_image"),
    (0, b"\xff\xd8\xff", "file_is_image"),
    (0, b"GIF8", "file_is_image"),
    (0, b"BM", "file_is_image"),
    (0, b"II*\0", "file_is_image"),
    (0, b"MM\0*", "file_is_image"),
    (8, b"WEBP", "file_is_image"),
    (0, b"8BPS", "file_is_image"),
    (0, b"\0\0\1\0", "file_is_image"),
    (4, b"ftyphei", "file_is_image"),
    (4, b"ftypmif1", "file_is_image"),
    (4, b"ftypavif", "file_is_image"),
    (4, b"jP  \r\n", "file_is_image"),
    (4, b"JXL \r\n", "file_is_image"),
    (4, b"ftyp", "file_is_media"),
    (8, b"AVI LIST", "file_is_media"),
    (8, b"WAVEfmt", "file_is_media"),
    (0, b"\x1aE\xdf\xa3", "file_is_media"),
    (0, b"OggS\0", "file_is_media"),
    (0, b"fLaC\0", "file_is_media"),
    (0, b"ID3\2", "file_is_media"),
    (0, b"ID3\3", "file_is_media"),
    (0, b"ID3\4", "file_is_media"),
    (0, b"\xff\xfb", "file_is_media"),
    (0, b"\xff\xf3", "file_is_media"),
    (0, b"\xff\xf1", "file_is_media"),
    (0, b"FLV\1", "file_is_media"),
    (0, b"\0\0\1\xba", "file_is_media"),
    (0, b"MThd\0", "file_is_media"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "file_is_media"),
    (0, b"Rar!\x1a", "file_is_archive"),
    (0, b"7z\xbc\xaf", "file_is_archive"),
    (0, b"\x1f\x8b", "file_is_archive"),
    (0, b"BZh", "file_is_archive"),
    (0, b"\xfd7zXZ", "file_is_archive"),
    (0, b"\x28\xb5\x2f\xfd", "file_is_archive"),
    (0, b"MSCF\0", "file_is_archive"),
    (257, b"ustar", "file_is_archive"),
    (0, b"SQLite format 3", "file_is_database"),
    (0, b"MZ", "file_is_program"),
    (0, b"\x7fELF", "file_is_program"),
    (0, b"\xca\xfe\xba\xbe", "file_is_program"),
    (0, b"\xcf\xfa\xed\xfe", "file_is_program"),
    (0, b"\xce\xfa\xed\xfe", "file_is_program"),
    (0, b"\0asm", "file_is_program"),
    (0, b"dex\n0", "file_is_program"),
    (0, b"GGUF", "file_not_text"),
    (0, b"\x93NUMPY", "file_not_text"),
    (0, b"\x89HDF", "file_not_text"),
    (0, b"wOF", "file_not_text"),
    (0, b"OTTO\0", "file_not_text"),
    (0, b"\0\1\0\0\0", "file_not_text"),
)
PLAIN = (
    b"%PDF",
    b"{\\rtf",
)  # no table begins like that; of the rest that could be text, no text has their control bytes
CONTROL = re.compile(rb"[\x00-\x08]")
PICTURE = re.compile(rb"(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*(<!doctype svg[^>]*>\s*)?<svg[\s>]", re.DOTALL)
TABLES = ("xl/", "opendocument.spreadsheet")
DOCUMENTS = ("word/", "ppt/", "opendocument.text", "opendocument.presentation")


def require_data(path: Path, name: str | None = None) -> None:
    """Nothing if the file may be a workbook, a Parquet file or text. name: as people know it.

    Raises FileError that names what it is: `file_is_image`, `file_is_pdf`, `file_is_archive`, ...
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    code = _kind_of(path, head)
    if code:
        raise FileError(code, path=name or path.name)


def foreign(head: bytes) -> str | None:
    """What a file that begins like this is, by the code of the error that says so; None for what may be data."""
    for place, start, code in SIGNATURES:
        if head.startswith(start, place) and (start in PLAIN or not _could_be_text(start) or CONTROL.search(head)):
            return code
    return "file_is_image" if PICTURE.match(head.lstrip(b"\xef\xbb\xbf \t\r\n")[:4096].lower()) else None


def _could_be_text(start: bytes) -> bool:
    return start.isascii() and start.decode("ascii").isprintable()


def _kind_of(path: Path, head: bytes) -> str | None:
    if head.startswith(ZIP):
        return _packed(path, head)
    if head.startswith(OLE):
        return "file_is_word" if holds(path, "WordDocument", "PowerPoint Document") else None
    return None if head.startswith(PARQUET) else foreign(head)


def _packed(path: Path, head: bytes) -> str | None:
    """A zip ends with the names of all that is in it."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        names = head + file.read(TAIL)
    if any(word.encode() in names for word in TABLES):
        return None
    return "file_is_word" if any(word.encode() in names for word in DOCUMENTS) else "file_is_archive"


def holds(path: Path, *words: str) -> bool:
    """Whether one of these names of streams stands in an old Office file, which is read in pieces."""
    wanted = [word.encode("utf-16-le") for word in words]
    before = b""
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            if any(word in before + piece for word in wanted):
                return True
            before = piece[-128:]
    return False
