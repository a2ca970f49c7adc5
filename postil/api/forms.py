"""multipart/form-data, read as it comes: fields are few and short, and the file goes straight to the disk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from postil.api.bodies import writable
from postil.api.refusals import refused

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELDS = 32
FIELD_BYTES = 8192
HEADER_BYTES = 16_384
AT_ONCE = 1 << 20
Write = Callable[[bytes], Awaitable[object]]  # takes a piece of the file


@dataclass
class Form:
    """What a form held. `filename` is None when it had no file."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None


async def read_form(headers: Mapping[str, str], stream: AsyncIterator[bytes], name: str, write: Write) -> Form:
    """Read a form whose file part is called `name`; `write` gets that, piece by piece.

    Raises Refused `invalid_form`, `missing_file`.
    """
    kind, options = parse_options_header(headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(boundary) <= 200:
        raise refused("missing_file", param=name)
    reader = _Reader(name)
    parser = MultipartParser(boundary, reader.callbacks(), max_header_size=HEADER_BYTES)
    try:
        async for piece in stream:
            for start in range(0, len(piece), AT_ONCE):
                parser.write(piece[start : start + AT_ONCE])
            await reader.flush(write, AT_ONCE)
        parser.finalize()
    except FormParserError as error:
        raise refused("invalid_form", detail=str(error)[:100]) from None
    except ClientDisconnect:
        raise refused("client_gone") from None
    await reader.flush(write, 1)
    if reader.form.filename is None or not reader.ended:
        raise refused("missing_file", param=name)
    return reader.form


class _Reader:
    """What the parser calls. The file's bytes wait here until they are written by another thread."""

    def __init__(self, file_part: str) -> None:
        self.form = Form()
        self.ended = False
        self._file_part = file_part
        self._waiting: list[bytes] = []
        self._held = 0
        self._header = (bytearray(), bytearray())
        self._disposition = b""
        self._name: str | None = None
        self._value = bytearray()

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin, "on_header_field": self._header_name, "on_header_value": self._header_value,
            "on_header_end": self._header_end, "on_headers_finished": self._headers_finished,
            "on_part_data": self._data, "on_part_end": self._end, "on_end": self._finish,
        }  # fmt: skip

    async def flush(self, write: Write, least: int) -> None:
        """Give the file's bytes on when there are at least so many."""
        if self._held >= least:
            piece, self._waiting, self._held = b"".join(self._waiting), [], 0
            await write(piece)

    def _begin(self) -> None:
        self._disposition, self._name, self._value = b"", None, bytearray()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def _header_end(self) -> None:
        name, value = (bytes(part) for part in self._header)
        self._header = (bytearray(), bytearray())
        if name.lower() == b"content-disposition":
            self._disposition = value

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = _text(options.get(b"name", b""))
        is_file = b"filename" in options or self._name == self._file_part
        if self._name == self._file_part and is_file:
            if self.form.filename is not None:
                raise refused("invalid_form", detail=f"{self._name} x 2")
            self.form.filename = _unescaped(_text(options.get(b"filename", b"upload")))
        elif is_file:
            raise refused("unknown_parameter", param=self._name[:80])
        elif len(self.form.fields) >= FIELDS:
            raise refused("invalid_form", detail=f"> {FIELDS}")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._name == self._file_part:
            self._waiting.append(data[start:end])
            self._held += end - start
            return
        self._value.extend(data[start:end])
        if len(self._value) > FIELD_BYTES:
            raise refused("invalid_form", detail=f"{self._name}: > {FIELD_BYTES}")

    def _end(self) -> None:
        if self._name is not None and self._name != self._file_part:
            self.form.fields[self._name] = _text(bytes(self._value))

    def _finish(self) -> None:
        self.ended = True


def _text(data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise refused("invalid_form", detail="UTF-8") from None
    if not writable(text):
        raise refused("invalid_form", detail="NUL")
    return text


def _unescaped(name: str) -> str:
    """Undo what HTML's form encoding does to a file's name."""
    return name.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")
