"""Where the files that ship beside the code are: in the wheel under `pfiflow/`, in a checkout at its root."""

from __future__ import annotations

from pathlib import Path

from pfiflow.errors import ConfigError

__all__ = ["route_path", "schema_path"]

_PACKAGE = Path(__file__).parent


def schema_path(name: str) -> Path:
    """The path of a file of `schemas/`, such as `cda-header.xsd`. Raises ConfigError when it is not there."""
    return _find("schemas", name)


def route_path(name: str) -> Path:
    """The path of a file of `routes/`, such as `outbound.yaml`. Raises ConfigError when it is not there."""
    return _find("routes", name)


def _find(folder: str, name: str) -> Path:
    if Path(name).name != name:
        raise ConfigError(f"{name!r} is not the name of a file of {folder}/", code="resource")
    places = (_PACKAGE / f"_{folder}" / name, _PACKAGE.parent / folder / name)
    for place in places:
        if place.is_file():
            return place
    hint = f"Looked at {' and '.join(map(str, places))}: is pfiflow installed completely?"
    raise ConfigError(f"{folder}/{name} is missing", code="resource", hint=hint)
