"""What is no data is told by its content, whatever its name; what is data stays welcome."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import openpyxl
import pyarrow
import pyarrow.parquet
import pytest

from postil.dataset import require_data
from postil.dataset.foreign import PIECE, PLAIN, SIGNATURES
from postil.dataset.read import read
from postil.errors import FileError

TRAPS = Path(__file__).parents[1] / "traps"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0"
WEBP = b"RIFF\x24\0\0\0WEBPVP8 " + bytes(40)


def packed(*names: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in names:
            archive.writestr(name, b"x" * 100)
    return made.getvalue()


FOREIGN = {
    "PNG": (PNG, "file_is_image"),
    "JPEG": (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "file_is_image"),
    "GIF": (b"GIF89a\1\0\1\0", "file_is_image"),
    "WebP": (WEBP, "file_is_image"),
    "bitmap": (b"BM\x46\0\0\0\0\0", "file_is_image"),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0", "file_is_image"),
    "SVG": (b'<?xml version="1.0"?>\n<svg xmlns="x"></svg>', "file_is_image"),
    "bare SVG": (b'\xef\xbb\xbf<!-- drawn -->\n<svg viewBox="0 0 1 1"/>', "file_is_image"),
    "PDF": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "file_is_pdf"),
    "MP4": (b"\0\0\0\x20ftypisom\0\0\2\0", "file_is_media"),
    "MKV": (b"\x1aE\xdf\xa3\1\0\0", "file_is_media"),
    "WAV": (b"RIFF\x24\0\0\0WAVEfmt \x10\0", "file_is_media"),
    "AVI": (b"RIFF\x24\0\0\0AVI LIST\0\0", "file_is_media"),
    "MP3": (b"ID3\3\0\0\0\0", "file_is_media"),
    "bare MP3": (b"\xff\xfb\x90\0" + bytes(60), "file_is_media"),
    "zip": (packed("a.png", "b.png"), "file_is_archive"),
    "tar": (b"a.csv" + bytes(252) + b"ustar\0", "file_is_archive"),
    "gzip": (b"\x1f\x8b\x08\0\0\0\0\0", "file_is_archive"),
    "rar": (b"Rar!\x1a\7\1\0", "file_is_archive"),
    "EXE": (b"MZ\x90\0\3\0\0\0", "file_is_program"),
    "ELF": (b"\x7fELF\2\1\1\0", "file_is_program"),
    "Mach-O": (b"\xcf\xfa\xed\xfe\7\0\0\1", "file_is_program"),
    "wasm": (b"\0asm\1\0\0\0", "file_is_program"),
    "Word": (packed("word/document.xml"), "file_is_word"),
    "slides": (packed("ppt/slides/slide1.xml"), "file_is_word"),
    "old Word": (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(PIECE - 20) + "WordDocument".encode("utf-16-le"),
        "file_is_word",
    ),
    "SQLite": (b"SQLite format 3\0", "file_is_database"),
    "GGUF": (b"GGUF\3\0\0\0", "file_not_text"),
}


@pytest.mark.parametrize("name", ["a.png", "a.csv", "a.xlsx", "a"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_no_data_is_refused_by_its_content(tmp_path: Path, kind: str, name: str) -> None:
    content, code = FOREIGN[kind]
    path = tmp_path / name
    path.write_bytes(content)
    for look in (lambda: require_data(path, "照片"), lambda: read(path)):
        with pytest.raises(FileError) as refused:
            look()
        assert refused.value.code == code
    for lang in ("en", "zh"):
        assert refused.value.remedy(lang)


def books(directory: Path) -> dict[str, Path]:
    """Real files of every kind that is data."""
    book = openpyxl.Workbook()
    book.active.append(["q", "a"])
    book.active.append(["WordDocument", "word/ and ppt/"])
    book.save(directory / "book.xlsx")
    pyarrow.parquet.write_table(pyarrow.table({"q": ["x"], "a": ["y"]}), directory / "p.parquet")
    for name, content in {
        "begins.csv": "BM,回答\n%PDF,x\n",
        "mz.csv": "MZ 型号,回答\n几天到,三天\n",
        "id3.csv": "ID3,回答\na,b\n",
        "pk.csv": "P K,回答\na,b\n",
        "otto.txt": "OTTO: hi\n",
        "flv.csv": "FLV,a\n",
        "web.xls": "<html><table></table>",
        "riff.csv": "RIFF chunks,WEBP?\na,b\n",
        "svg.csv": "what is <svg>?,a picture\n",
    }.items():
        (directory / name).write_text(content, "utf-8")
    (directory / "wide.csv").write_bytes("\ufeff问题,回答\n怎么退,点退货\n".encode("utf-16"))
    (directory / "gb.csv").write_bytes("问题,回答\n怎么退,点退货\n".encode("gb18030"))
    return {path.name: path for path in directory.iterdir()}


def test_what_is_data_stays_welcome(tmp_path: Path) -> None:
    for path in (*books(tmp_path).values(), *(one for one in TRAPS.iterdir() if one.suffix not in (".py", ".pyc"))):
        if path.is_file():
            require_data(path)


@pytest.mark.parametrize(("place", "start"), [(place, start) for place, start, _ in SIGNATURES])
def test_a_text_that_happens_to_begin_so_is_a_text(tmp_path: Path, place: int, start: bytes) -> None:
    if not (start.isascii() and start.decode().isprintable()) or start in PLAIN:
        return  # no text begins with it
    path = tmp_path / "a.csv"
    path.write_bytes(b"x" * place + start + ",回答\n几天到,三天\n".encode())
    require_data(path)
