"""A private Dovecot on loopback that imitates an applicative mailbox: own configuration, mailboxes and run folder.

Needs the Debian package `dovecot-imapd` (no service running). As root it serves with the package's users `dovenull` and
`vmail`-like owners; elsewhere it cannot run: its login processes change their user.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Self

from pfiflow.endpoints.tls import CONF_03_SUITES
from pfiflow.simulators.certificates import Authority

__all__ = ["Dovecot", "reason_not_to_run"]

_DOVECOT = "/usr/sbin/dovecot"
_IMAP = "/usr/lib/dovecot/imap"
_START = 60.0  # seconds
_FLAGS = {"D": "\\Draft", "F": "\\Flagged", "P": "Passed", "R": "\\Answered", "S": "\\Seen", "T": "\\Deleted"}

_CONFIGURATION = """\
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/log
protocols = imap
listen = 127.0.0.1
disable_plaintext_auth = yes
ssl = required
ssl_cert = <{certificate}
ssl_key = <{key}
ssl_ca = <{ca}
ssl_require_crl = no
ssl_verify_client_cert = yes
auth_ssl_require_client_cert = yes
auth_mechanisms = plain login
ssl_min_protocol = TLSv1.2
ssl_cipher_list = {suites}
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={folder}/mail/%u
}}
mail_location = maildir:~/Maildir
mailbox_list_index = no
mail_max_userip_connections = 100
first_valid_uid = 1
service imap-login {{
  chroot =
  process_min_avail = 1
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
}}
{more}
"""


def reason_not_to_run() -> str:
    """Why no private Dovecot can be started here; "" when one can."""
    if not Path(_DOVECOT).exists() or not Path(_IMAP).exists():
        return "Dovecot is not installed (Debian package dovecot-imapd)"
    if os.geteuid() != 0:
        return "Dovecot's master needs root"
    return ""


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Dovecot:
    """A context manager: listens at `port` (STARTTLS) and `tls_port` inside, gone outside.

    Args:
        authority: issues the server's certificate; clients need one of it too.
        more: further lines of configuration.
    """

    def __init__(self, authority: Authority, more: str = "") -> None:
        self._authority = authority
        self._more = more
        self._folder = Path(tempfile.mkdtemp(prefix="pfiflow-dovecot-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port, self.tls_port = _free_port(), _free_port()

    @property
    def mail(self) -> Path:
        """The folder with a folder for each login, in which `Maildir` is its mailbox; of user `mail`."""
        return self._folder / "mail"

    def __enter__(self) -> Self:
        folder = self._folder
        folder.chmod(0o755)
        self._owner = pwd.getpwnam("mail")
        (folder / "mail").mkdir()
        os.chown(folder / "mail", self._owner.pw_uid, self._owner.pw_gid)
        server = self._authority.issue("localhost", "127.0.0.1")
        (folder / "dovecot.conf").write_text(
            _CONFIGURATION.format(
                folder=folder,
                certificate=server.certificate,
                key=server.key,
                ca=self._authority.certificate,
                suites=":".join(CONF_03_SUITES),
                user=self._owner.pw_uid,
                group=self._owner.pw_gid,
                port=self.port,
                tls_port=self.tls_port,
                more=self._more,
            )
        )
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start (again), and wait until it answers."""
        with (self._folder / "log").open("ab") as log:  # no pipe: processes that serve a client hold it after the end
            self._process = subprocess.Popen(
                [_DOVECOT, "-F", "-c", f"{self._folder}/dovecot.conf"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        deadline = monotonic() + _START
        while monotonic() < deadline and self._process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                    if connection.recv(4) == b"* OK":
                        return
            except OSError:
                sleep(0.02)
        self.stop()
        raise TimeoutError(f"Dovecot does not answer; log:\n{self.log()}")

    def stop(self) -> None:
        """Kill it, with all that it has started, and every connection."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)  # asked politely, it takes seconds
            self._process.wait(timeout=15)
            self._process = None

    def log(self) -> str:
        """Dovecot's log so far."""
        path = self._folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    # -- mailboxes -------------------------------------------------------------------------------------------------

    def deliver(self, user: str, *mails: bytes, into: str = "INBOX") -> None:
        """Put mails into a folder as a delivery agent does, in their order."""
        folder = self._maildir(user) / ("" if into == "INBOX" else f".{into}")
        for mail in mails:
            name = f"{monotonic():020.9f}.{os.urandom(4).hex()}.localhost"
            path = folder / "tmp" / name
            path.write_bytes(mail)
            self._own(path)
            path.rename(folder / "new" / name)

    def mails(self, user: str, folder: str = "INBOX") -> list[Path]:
        """The files of the mails in a folder, with their flags at the end of their names."""
        path = self._maildir(user) / ("" if folder == "INBOX" else f".{folder}")
        return sorted(p for name in ("new", "cur") if (path / name).is_dir() for p in (path / name).iterdir())

    def subjects(self, user: str, folder: str) -> list[str]:
        """Of the mails in a folder, oldest first."""
        lines = self.doveadm("-f", "tab", "fetch", "-u", user, "hdr.subject", "mailbox", folder).splitlines()
        return lines[1:]

    def subscribed(self, user: str) -> list[str]:
        """The folders that webmails show."""
        return self.doveadm("mailbox", "list", "-u", user, "-s").splitlines()

    def create_folder(self, user: str, folder: str) -> None:
        """Make a folder."""
        self.doveadm("mailbox", "create", "-u", user, folder)

    def delete_folder(self, user: str, folder: str) -> None:
        """Delete a folder with its mails."""
        self.doveadm("mailbox", "delete", "-u", user, folder)

    def empty(self, user: str) -> None:
        """Remove every mail of INBOX, as another client would."""
        self.doveadm("expunge", "-u", user, "mailbox", "INBOX", "all")

    def doveadm(self, *arguments: str) -> str:
        """An administrator's command, such as `mailbox delete -u user Folder`: another client of the mailbox."""
        done = subprocess.run(
            ["/usr/bin/doveadm", "-c", f"{self._folder}/dovecot.conf", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        if done.returncode:
            raise RuntimeError(f"doveadm {arguments[0]}: {done.stderr}")
        return done.stdout

    def flags(self, user: str, folder: str = "INBOX") -> list[Sequence[str]]:
        """Flags and keywords of each mail, in the order of delivery; read in the files, which is quick."""
        names = sorted(path.name for path in self.mails(user, folder))
        letters = [name.rpartition(":2,")[2] if ":2," in name else "" for name in names]
        keywords = _FLAGS | self._keywords(user, folder)
        return [[keywords.get(letter, letter) for letter in each] for each in letters]

    def _keywords(self, user: str, folder: str) -> dict[str, str]:
        """Letter in a file's name → keyword (`dovecot-keywords`: a number from 0 and the keyword on each line)."""
        path = self._maildir(user) / ("" if folder == "INBOX" else f".{folder}") / "dovecot-keywords"
        lines = path.read_text().splitlines() if path.exists() else []
        return {chr(ord("a") + int(number)): keyword for number, keyword in map(str.split, lines)}

    def _maildir(self, user: str) -> Path:
        maildir = self._folder / "mail" / user / "Maildir"
        if not maildir.is_dir():
            for path in (maildir.parent, maildir, maildir / "cur", maildir / "new", maildir / "tmp"):
                path.mkdir(exist_ok=True)
                self._own(path)
        return maildir

    def _own(self, path: Path) -> None:
        os.chown(path, self._owner.pw_uid, self._owner.pw_gid)
