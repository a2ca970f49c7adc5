"""A file becomes rows, records or lines. What kind of file it is, its content says, not its name."""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from pathlib import Path

from postil.dataset import limits
from postil.dataset.encoding import decode
from postil.dataset.foreign import OLE, PARQUET, ZIP, foreign, holds
from postil.dataset.jsontext import looks_like_json, read_json
from postil.dataset.raw import Findings, Line, Raw
from postil.dataset.sheets import open_file
from postil.dataset.tables import find_delimiter, is_labelled, is_markdown, read_markdown, read_table, split_lines
from postil.errors import FileError

_WORKBOOKS = ("xlsx", "xlsm", "xlsb", "ods", "xls", "html", "xml")


def read(path: Path, sheet: str | None = None) -> Raw:
    """Read a file of any supported kind: .xlsx .xlsm .xlsb .ods .xls .csv .tsv .txt .json .jsonl .parquet,
    and the web pages and XML that go by the name of .xls.

    `sheet`: only the sheet of this name. Raises FileError, and nothing else, for a file that cannot be read.
    """
    path = Path(path)
    digest, head = _fingerprint(path)
    kind = _kind(path, head)
    found = Findings()
    if kind in (*_WORKBOOKS, "parquet"):
        raw = _read_binary(path, kind, digest, sheet, found)
    else:
        raw = _read_text(path, digest, found)
    return raw


def _fingerprint(path: Path) -> tuple[str, bytes]:
    """SHA-256 of the file, and its first bytes. Raises FileError if it is missing, empty, locked or too large."""
    try:
        if path.is_dir():
            raise FileError("file_is_folder", path=str(path))
        if path.stat().st_size > limits.MAX_BYTES:
            raise FileError("file_too_large", size=path.stat().st_size // limits.MB, most=limits.MAX_BYTES // limits.MB)
        with path.open("rb") as file:
            head = file.read(8192)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise FileError("file_missing", path=str(path)) from None
    except PermissionError:
        raise FileError("file_locked", path=str(path)) from None
    except (OSError, ValueError) as error:
        raise FileError("file_unreadable", path=str(path), detail=str(error)) from None
    if not head:
        raise FileError("file_empty", path=path.name)
    return digest, head


def _kind(path: Path, head: bytes) -> str:
    """A workbook's or Parquet's format, or "text". Raises FileError for what is neither, naming what it is."""
    if head.startswith(ZIP):
        return _zip_kind(path)
    if head.startswith(OLE):
        return _ole_kind(path)
    if head.startswith(PARQUET):
        return "parquet"
    if head[:4] in (b"\x09\x08\x10\x00", b"\x09\x04\x06\x00", b"\x09\x02\x06\x00", b"\x09\x00\x04\x00"):
        return "xls"  # a bare stream of records, as Excel 2 to 4 wrote it
    if code := foreign(head):
        raise FileError(code, path=path.name)
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:4096].lower()
    if begin.startswith((b"<html", b"<!doctype html", b"<table", b"<head", b"<body", b"<meta")):
        return "html"
    if begin.startswith(b"<?xml"):
        if b"<html" not in begin and b"schemas-microsoft-com:office:spreadsheet" not in begin:
            raise FileError("file_is_xml", path=path.name)
        return "html" if b"<html" in begin else "xml"
    return "text"


