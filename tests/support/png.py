"""Make a picture of the screen small: PNG of 256 colours (ISO/IEC 15948)."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def read_size(png: bytes) -> tuple[int, int]:
    """Return the width and height of a picture."""
    assert png.startswith(_SIGNATURE)
    width, height = struct.unpack(">II", png[16:24])
    return int(width), int(height)


def shrink_png(png: bytes) -> bytes:
    """Return the picture with its 256 most used colours; it has three bytes for each pixel."""
    width, height = read_size(png)
    assert png[24:26] == b"\x08\x02", "eight bits for each of red, green and blue"
    pixels = [
        [bytes(row[at : at + 3]) for at in range(0, 3 * width, 3)]
        for row in _decode(png, width, height)
    ]
    counts = Counter(pixel for row in pixels for pixel in row)
    palette = [color for color, _ in counts.most_common(256)]
    places = {color: place for place, color in enumerate(palette)}
    for color in counts:
        if color not in places:
            near = min(
                palette, key=lambda one: sum(abs(a - b) for a, b in zip(one, color, strict=True))
            )
            places[color] = places[near]
    rows = b"".join(b"\0" + bytes(places[pixel] for pixel in row) for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = ((b"IHDR", head), (b"PLTE", b"".join(palette)), (b"IDAT", zlib.compress(rows, 9)))
    return _SIGNATURE + b"".join(_chunk(*part) for part in (*parts, (b"IEND", b"")))


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + check


def _decode(png: bytes, width: int, height: int) -> Iterator[bytearray]:
    """Yield the rows of a picture, with their filters undone (section 9 of the standard)."""
    place, packed = len(_SIGNATURE), b""
    while place < len(png):
        size, kind = struct.unpack(">I4s", png[place : place + 8])
        if kind == b"IDAT":
            packed += png[place + 8 : place + 8 + size]
        place += 12 + size
    data = zlib.decompress(packed)
    above = bytearray(3 * width)
    for number in range(height):
        start = number * (3 * width + 1)
        row = bytearray(data[start + 1 : start + 1 + 3 * width])
        for at in range(len(row)):
            left, corner = (row[at - 3], above[at - 3]) if at > 2 else (0, 0)
            row[at] = (row[at] + _predict(data[start], left, above[at], corner)) & 255
        yield row
        above = row


def _predict(kind: int, left: int, above: int, corner: int) -> int:
    if kind < 4:
        return (0, left, above, (left + above) // 2)[kind]
    guess = left + above - corner
    return min((left, above, corner), key=lambda each: abs(guess - each))
