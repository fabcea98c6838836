"""A private Postfix on loopback: own configuration, queue and mailboxes in a temporary folder, nothing of the system's.

Needs the Debian package `postfix` (nothing configured, no service running) and root, whose daemons then run as the
package's user `postfix`.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Self

from pfiflow.simulators.certificates import Authority
from tests.endpoints.dovecot import Dovecot

__all__ = ["Postfix", "reason_not_to_run"]

_POSTFIX = "/usr/sbin/postfix"
_DAEMONS = "/usr/lib/postfix/sbin"
_START = 60.0  # seconds

_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
daemon_directory = {daemons}
command_directory = /usr/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {folder}/log/mail.log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = localhost
mydestination =
mynetworks = 127.0.0.1/32
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = hopital.test, cabinet.test
virtual_mailbox_base = {base}
virtual_minimum_uid = 1
virtual_mailbox_maps = texthash:{folder}/etc/mailboxes
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
smtpd_recipient_restrictions = check_recipient_access texthash:{folder}/etc/access, permit
smtpd_relay_restrictions = reject_unauth_destination
smtpd_tls_security_level = encrypt
smtpd_tls_ask_ccert = yes
smtpd_tls_req_ccert = yes
smtpd_tls_loglevel = 1
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_tls_CAfile = {ca}
message_size_limit = 30000000
mailbox_size_limit = 0
virtual_mailbox_limit = 0
"""
_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


def reason_not_to_run() -> str:
    """Why no private Postfix can be started here; "" when one can."""
    if not Path(_POSTFIX).exists():
        return "Postfix is not installed (Debian package postfix)"
    if os.geteuid() != 0:
        return "Postfix's master needs root"
    return ""


class Postfix:
    """A context manager: listens at `port` inside, gone outside.

    Args:
        authority: issues the server's certificate; clients need one of it too.
        mailboxes: the addresses that exist, in `hopital.test` and `cabinet.test`.
        access: address → what RCPT answers for it (`450 4.2.1 later`).
        into: the Dovecot in whose mailboxes the mails are delivered; None keeps them in maildirs of its own.
    """

    def __init__(
        self, authority: Authority, mailboxes: tuple[str, ...], access: dict[str, str], *, into: Dovecot | None = None
    ) -> None:
        self._into = into
        self._authority = authority
        self._mailboxes = mailboxes
        self._access = access
        self._folder = Path(tempfile.mkdtemp(prefix="pfiflow-postfix-"))
        self.port = 0

    def __enter__(self) -> Self:
        folder = self._folder
        user = pwd.getpwnam("postfix")
        folder.chmod(0o755)  # the daemons run as another user
        for name in ("etc", "queue", "data", "log", "mailboxes"):
            (folder / name).mkdir()
        for name in ("data", "mailboxes"):
            os.chown(folder / name, user.pw_uid, user.pw_gid)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        base, owner, below = folder / "mailboxes", user, ""
        if self._into is not None:
            base, owner, below = self._into.mail, pwd.getpwnam("mail"), "Maildir/"
            for address in self._mailboxes:
                self._into.deliver(address)
        server = self._authority.issue("localhost", "127.0.0.1")
        (folder / "etc/main.cf").write_text(
            _MAIN.format(
                folder=folder,
                daemons=_DAEMONS,
                base=base,
                uid=owner.pw_uid,
                gid=owner.pw_gid,
                certificate=server.certificate,
                key=server.key,
                ca=self._authority.certificate,
            )
        )
        (folder / "etc/master.cf").write_text(_MASTER.format(port=self.port))
        (folder / "etc/mailboxes").write_text("".join(f"{name} {name}/{below}\n" for name in self._mailboxes))
        (folder / "etc/access").write_text("".join(f"{name} {answer}\n" for name, answer in self._access.items()))
        try:
            self._command("start")
            self._wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        subprocess.run([_POSTFIX, "-c", f"{self._folder}/etc", "stop"], capture_output=True, check=False, timeout=30)
        shutil.rmtree(self._folder, ignore_errors=True)

    def mails(self, address: str, *, holding: bytes = b"", count: int = 1, patience: float = 60) -> list[bytes]:
        """The mails delivered to `address` that hold these bytes, once there are `count`."""
        folder = self._folder / "mailboxes" / address / "new"
        deadline = monotonic() + patience
        while monotonic() < deadline:
            mails = (path.read_bytes() for path in sorted(folder.iterdir())) if folder.is_dir() else ()
            if len(found := [mail for mail in mails if holding in mail]) >= count:
                return found
            sleep(0.05)
        raise TimeoutError(f"{address} has no {count} such mails; log:\n{self.log()}")

    def log(self) -> str:
        """Postfix's log so far."""
        path = self._folder / "log/mail.log"
        return path.read_text() if path.exists() else ""

    def quiet_log(self) -> str:
        """The log once each connection that it tells of has ended."""
        deadline = monotonic() + _START
        while monotonic() < deadline:
            log = self.log()
            if log.count("]: connect from ") == log.count("]: disconnect from "):
                return log
            sleep(0.02)
        raise TimeoutError("a connection to Postfix does not end")

    def _command(self, command: str) -> None:
        done = subprocess.run(
            [_POSTFIX, "-c", f"{self._folder}/etc", command], capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode:
            raise RuntimeError(f"postfix {command}: {done.stderr}\n{self.log()}")

    def _wait(self) -> None:
        deadline = monotonic() + _START
        while monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                    if connection.recv(3) == b"220":
                        return
            except OSError:
                sleep(0.05)
        raise TimeoutError(f"Postfix does not answer; log:\n{self.log()}")
