"""Reading `multipart/form-data` as it arrives, in any order: the file goes to disk, the fields stay small."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterable
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from sendoff.errors import Invalid
from sendoff.uploads.files.tempfiles import TemporaryFile

FILE = "file"
MOST_PARTS = 20
"""Parts of a form, unknown ones included. Each costs parsing before it is known to be useless."""

LONGEST_FIELD = 4_096
"""Bytes of a field that is no file; it is held in memory."""

_LONGEST_HEADER = 4_096


@dataclass(slots=True)
class Form:
    """The parts other than the bytes of the file."""

    fields: dict[str, str] = field(default_factory=dict)
    has_file: bool = False
    filename: str | None = None
    file_digest: bytes = b""


@dataclass(slots=True)
class _Part:
    name: str
    filename: str | None
    value: bytearray = field(default_factory=bytearray)


async def read_form(body: AsyncIterable[bytes], content_type: str, target: TemporaryFile) -> Form:
    """Reads the body to its end and writes the part `file` to `target`; the caller closes it.

    Raises Invalid if the form is incomplete, has a field twice, too many or too large ones, and what
    `target.write` raises as soon as the file is too large.
    """
    _, options = parse_options_header(content_type)
    try:
        reader = _Reader(options.get(b"boundary", b""))
        async for piece in body:
            for content in reader.feed(piece):
                await target.write(content)
    except FormParserError as error:
        raise Invalid(f"The body is not valid multipart/form-data: {error}.") from None
    return reader.finish()


class _Reader:
    """Collects the parts; of the file's content it only hands on what came with the last piece."""

    def __init__(self, boundary: bytes) -> None:
        if not boundary:
            raise Invalid("The Content-Type names no boundary; let your HTTP client set it.")
        self._form = Form()
        self._digest = hashlib.sha256()
        self._content: list[bytes] = []
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._disposition = b""
        self._part: _Part | None = None
        self._parts = 0
        self._complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": lambda data, start, end: self._header_name.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header_value.extend(data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._take,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
            max_header_size=_LONGEST_HEADER,
        )

    def feed(self, piece: bytes) -> list[bytes]:
        """Parses a piece of the body; what of it belongs to the file."""
        self._parser.write(piece)
        content, self._content = self._content, []
        return content

    def finish(self) -> Form:
        """The form. Raises Invalid if its end is missing: the file may be cut off as well."""
        if not self._complete:
            raise Invalid("The multipart/form-data body is incomplete: its closing boundary is missing.")
        self._form.file_digest = self._digest.digest()
        return self._form

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise Invalid(f"The form has more than {MOST_PARTS} parts.")
        self._disposition = b""

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._disposition.decode("latin-1"))
        name = _text(options.get(b"name", b""))
        filename = options.get(b"filename")
        if name in self._form.fields or (name == FILE and self._form.has_file):
            raise Invalid(f"The form has {name!r} twice.", field=name)
        self._form.has_file |= name == FILE
        self._part = _Part(name, None if filename is None else _text(filename))

    def _take(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        if part is None:
            return
        if part.name == FILE:
            content = data[start:end]
            self._digest.update(content)
            self._content.append(content)
            return
        part.value += data[start:end]
        if len(part.value) > LONGEST_FIELD:
            raise Invalid(f"The field {part.name!r} is longer than {LONGEST_FIELD:,} bytes.", field=part.name)

    def _end_part(self) -> None:
        part, self._part = self._part, None
        if part is None:
            return
        if part.name == FILE:
            self._form.filename = part.filename
        else:
            self._form.fields[part.name] = _text(part.value)

    def _end(self) -> None:
        self._complete = True


def _text(raw: bytes | bytearray) -> str:
    """Browsers send UTF-8; some scripts send Latin-1."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
