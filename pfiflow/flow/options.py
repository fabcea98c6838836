"""The option specification: one typed declaration per component feeds schema, lint, defaults, secrets, docs.

An options class is a frozen attrs class whose fields are made with `option(...)`:

    @frozen
    class FileOutOptions:
        directory: Path = option(doc="Where files are written.", example="/var/spool/pfiflow")
        keep: Duration = option(default=86400.0, doc="How long a file is kept.")

Field types that a route file can write: str, int, float, bool, `Path`, `Duration`, `Size`, `Address`, `Secret`,
`Expression`, Literal[...], `X | None`, tuple[X, ...], Mapping[str, X], and another options class (a nested mapping).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NewType, cast

import attrs
from attrs import frozen

__all__ = [
    "Address",
    "Duration",
    "Range",
    "Secret",
    "Size",
    "is_secret",
    "option",
    "parse_address",
    "parse_duration",
    "parse_size",
]

Duration = NewType("Duration", float)
"""Seconds. Written with a unit in route files: `250ms`, `30s`, `5m`, `2h`, `7d`."""

Size = NewType("Size", int)
"""Bytes. Written with a unit in route files: `512B`, `64KiB`, `25MB`, `1GiB`."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+)(B|kB|KiB|MB|MiB|GB|GiB)")
_SIZE_UNITS = {"B": 1, "kB": 10**3, "KiB": 2**10, "MB": 10**6, "MiB": 2**20, "GB": 10**9, "GiB": 2**30}


@frozen
class Address:
    """A TCP address `host:port`; IPv6 hosts in brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Secret:
    """A secret value: prints as `***`; `reveal()` gives it, at the last moment, to the protocol library."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def parse_duration(text: str) -> Duration:
    """Seconds from `250ms`, `30s`, `5m`, `2h`, `7d`. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        msg = "expected a duration with its unit, such as 250ms, 30s, 5m, 2h or 7d"
        raise ValueError(msg)
    return Duration(float(match[1]) * _DURATION_UNITS[match[2]])


def parse_size(text: str) -> Size:
    """Bytes from `512B`, `64KiB`, `25MB`, `1GiB`. Raises ValueError."""
    match = _SIZE.fullmatch(text)
    if match is None:
        msg = "expected a size with its unit, such as 512B, 64KiB, 25MB or 1GiB"
        raise ValueError(msg)
    return Size(int(match[1]) * _SIZE_UNITS[match[2]])


def parse_address(text: str) -> Address:
    """Address from `host:port` or `[v6]:port`. Port 0 asks the system for a free one. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        msg = "expected host:port, such as 127.0.0.1:2575 or [::1]:2575"
        raise ValueError(msg)
    return Address(host, int(port))


@frozen
class Range:
    """Validator of a number: at least `minimum`, at most `maximum`, more than `above`. None passes."""

    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None

    def __call__(self, _instance: object, _attribute: object, value: float | None) -> None:
        """Raises ValueError in words that a route file's author understands."""
        if value is None:
            return
        if self.above is not None and not value > self.above:
            raise ValueError(f"must be more than {self.above:g}")
        if self.minimum is not None and not value >= self.minimum:
            raise ValueError(f"must be at least {self.minimum:g}")
        if self.maximum is not None and not value <= self.maximum:
            raise ValueError(f"must be at most {self.maximum:g}")


def option(
    *,
    doc: str,
    default: object = attrs.NOTHING,
    example: object = None,
    validator: Callable[[Any, Any, Any], None] | None = None,
) -> Any:
    """An attrs field that is an option: `doc` is one sentence, `example` a value as a route file writes it.

    Without `default`, the option is required. A mutable default is given as `attrs.Factory(...)`. A `validator` raises
    ValueError, which the route file's author reads at the option's place; a `Range` is written into the schema too.
    """
    return attrs.field(
        default=cast("Any", default), metadata={"doc": doc, "example": example}, kw_only=True, validator=validator
    )


def is_secret(annotation: object) -> bool:
    """Whether this resolved field type holds a secret: it then takes a reference only (`${env:…}`, `${file:…}`)."""
    return annotation is Secret or Secret in getattr(annotation, "__args__", ())
