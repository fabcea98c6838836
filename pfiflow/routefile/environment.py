"""Files of settings: NAME=value lines, as systemd's EnvironmentFile and `.env.example` have them."""

from __future__ import annotations

from pathlib import Path

from pfiflow.errors import ConfigError

__all__ = ["read_environment"]


def read_environment(path: Path) -> dict[str, str]:
    """The values by name. Empty lines and those that begin with # are skipped; quotes around a value are taken off.

    Raises:
        ConfigError: the file cannot be read, or a line has no `=`.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(f"cannot be read: {reason}.", file=str(path), line=1, column=1, code="file") from None
    values = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        name, sign, value = line.partition("=")
        if not sign:
            raise ConfigError("expected NAME=value.", file=str(path), line=number, column=1, code="environment")
        value = value.strip()
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
        values[name.strip()] = value[1:-1] if quoted else value
    return values
