"""A one-page PDF/A-1b made by hand, of any size: what synthetic documents encapsulate.

Text is drawn in a Type 3 font of 5 by 7 dots that is part of the file, so that it reads, extracts and conforms without
any font of anybody's. The size comes from a stream that no page shows, of bytes that do not compress, as real
documents do not.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

__all__ = ["GLYPHS", "pdf"]

GLYPHS = {
    "A": "0E11111F111111", "B": "1E11111E11111E", "C": "0E11101010110E", "D": "1E11111111111E", "E": "1F10101E10101F",
    "F": "1F10101E101010", "G": "0E11101711110E", "H": "1111111F111111", "I": "0E04040404040E", "J": "0702020202120C",
    "K": "11121418141211", "L": "1010101010101F", "M": "111B1515111111", "N": "11191513111111", "O": "0E11111111110E",
    "P": "1E11111E101010", "Q": "0E11111115120D", "R": "1E11111E141211", "S": "0F10100E01011E", "T": "1F040404040404",
    "U": "1111111111110E", "V": "11111111110A04", "W": "11111115151B11", "X": "11110A040A1111", "Y": "11110A04040404",
    "Z": "1F01020408101F", "0": "0E11131519110E", "1": "040C040404040E", "2": "0E11010608101F", "3": "1E01010E01011E",
    "4": "02060A121F0202", "5": "1F101E0101110E", "6": "0608101E11110E", "7": "1F010204080808", "8": "0E11110E11110E",
    "9": "0E11110F01020C", "-": "0000001F000000", ".": "00000000000C0C", ":": "000C0C000C0C00", "/": "01010204081010",
    " ": "00000000000000",
}  # fmt: skip
"""Character → seven rows of five dots, two hexadecimal digits a row, top first."""

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_NAMES = {"-": "hyphen", ".": "period", ":": "colon", "/": "slash", " ": "space"}
_NAMES |= {str(digit): name for digit, name in enumerate(_DIGITS)}
_PAGE = (
    b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F 6 0 R>>"
    b"/ColorSpace<</Gray[/CalGray<</WhitePoint[0.9505 1 1.089]>>]>>>>>>"
)
_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:pdfaid="http://www.aiim.org/pdfa/ns/id/" pdfaid:part="1" pdfaid:conformance="B"/>
</rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>""".encode()


def pdf(lines: Sequence[str], *, size: int = 0, seed: int = 0) -> bytes:
    """A PDF/A-1b page with `lines` (shown in capitals; what GLYPHS lacks shows as a space).

    `size` in bytes is met to a few bytes, or exceeded when the page alone is larger. Same arguments, same bytes.
    """
    codes = {character: 33 + place for place, character in enumerate(GLYPHS)}
    objects = [
        b"<</Type/Catalog/Pages 2 0 R/Metadata 5 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        _PAGE,
        _stream(b"", _page(lines, codes)),
        _stream(b"/Type/Metadata/Subtype/XML", _XMP),
        _font(codes, first_glyph=8),
        b"<<>>",  # replaced by the padding
        *(_stream(b"", _glyph(rows)) for rows in GLYPHS.values()),
    ]
    head = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"
    base = sum(map(len, _file(head, objects)))
    missing = size - base
    if missing > 0:
        objects[6] = _stream(b"", random.Random(seed).randbytes(max(0, missing - 40)))  # noqa: S311 - no secret
    return b"".join(_file(head, objects))


def _file(head: bytes, objects: Sequence[bytes]) -> list[bytes]:
    parts, offsets, position = [head], [], len(head)
    for number, body in enumerate(objects, 1):
        offsets.append(position)
        wrapped = (b"%d 0 obj\n" % number, body, b"\nendobj\n")
        parts += wrapped
        position += sum(map(len, wrapped))
    count = len(objects) + 1
    parts.append(b"xref\n0 %d\n0000000000 65535 f \n" % count)
    parts += [b"%010d 00000 n \n" % offset for offset in offsets]
    identity = b"%032x" % (position + count)
    parts.append(
        b"trailer\n<</Size %d/Root 1 0 R/ID[<%s><%s>]>>\nstartxref\n%d\n%%%%EOF\n"
        % (count, identity, identity, position)
    )
    return parts


def _stream(entries: bytes, data: bytes) -> bytes:
    return b"".join((b"<<%s/Length %d>>stream\n" % (entries, len(data)), data, b"\nendstream"))


def _page(lines: Sequence[str], codes: dict[str, int]) -> bytes:
    shown = ["".join(f"{codes.get(character, codes[' ']):02X}" for character in line.upper()) for line in lines[:50]]
    body = "".join(f"<{text}> Tj T*\n" for text in shown)
    return f"/Gray cs 0 sc\nBT /F 12 Tf 14 TL 50 780 Td\n{body}ET".encode("ascii")


def _font(codes: dict[str, int], *, first_glyph: int) -> bytes:
    names = {character: _NAMES.get(character, character) for character in codes}
    procedures = "".join(f"/{names[c]} {first_glyph + place} 0 R" for place, c in enumerate(codes))
    differences = "".join(f"/{names[c]}" for c in codes)
    widths = " ".join(["60"] * len(codes))
    return (
        f"<</Type/Font/Subtype/Type3/FontBBox[0 0 60 80]/FontMatrix[0.01 0 0 0.01 0 0]/Resources<<>>"
        f"/CharProcs<<{procedures}>>/Encoding<</Type/Encoding/Differences[33{differences}]>>"
        f"/FirstChar 33/LastChar {32 + len(codes)}/Widths[{widths}]>>"
    ).encode("ascii")


def _glyph(rows: str) -> bytes:
    dots = bytes(row << 3 for row in bytes.fromhex(rows))
    return b"60 0 0 0 60 80 d1\n50 0 0 70 0 0 cm\nBI /W 5 /H 7 /IM true /D [1 0] ID " + dots + b"\nEI"
