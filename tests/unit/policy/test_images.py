"""Logos: of an image only its picture is kept."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendoff.policy.images import LARGEST_BYTES, make_inert


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(*more: bytes, width: int = 1) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0\0"))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + pixels + chunk(b"IEND", b"")


def test_of_a_png_only_its_picture_is_kept() -> None:
    made = make_inert(png(chunk(b"tEXt", b"Author\0Ada"), chunk(b"eXIf", b"place")) + b"<script>")
    assert (made.content, made.media_type, made.ending) == (png(), "image/png", "png")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png(width=5_000), "pixels"),
        (png()[:-6], "damaged"),
        (png().replace(b"IDAT", b"IDAU"), "damaged"),
        (b"\x89PNG\r\n\x1a\n" + chunk(b"IEND", b""), "damaged"),
        (b"GIF89a", "neither"),
        (b"\xff\xd8\xff", "neither"),
        (b"<svg>", "neither"),
        (b"<svg/>", "namespace"),
        (b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "b">]><svg/>', "document type"),
        ("<svg/>".encode("utf-16"), "neither"),
        (b"<svg" + b" " * LARGEST_BYTES, "bytes"),
    ],
)
def test_an_unusable_image_is_refused_with_the_reason(content: bytes, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        make_inert(content)


@pytest.mark.parametrize(
    "part",
    [
        "<script>alert(1)</script>",
        "<style>*{background:url(//evil)}</style>",
        '<a href="javascript:evil()"><rect/></a>',
        '<image href="//evil"/>',
        '<use xlink:href="//evil#x" xmlns:xlink="http://www.w3.org/1999/xlink"/>',
        '<rect onclick="evil()"/>',
        '<rect fill="url(//evil#a)"/>',
        '<rect fill="u r l ( //evil )"/>',
        "<foreignObject><p>evil</p></foreignObject>",
        '<animate attributeName="href" to="evil"/>',
        "<?evil?><!-- evil -->",
        '<svg:script xmlns:svg="http://www.w3.org/2000/svg">evil</svg:script>',
    ],
)
def test_of_an_svg_nothing_is_kept_that_could_run_or_load(part: str) -> None:
    made = make_inert(f'<svg xmlns="http://www.w3.org/2000/svg"><g id="a">{part}<circle r="3"/></g></svg>'.encode())
    assert b'<circle r="3"' in made.content
    for forbidden in (b"evil", b"script", b"href", b"style", b"alert"):
        assert forbidden not in made.content


def test_gradients_of_the_same_file_are_kept() -> None:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><rect fill="url(#g)" /></svg>'
    assert make_inert(svg).content == svg


@given(st.binary())
def test_no_bytes_do_anything_but_give_an_image_or_a_reason(content: bytes) -> None:
    for candidate in (content, b"\x89PNG\r\n\x1a\n" + content, b'<svg xmlns="http://www.w3.org/2000/svg">' + content):
        try:
            made = make_inert(candidate)
        except ValueError:
            continue
        assert make_inert(made.content) == made
