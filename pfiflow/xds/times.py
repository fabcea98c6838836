"""HL7 v3 time stamps (TS) as XDS DTM digits."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pfiflow.errors import ConfigError

__all__ = ["PARIS", "dtm", "utc"]

_TS = re.compile(r"([0-9]{4,14})(?:\.[0-9]{1,6})?(?:([+-])([0-9]{2}):?([0-9]{2})?|(Z))?")
_DATES = (4, 6, 8)  # digits of a year, a month, a day: no instant
_TIMES = (10, 12, 14)
_FIELDS = ((0, 4), (4, 6), (6, 8), (8, 10), (10, 12), (12, 14))

_SEPARATORS = str.maketrans("", "", "-:T")

PARIS = "Europe/Paris"
"""The zone of a time stamp that names none."""


def dtm(value: str, *, time_zone: str = PARIS) -> str:
    """The digits of an HL7 v3 TS in UTC, at the precision written; "" when `value` is no time stamp.

    A date (or year, or month) has no instant and stays as it is. A time without offset is local time in
    `time_zone` (in the repeated hour of autumn, the first one). ITI TF-3 table 4.2.3.1.7-2 asks for UTC; samples of
    the ANS strip the offset without converting, hence `time_zone=""`: keep the digits as written, drop the offset.

    Raises:
        ConfigError: `time_zone` is no zone of the IANA database.
    """
    match = _TS.fullmatch(value.strip())
    if match is None:
        return ""
    digits, sign, hours, minutes, zulu = match.groups()
    precision = len(digits)
    if precision not in _DATES and precision not in _TIMES:
        return ""
    year, month, day, hour, minute, second = (int(digits[start:end] or 0) for start, end in _FIELDS)
    try:
        moment = datetime(year, month or precision < 6, day or precision < 8, hour, minute, second)  # noqa: DTZ001
    except ValueError:
        return ""
    if not time_zone or precision in _DATES or zulu:
        return digits
    zone: tzinfo
    if sign:
        offset = timedelta(hours=int(hours), minutes=int(minutes or 0))
        if offset >= timedelta(hours=24):
            return ""
        zone = timezone(-offset if sign == "-" else offset)
        if offset % timedelta(hours=1):
            precision = max(precision, 12)
    else:
        zone = _zone(time_zone)
    try:
        return _digits(moment.replace(tzinfo=zone))[:precision]
    except OverflowError:
        return ""


def utc(moment: datetime) -> str:
    """`yyyymmddhhmmss` in UTC of an aware datetime. A naive one is a defect of the caller: ValueError."""
    if moment.tzinfo is None:
        raise ValueError("the submission time needs a time zone")
    return _digits(moment)


def _digits(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()[:19].translate(_SEPARATORS)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)  # keeps what it has loaded
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigError(
            f"unknown time zone {name!r}",
            code="time-zone",
            hint="Use a name of the IANA database (Europe/Paris, Indian/Reunion); the tzdata package provides it.",
        ) from error
