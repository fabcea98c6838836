"""One engine process a store: an advisory lock on a file beside the database."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from pfiflow.store.api import StoreError, StoreLockedError

__all__ = ["LockFile", "has_open", "holder"]


def _lock_path(store: Path) -> Path:
    return store.with_name(store.name + ".lock")


def holder(store: Path) -> int | None:
    """The id of the process whose engine runs on this store, None when none does. Raises StoreError."""
    try:
        handle = os.open(_lock_path(store), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"cannot open the lock file {_lock_path(store)}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
        if not text.isdigit():
            raise StoreError(f"{_lock_path(store)} does not say which process runs on the store") from None
        return int(text)
    finally:
        os.close(handle)
    return None


def has_open(process: int, store: Path) -> bool:
    """Whether this process has the store's lock file open: a number alone may mean another one, in another container.

    True where the system does not tell (no /proc). Raises StoreError when it may not be asked.
    """
    if not Path("/proc/self/fd").is_dir():
        return True
    try:
        lock = _lock_path(store).stat()
        for name in os.listdir(f"/proc/{process}/fd"):  # noqa: PTH208
            with suppress(FileNotFoundError):
                found = os.stat(f"/proc/{process}/fd/{name}")  # noqa: PTH116 - of the file, not of the link
                if (found.st_dev, found.st_ino) == (lock.st_dev, lock.st_ino):
                    return True
    except FileNotFoundError:
        return False
    except PermissionError:
        raise StoreError(f"process {process} is another user's: ask as that user, or as root") from None
    return False


class LockFile:
    """`flock` on `<path>.lock`, which names the holder's process id. The kernel frees it when the process dies."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._path = _lock_path(store)
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take the lock. Raises StoreLockedError naming the process that has it, StoreError when it cannot be made."""
        try:
            handle = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"cannot open the lock file {self._path}: {error.strerror}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(handle)
            raise StoreLockedError(
                f"store {self._store} is in use by an engine (process {holder}): stop that one, or give another store"
            ) from None
        except OSError as error:
            os.close(handle)
            raise StoreError(f"cannot lock {self._path}: {error.strerror}") from error
        with suppress(OSError):  # the id is a help to the reader of the error; a full disk must not stop the start
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        self._handle = handle

    def release(self) -> None:
        """Give the lock back. The file stays: removing it would let two processes lock two files of one name."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
