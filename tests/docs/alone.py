"""Run a command by itself.

`python alone.py COMMAND…`: in a network of its own (Linux: a user and a network namespace, no rights needed), with a
loopback interface and nothing else. So commands run as the docs write them, ports included, however many pages run at
once, and reach nobody. Where that may not be done (some containers): exit status 77 and a word on standard error.

`python alone.py --terminal COMMAND…`: as in a terminal: a process group of its own, and Ctrl-C works, which it does not
in what a shell starts with `&`.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys
from pathlib import Path

__all__ = ["NOT_ALLOWED"]

NOT_ALLOWED = 77

_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000  # CLONE_NEWUSER, CLONE_NEWNET (sched.h)
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 0x1  # SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP (netdevice(7))


def _leave_the_network() -> None:
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_USER | _NEW_NETWORK) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(any_socket, _GET_FLAGS, request), 16)
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh14x", b"lo", flags | _UP))


def _main(arguments: list[str]) -> None:
    if arguments[0] == "--terminal":
        arguments = arguments[1:]
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    else:
        try:
            _leave_the_network()
        except OSError as error:
            print(f"no network of its own: {error}", file=sys.stderr)
            sys.exit(NOT_ALLOWED)
    os.execvp(arguments[0], arguments)


if __name__ == "__main__":
    _main(sys.argv[1:])
