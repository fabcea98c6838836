"""Mutants that change nothing which a run does, each with the reason: they are left out of the count."""

from __future__ import annotations

import re
from typing import Final

from tests.routes.mutants import Mutant

__all__ = ["EQUIVALENT", "equivalent"]

# (file, way, what) as regular expressions → why.
EQUIVALENT: Final[tuple[tuple[str, str, str, str], ...]] = ()


def equivalent(file: str, mutant: Mutant) -> str:
    """Why a mutant is none, or ""."""
    way = ".".join(map(str, mutant.way))
    for of_file, of_way, what, why in EQUIVALENT:
        if re.fullmatch(of_file, file) and re.fullmatch(of_way, way) and re.fullmatch(what, mutant.what):
            return why
    return ""
