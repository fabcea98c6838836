"""YAML 1.2 core schema scalars, and the place of each of their characters in the file.

Core schema (YAML 1.2.2 §10.3.2): only `null`, `true`, `false`, integers and floats are more than text, and only when
written plain. So `on`, `yes`, `22:22`, `1_000` are text, and `2.10` is a number that no text option takes unquoted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TypeAlias

__all__ = ["Core", "core", "source_offset"]

Core: TypeAlias = bool | int | float | str | None

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_TRUES = frozenset({"true", "True", "TRUE"})
_FALSES = frozenset({"false", "False", "FALSE"})
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"[-+]?\.(inf|Inf|INF)")
_NOT_A_NUMBER = frozenset({".nan", ".NaN", ".NAN"})
_LONGEST_NUMBER = 300  # characters; what is longer is no number that an option could mean

_SINGLE_QUOTED = re.compile(r"''|.", re.DOTALL)
_DOUBLE_QUOTED = re.compile(
    r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|\r\n|.)|.",
    re.DOTALL,
)
_WHITE_ESCAPES = frozenset("\r\n\t tnrvfNLP_")  # escapes that stand for white space, or for nothing (a line's end)


def core(text: str) -> Core:
    """The value of a plain scalar. A number too long to be one is infinity, which every option refuses."""
    if text in _NULLS:
        return None
    if text in _TRUES:
        return True
    if text in _FALSES:
        return False
    if text[0] not in "+-.0123456789":
        return text
    return _number(text)


def _number(text: str) -> Core:
    is_integer = _INTEGER.fullmatch(text)
    if is_integer or _FLOAT.fullmatch(text):
        if len(text) > _LONGEST_NUMBER:
            return math.inf
        return int(text) if is_integer else float(text)
    if _OCTAL.fullmatch(text) or _HEXADECIMAL.fullmatch(text):
        return math.inf if len(text) > _LONGEST_NUMBER else int(text, 0)
    if _INFINITY.fullmatch(text):
        return -math.inf if text[0] == "-" else math.inf
    return math.nan if text in _NOT_A_NUMBER else text


def source_offset(raw: str, style: str, value: str, index: int) -> int:
    """Offset in `raw` (a scalar as the file writes it, quotes or block header included) of character `index` of its
    value. Folding only ever changes white space, so the n-th other character of the one is the n-th of the other.
    """
    before = sum(1 for character in value[:index] if not character.isspace())
    spans = list(_characters(raw, style))
    if index < len(value) and not value[index].isspace() and before < len(spans):
        return spans[before][0]
    if not before or not spans:
        return spans[0][0] if spans else 0
    end = spans[min(before, len(spans)) - 1][1]  # just behind the character before, and what white space follows it
    return end + index - len(value[:index].rstrip())


def _characters(raw: str, style: str) -> Iterator[tuple[int, int]]:
    """Where each character that is not white space begins and ends in the scalar's source."""
    if style in {"|", ">"}:
        header = re.match(r"[^\r\n]*(\r\n|\r|\n)?", raw)
        start, pattern = header.end() if header else 0, None
    elif style == "'":
        start, pattern = 1, _SINGLE_QUOTED
    elif style == '"':
        start, pattern = 1, _DOUBLE_QUOTED
    else:
        start, pattern = 0, None
    if pattern is None:
        for offset in range(start, len(raw)):
            if not raw[offset].isspace():
                yield offset, offset + 1
        return
    for match in pattern.finditer(raw, start, max(start, len(raw) - 1)):
        if not _is_white(match[0]):
            yield match.start(), match.end()


def _is_white(written: str) -> bool:
    if written[0] != "\\" or len(written) == 1:
        return written.isspace()
    kind, digits = written[1], written[2:]
    return chr(int(digits, base=16)).isspace() if digits and kind in "xuU" else kind in _WHITE_ESCAPES
