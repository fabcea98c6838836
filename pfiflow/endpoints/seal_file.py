"""The structure's seal from its files, read again when they change."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from pathlib import Path

from attrs import frozen

from pfiflow.dmp.seal import Seal
from pfiflow.errors import ConfigError, Deferred
from pfiflow.flow.options import Secret, option

__all__ = ["SealFile", "SealOptions"]

_log = logging.getLogger(__name__)
_LARGEST_FILE = 1024 * 1024


@frozen
class SealOptions:
    """Where the seal is: PEM files."""

    certificate: Path = option(doc="The ORG_SIGN certificate ('cachet').", example="org-sign.pem")
    key: Path | None = option(
        default=None, doc="Its private key (RSA); unset when the certificate's file holds it.", example="org-sign.key"
    )
    key_password: Secret | None = option(
        default=None, doc="Opens the private key.", example="${file:/run/secrets/seal-password}"
    )


class SealFile:
    """A seal that follows its files. One that cannot be used is reported, and the former stays in use. Thread-safe."""

    def __init__(self, options: SealOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._stamp: object = None
        self._seal: Seal | None = None

    def current(self) -> Seal:
        """The seal to sign with.

        Raises:
            ConfigError: the files cannot be used, and never could.
            Deferred: the certificate is out of date, or is not one to sign with; replacing the file is enough.
        """
        with self._lock:
            options = self._options
            stamp = tuple(_stamp(path) for path in (options.certificate, options.key) if path is not None)
            if self._seal is None or stamp != self._stamp:
                try:
                    self._seal = self._load()
                except ConfigError as error:
                    if self._seal is None:
                        raise
                    _log.warning("the seal's files changed and cannot be used, the former stay in use: %s", error)
                self._stamp = stamp
            problems = self._seal.problems(datetime.now(UTC))
            if problems:
                reasons = "; ".join(problem.message for problem in problems)
                raise Deferred(f"{reasons} ({options.certificate}); sending resumes by itself", unavailable=True)
            return self._seal

    def _load(self) -> Seal:
        options = self._options
        key = _read(options.key) if options.key is not None else None
        password = options.key_password.reveal().encode() if options.key_password is not None else None
        try:
            return Seal.load(_read(options.certificate), key, password=password)
        except ConfigError as error:
            raise ConfigError(error.message, file=str(options.certificate), code=error.code, hint=error.hint) from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror}", file=str(path), code="seal") from error
    if len(content) > _LARGEST_FILE:
        raise ConfigError(f"larger than {_LARGEST_FILE} bytes", file=str(path), code="seal")
    return content


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return ()
    return (status.st_mtime_ns, status.st_size, status.st_ino)
