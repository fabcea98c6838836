"""Mutants after which every run does the same, each with the reason; hunt.py finds those that give the same flow."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["EQUIVALENT", "why_equivalent"]

EQUIVALENT: Final[tuple[tuple[str, str], ...]] = (
    (r".*\.yaml: routes: items \d and \d swapped", "the order of routes means nothing"),
    (r".*\.enrich\.headers: items \d and \d swapped", "these headers are a set"),
    (
        r"outbound\.yaml: routes\.0\.steps: items [02] and [13] swapped",
        "what a message puts into channels, and its key, are kept only when the whole route accepts it",
    ),
    (
        r"inbound\.yaml: templates\.answer-mail\.steps: items 1 and 2 swapped",
        "two choices that look at two headers, and leave them alone",
    ),
    (
        r"inbound\.yaml: templates\.mailbox\.routes\.0\.steps\.2\.choice: items 0 and 1 swapped",
        "a mail is of one kind: no two of these branches hold",
    ),
)
"""(The mutant as a regular expression, why.)"""

_KEY: Final = re.compile(r".*\.idempotent\.key: '(.*)' → '(.*)'")
_NAMED: Final = re.compile(r'headers(?:\.\w+|\["[^"]*"\])')
_SEPARATOR: Final = "the parts of the key are the same; none of them can be read as the beginning of another"


def why_equivalent(mutant: str) -> str:
    """Why this mutant (`file: way: what`) is none; or ""."""
    key = _KEY.fullmatch(mutant)
    if key is not None and _NAMED.findall(key[1]) == _NAMED.findall(key[2]) and "!(" not in key[2]:
        return _SEPARATOR
    return next((why for pattern, why in EQUIVALENT if re.fullmatch(pattern, mutant)), "")
