"""The subject of an XDM mail and the names of its PDFs (Référentiel #2, ECO.2.1.3 and ECO.2.1.6)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from pfiflow.errors import Problem, Rejected

__all__ = ["LABEL_LENGTH", "SUBJECT_PREFIX", "ascii_fold", "pdf_name", "subject"]

SUBJECT_PREFIX = "XDM/1.0/DDM+"
"""What every XDM mail's subject starts with: ITI-32's `XDM/1.0/DDM`, then the French `+`."""

LABEL_LENGTH = 40
"""Most characters of a document's label, in a subject and in a file name."""

_NAME_LENGTH = 60
_LONGEST_INPUT = 500  # bounds the work on hostile display names; far above any rule's length
_WITHOUT_DECOMPOSITION = str.maketrans(
    {
        "Æ": "AE", "æ": "ae", "Œ": "OE", "œ": "oe", "Ø": "O", "ø": "o", "ß": "ss", "ẞ": "SS", "Ł": "L", "ł": "l",
        "Đ": "D", "đ": "d", "Ð": "D", "ð": "d", "Þ": "TH", "þ": "th", "ı": "i", "‘": "'", "’": "'", "ʼ": "'",
        "“": '"', "”": '"', "«": '"', "»": '"', "–": "-", "—": "-", "‐": "-", "‑": "-", "−": "-",
    }
)  # fmt: skip
_FORBIDDEN_IN_NAMES = re.compile(r'[/\\:*?"<>|]')


def ascii_fold(text: str) -> str:
    """`text` in printable ASCII on one line: accents dropped, ligatures spelt out, runs of space made one.

    What has no Latin equivalent is dropped; control characters, line breaks among them, become a space.
    """
    decomposed = unicodedata.normalize("NFKD", text[:_LONGEST_INPUT].translate(_WITHOUT_DECOMPOSITION))
    kept = (" " if c.isspace() or unicodedata.category(c) == "Cc" else c for c in decomposed)
    return " ".join("".join(c for c in kept if " " <= c <= "~").split())


def subject(labels: Sequence[str], *, family: str, given: str, birth_date: str = "") -> str:
    """`XDM/1.0/DDM+<label> <NOM> <prénom> <JJ/MM/AAAA>`, in ASCII (ECO.2.1.3, CONF.25).

    Args:
        labels: the display name of each CDA's `code`. One is cut to 40 characters; several read `N documents`.
        family: birth family name; written in upper case.
        given: first birth given name.
        birth_date: `yyyymmdd`, or longer as in an HL7 TS. Anything else leaves the date out: it is optional.
    """
    label = f"{len(labels)} documents" if len(labels) > 1 else ascii_fold("".join(labels))[:LABEL_LENGTH]
    day = birth_date[:8]
    date = f"{day[6:]}/{day[4:6]}/{day[:4]}" if _is_day(day) else ""
    names = (ascii_fold(family).upper()[:_NAME_LENGTH], ascii_fold(given)[:_NAME_LENGTH])
    return SUBJECT_PREFIX + " ".join(part.strip() for part in (label, *names, date) if part.strip())


def pdf_name(
    act_date: str, type_label: str, family: str, given: str, file_number: str = "", *, ascii_only: bool = False
) -> str:
    """`<yyyymmdd>_<type, at most 40>_<NOM>_<prénom>[_<file number>].pdf` (ECO.2.1.6).

    Characters that file systems refuse, control and invisible characters, and `_` inside a field are taken out.

    Args:
        act_date: start of the documented act, `yyyymmdd` or a longer HL7 TS.
        type_label: display name of the document's type.
        family: birth family name; written in upper case.
        given: first birth given name.
        file_number: the file or stay number, when there is one.
        ascii_only: fold to ASCII, for recipients whose software does not read RFC 2231 names.

    Raises:
        Rejected: `act_date` does not start with eight digits.
    """
    day = act_date[:8]
    if not _is_day(day):
        raise Rejected(
            Problem(
                code="102",
                message="the PDF's name starts with the date of the act, as yyyymmdd; give the document's own date "
                "when the act has none",
                location="documentationOf/serviceEvent/effectiveTime/low",
                rule="REM ECO.2.1.6",
            )
        )
    fields = (
        _field(type_label, ascii_only=ascii_only)[:LABEL_LENGTH],
        _field(family, ascii_only=ascii_only).upper()[:_NAME_LENGTH],
        _field(given, ascii_only=ascii_only)[:_NAME_LENGTH],
        _field(file_number, ascii_only=ascii_only)[:LABEL_LENGTH],
    )
    return "_".join((day, *(part.strip(" .") for part in fields if part.strip(" .")))) + ".pdf"


def _field(text: str, *, ascii_only: bool) -> str:
    text = ascii_fold(text) if ascii_only else unicodedata.normalize("NFC", text[:_LONGEST_INPUT])
    text = _FORBIDDEN_IN_NAMES.sub("", text).replace("_", " ")
    # What is not printable includes the invisible characters that reorder text: a name could show another extension.
    kept = (" " if c.isspace() else c for c in text if c.isspace() or c.isprintable())
    return " ".join("".join(kept).split())


def _is_day(day: str) -> bool:
    return len(day) == 8 and day.isascii() and day.isdigit()
