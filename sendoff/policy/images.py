"""Images that are served under our own name: checked by their content, and inert.

Of an SVG only shapes, text and gradients are kept, of a PNG only what makes its picture: nothing that could run, load,
link or tell where it was made.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

LARGEST_BYTES = 256 * 1024
"""Bytes of an image file. A larger one would slow down every first page."""

_LARGEST_SIDE = 4_096
_PNG = b"\x89PNG\r\n\x1a\n"
_PICTURE_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"IDAT", b"IEND")

_SVG = "http://www.w3.org/2000/svg"
_SHAPE_NAMES = (
    "svg g defs title desc path rect circle ellipse line polyline polygon text tspan "
    "linearGradient radialGradient stop clipPath mask"
)
_ATTRIBUTE_NAMES = (
    "id viewBox width height x y x1 y1 x2 y2 cx cy r rx ry fx fy dx dy d points transform opacity offset fill "
    "fill-opacity fill-rule stroke stroke-width stroke-opacity stroke-linecap stroke-linejoin stroke-miterlimit "
    "stroke-dasharray stroke-dashoffset stop-color stop-opacity clip-path clip-rule mask font-family font-size "
    "font-weight font-style text-anchor letter-spacing gradientUnits gradientTransform spreadMethod "
    "preserveAspectRatio clipPathUnits maskUnits"
)
_SHAPES, _ATTRIBUTES = frozenset(_SHAPE_NAMES.split()), frozenset(_ATTRIBUTE_NAMES.split())


@dataclass(frozen=True, slots=True)
class InertImage:
    """An image that is safe to serve, and how."""

    content: bytes
    media_type: str
    ending: str


def make_inert(content: bytes) -> InertImage:
    """The image without anything but its picture. Raises ValueError, with a sentence, for what is not a PNG or SVG."""
    if len(content) > LARGEST_BYTES:
        raise ValueError(f"has {len(content):,} bytes; make it {LARGEST_BYTES:,} or less")
    if content.startswith(_PNG):
        return InertImage(_PNG + b"".join(_picture_chunks(content)), "image/png", "png")
    return InertImage(_plain_svg(content), "image/svg+xml", "svg")


def _picture_chunks(content: bytes) -> Iterator[bytes]:
    at, kind = len(_PNG), b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", content[at : at + 8].ljust(8, b"\0"))
        chunk = content[at : at + 12 + length]
        if len(chunk) != 12 + length or zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            raise ValueError("is a damaged PNG; save it again")
        if (at == len(_PNG)) != (kind == b"IHDR"):
            raise ValueError("is a damaged PNG; save it again")
        if kind == b"IHDR" and max(struct.unpack(">II", chunk[8:16])) > _LARGEST_SIDE:
            raise ValueError(f"is larger than {_LARGEST_SIDE:,} pixels; scale it down")
        if kind in _PICTURE_CHUNKS:
            yield chunk
        at += len(chunk)


def _plain_svg(content: bytes) -> bytes:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    # Entities are declared there, and can stand for a million times their size.
    if "\0" in text or "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("is neither a PNG nor an SVG in UTF-8 without a document type; save it as one")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - without a document type there are no entities
    except ElementTree.ParseError as error:
        raise ValueError(f"is neither a PNG nor a well-formed SVG ({error}); save it as one") from None
    if root.tag != f"{{{_SVG}}}svg":
        raise ValueError("is XML, but no SVG; its root must be <svg> with the SVG namespace")
    _strip(root)
    ElementTree.register_namespace("", _SVG)
    return bytes(ElementTree.tostring(root, encoding="utf-8"))


def _strip(element: ElementTree.Element) -> None:
    for name in list(element.attrib):
        if name not in _ATTRIBUTES or not _is_local(element.attrib[name]):
            del element.attrib[name]
    for child in list(element):
        namespace, _, name = child.tag.rpartition("}") if isinstance(child.tag, str) else ("", "", "")
        if namespace == "{" + _SVG and name in _SHAPES:
            _strip(child)
        else:
            element.remove(child)


def _is_local(value: str) -> bool:
    """Whether the value refers to nothing, or to a part of the same file."""
    references = value.lower().replace(" ", "").split("url(")[1:]
    return all(reference.startswith("#") for reference in references)