def _zip_kind(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as parts:
            names = set(parts.namelist())
            kind = parts.read("mimetype")[:100] if "mimetype" in names and _small(parts, "mimetype") else b""
            types = parts.read("[Content_Types].xml") if _small(parts, "[Content_Types].xml") else b""
    except (zipfile.BadZipFile, zlib.error, RuntimeError, ValueError, EOFError, OSError, KeyError):
        raise FileError("file_truncated", path=path.name) from None
    if b"opendocument.spreadsheet" in kind:
        return "ods"
    if b"spreadsheetml" in types or b"ms-excel" in types:
        if b"binary.macroEnabled.main" in types or "xl/workbook.bin" in names:
            return "xlsb"
        return "xlsm" if b"macroEnabled" in types else "xlsx"
    if "xl/workbook.xml" in names:
        return "xlsx"
    word = any(name.startswith(("word/", "ppt/")) for name in names) or b"opendocument.text" in kind
    raise FileError("file_is_word" if word else "file_is_archive", path=path.name)


def _small(parts: zipfile.ZipFile, name: str) -> bool:
    return name in parts.NameToInfo and parts.getinfo(name).file_size < limits.MB


def _ole_kind(path: Path) -> str:
    """The old container of Office: an .xls, a locked .xlsx, or a Word document, told by the names of its streams."""
    if holds(path, "EncryptedPackage"):
        raise FileError("file_encrypted", path=path.name)
    if holds(path, "Workbook", "Book\0"):
        return "xls"
    raise FileError("file_is_word" if holds(path, "WordDocument") else "file_truncated", path=path.name)


def _read_binary(path: Path, kind: str, digest: str, sheet: str | None, found: Findings) -> Raw:
    opened = open_file(path, kind, found)
    if kind == "html":
        found.issue("web_page_read", "advice", tables=len(opened.sheets))
    sheets = opened.sheets
    if sheet is not None and kind != "parquet":
        sheets = [each for each in sheets if each.name == sheet]
        if not sheets:
            names = ", ".join(str(each.name) for each in opened.sheets)
            raise FileError("sheet_missing", sheet=sheet, names=names)
        found.issues = [each for each in found.issues if each.values.get("sheet") == sheet]
        found.repaired = [each for each in found.repaired if each.values.get("sheet") == sheet]
    if kind != "parquet" and not any(each.rows for each in sheets):
        raise FileError("file_empty", path=path.name)
    return Raw(path, digest, kind, "", None, sheets=tuple(sheets), records=tuple(opened.records),
               issues=tuple(found.issues), repaired=tuple(found.repaired))  # fmt: skip


def _read_text(path: Path, digest: str, found: Findings) -> Raw:
    if path.stat().st_size > limits.MAX_TEXT_BYTES:
        raise FileError(
            "file_too_large", size=path.stat().st_size // limits.MB, most=limits.MAX_TEXT_BYTES // limits.MB
        )
    text, encoding = decode(path.read_bytes(), found)
    if not text.strip('\ufeff \t\r\n\0,;|，"'):
        raise FileError("file_empty", path=path.name)
    if text[:100_000].count("\ufffd") * 10 > len(text[:100_000]):
        raise FileError("text_garbled", path=path.name)
    if len(re.findall(r"[\x00-\x08\x0e-\x1f\ufffd]", text[:100_000])) * 10 > len(text[:100_000]):
        raise FileError("file_not_text", path=path.name)
    named = path.suffix.lower()
    if looks_like_json(text):
        form, records = read_json(text, found)
        return Raw(path, digest, form, encoding, None, records=tuple(records), left=tuple(found.left),
                   issues=tuple(found.issues), repaired=tuple(found.repaired))  # fmt: skip
    lines = split_lines(text)
    if len(lines) > limits.MAX_ROWS:
        raise FileError("too_many_rows", most=limits.MAX_ROWS)
    if named not in (".csv", ".tsv") and is_markdown(lines):
        return Raw(path, digest, "txt", encoding, "|", sheets=(read_markdown(lines),), issues=tuple(found.issues),
                   repaired=tuple(found.repaired))  # fmt: skip
    delimiter = find_delimiter(lines, named_table=named in (".csv", ".tsv"))
    if delimiter is not None or (named in (".csv", ".tsv") and not is_labelled(lines)):
        table = read_table(lines, delimiter, found)
        if not table.rows:
            raise FileError("file_empty", path=path.name)
        form = "tsv" if delimiter == "\t" else "csv"
        return Raw(path, digest, form, encoding, delimiter, sheets=(table,), issues=tuple(found.issues),
                   repaired=tuple(found.repaired))  # fmt: skip
    for number, line in enumerate(lines, 1):
        if len(line) > limits.MAX_CELL:
            raise FileError("cell_too_large", rows=[number], row=number, most=limits.MAX_CELL)
    return Raw(path, digest, "txt", encoding, None, lines=tuple(Line(n, line) for n, line in enumerate(lines, 1)),
               issues=tuple(found.issues), repaired=tuple(found.repaired))  # fmt: skip
