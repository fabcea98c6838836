"""Formats: how tests write, change and look into the contents that a flow carries. The engine itself never does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from attrs import frozen

__all__ = ["Format", "Value", "Values"]

Value: TypeAlias = str | bytes
Values: TypeAlias = Sequence[Value]


def _same(content: bytes) -> bytes:
    return content


@frozen
class Format:
    """A kind of content that tests write, look into and change.

    Attributes:
        name: what a test file calls it.
        doc: what it is, one sentence.
        paths: what a path into it looks like, one sentence with examples.
        look: the values at a path. Raises ValueError when the path or the content is none of this format.
        suffixes: endings of files that hold it.
        read: what such a file's bytes stand for (line ends, say).
        edit: the content with the value at a path set. Raises ValueError.
    """

    name: str
    doc: str
    paths: str
    look: Callable[[bytes, str], Values]
    suffixes: tuple[str, ...] = ()
    read: Callable[[bytes], bytes] = _same
    edit: Callable[[bytes, str, str], bytes] | None = None
