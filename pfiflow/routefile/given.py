"""Messages that a test gives: read from a file, changed, decoded into a body for a channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pfiflow.errors import PfiflowError
from pfiflow.flow.component import BYTES, BodyType, Registry

__all__ = ["decoded", "prepared"]


def prepared(registry: Registry, content: bytes, *, suffix: str, name: str, changes: Mapping[str, str]) -> bytes:
    """A message as its sender sends it.

    Args:
        registry: the formats.
        content: as the file has it.
        suffix: of the file's name, which tells the format where `name` is empty.
        name: the format's.
        changes: values to set in it, by path.

    Raises:
        ValueError: in words for the author of a test.
    """
    if not name:
        name = next((each.name for each in registry.formats.values() if suffix and suffix in each.suffixes), "")
    if not name:
        if changes:
            raise ValueError("to `set` values, say the `format` of this message")
        return content
    if name not in registry.formats:
        raise ValueError(f"no format is called {name!r}; known: {', '.join(sorted(registry.formats))}")
    chosen = registry.formats[name]
    content = chosen.read(content)
    for path, value in changes.items():
        if chosen.edit is None:
            raise ValueError(f"values of format {name} cannot be set")
        content = chosen.edit(content, path, value)
    return content


def decoded(registry: Registry, content: bytes, *, types: frozenset[Any], name: str) -> Any:
    """The body that a channel gets: of the body type of that name, or of the one among what its writers give.

    Raises:
        ValueError: in words for the author of a test.
    """
    chosen = _body_type(registry, types, name)
    try:
        return chosen.decode(content)
    except PfiflowError as error:
        raise ValueError(f"this is no {chosen.name}: {error}") from None


def _body_type(registry: Registry, types: frozenset[Any], name: str) -> BodyType[Any]:
    if name:
        return registry.body_types[name]
    found = [each for each in registry.body_types.values() if each.type in types]
    if len(found) > 1:
        raise ValueError(f"say the `body-type`, one of {', '.join(sorted(each.name for each in found))}")
    return found[0] if found else BYTES  # into some channels nothing is seen to be written
