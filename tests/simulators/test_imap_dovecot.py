"""The simulated IMAP server and a real Dovecot get the same commands, and must say the same."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence

import pytest

from pfiflow.endpoints.tls import TlsOptions
from pfiflow.simulators.certificates import Authority
from tests.endpoints.dovecot import reason_not_to_run
from tests.endpoints.imap_servers import ImapServer, serving

pytestmark = pytest.mark.skipif(bool(reason_not_to_run()), reason=reason_not_to_run() or "Dovecot runs")

USER = "pfi@hopital.test"
MAILS = (
    b"""\
From: Alice <alice@cabinet.test>
To: pfi@hopital.test
Subject: first
Date: Mon, 2 Mar 2026 10:00:00 +0100

One line.
Another.
""",
    b"From: Bob <bob@cabinet.test>\nSubject: =?utf-8?q?=C3=A9t=C3=A9?=\nX-Folded: a\n b\n\nSecond.\n",
    b"Subject: third\n\n",
    b"Subject: fourth\n\nLonger.\n" + b"x" * 70 + b"\n" * 40,
)


class Client:
    """Speaks IMAP by hand."""

    def __init__(self, server: ImapServer, tls: TlsOptions) -> None:
        plain = socket.create_connection(("localhost", server.tls_port), timeout=20)
        self._socket = tls.client_context().wrap_socket(plain, server_hostname="localhost")
        self._reader = self._socket.makefile("rb")
        self._reader.readline()

    def say(self, command: bytes) -> tuple[bytes, ...]:
        """One command (a literal's bytes after its line); untagged answers with their literals, and the tagged one."""
        line, *rest = command.split(b"\n", 1)
        self._socket.sendall(b"t " + line + b"\r\n")
        told: list[bytes] = []
        while True:
            answer = self._reader.readline()
            if answer.startswith(b"+"):
                self._socket.sendall(rest[0] + b"\r\n")
                continue
            while found := re.search(rb"\{(\d+)\}\r\n$", answer):
                answer += self._reader.read(int(found[1])) + self._reader.readline()
            assert answer, command
            told.append(answer)
            if answer.startswith(b"t "):
                return tuple(told)

    def close(self) -> None:
        self._reader.close()
        self._socket.close()


def essence(answers: Sequence[bytes]) -> list[str]:
    """Without what may differ: words, the order of untagged answers, UIDVALIDITY, what no client needs."""
    kept = []
    for each in answers:
        if b"HIGHESTMODSEQ" in each or each.startswith(b"* CAPABILITY"):
            continue
        text = each.decode("latin-1").removesuffix("\r\n")
        text = re.sub(r"\[(UIDVALIDITY|COPYUID|APPENDUID) \d+", r"[\1 V", text)
        text = re.sub(r"UIDVALIDITY \d+", "UIDVALIDITY V", text)
        text = re.sub(
            r"^(t|\*) (OK|NO|BAD|BYE)( \[[^\]]*\])?.*", lambda m: f"{m[1]} {m[2]}{m[3] or ''}", text, flags=re.DOTALL
        )
        text = re.sub(r"NO \[(?!TRYCREATE)[^\]]*\]", "NO", text)  # Dovecot leaves out most of those of RFC 5530
        text = re.sub(r"\(([^()]*)\)", lambda m: f"({' '.join(sorted(m[1].split()))})", text)  # flags in any order
        kept.append(text)
    *untagged, tagged = kept
    return [*sorted(untagged), tagged]


CONVERSATIONS = {
    "select": [
        b"STATUS INBOX (MESSAGES UIDNEXT UNSEEN)",
        b"SELECT INBOX",
        b"EXAMINE inbox",
        b"SELECT Absent",
        b"FETCH 1 UID",
    ],
    "fetch": [
        b"SELECT INBOX",
        b"FETCH 1:2 (UID RFC822.SIZE)",
        b"UID FETCH 2:* (FLAGS)",
        b"UID FETCH 1 (UID BODY.PEEK[]<0.10>)",
        b"UID FETCH 1 (UID BODY.PEEK[]<100.1000>)",
        b"UID FETCH 1 (UID BODY.PEEK[]<9999.10>)",
        b"UID FETCH 2 BODY.PEEK[HEADER.FIELDS (Subject X-Folded)]",
        b"UID FETCH 2 BODY.PEEK[HEADER.FIELDS.NOT (From)]",
        b"UID FETCH 1 (BODY.PEEK[TEXT] BODY.PEEK[HEADER])",
        b"UID FETCH 99 (UID FLAGS)",
        b"FETCH 99 (UID)",
        b"FETCH 1 (BODY[])",
        b"FETCH 1 (FLAGS)",
        b"UID FETCH 1 (NONSENSE)",
    ],
    "flags": [
        b"SELECT INBOX",
        rb"UID STORE 1 +FLAGS ($PfiflowDone)",
        rb"UID STORE 1 +FLAGS ($pfiflowdone \Flagged)",
        rb"UID STORE 1:2 -FLAGS.SILENT (\Flagged)",
        rb"UID STORE 2 FLAGS (\Seen Other)",
        rb"FETCH 1:2 FLAGS",
        rb"UID SEARCH UNDELETED UNKEYWORD $PfiflowDone",
        rb"UID SEARCH KEYWORD $PFIFLOWDONE",
    ],
    "search": [
        b"SELECT INBOX",
        b"UID SEARCH ALL",
        b"SEARCH UID 2:3",
        b"UID SEARCH UID 9:*",
        b"SEARCH 2:*",
        b"UID SEARCH OR SUBJECT first SUBJECT third",
        b"UID SEARCH NOT SUBJECT first UNSEEN",
        b"UID SEARCH CHARSET UTF-8 SUBJECT {5}\n\xc3\xa9t\xc3\xa9",
        b"UID SEARCH CHARSET KLINGON ALL",
        b"UID SEARCH LARGER 100",
        b"UID SEARCH SMALLER 30",
        b"UID SEARCH FROM bob",
        b"UID SEARCH HEADER X-Folded b",
        b"UID SEARCH BODY line",
        b"UID SEARCH SENTON 2-Mar-2026",
        b"UID SEARCH SENTBEFORE 2-Mar-2026 SUBJECT first",
        b"UID SEARCH SENTBEFORE 3-Mar-2026 SUBJECT first",
        b"UID SEARCH SINCE 1-Jan-2020",
        b"UID SEARCH (1:2 UNFLAGGED) DELETED",
        b"UID SEARCH NONSENSE",
    ],
    "move": [
        b"CREATE Done",
        b"SELECT INBOX",
        b"UID COPY 1 Done",
        b"UID MOVE 2 Absent",
        b"UID MOVE 2 Done",
        b"UID MOVE 99 Done",
        rb"UID STORE 1,3 +FLAGS.SILENT (\Deleted)",
        b"UID EXPUNGE 3",
        b"EXPUNGE",
        b"STATUS Done (MESSAGES UIDNEXT)",
        b"CLOSE",
        b"FETCH 1 UID",
    ],
    "folders": [
        b"CREATE Trait&AOk-s",
        b"CREATE Trait&AOk-s",
        b"CREATE a/b",
        b'LIST "" "*"',
        b'LIST "" "%"',
        b'LIST "" ""',
        b"SUBSCRIBE Trait&AOk-s",
        b'LSUB "" "Trait*"',
        b"APPEND Trait&AOk-s (\\Seen) {12}\nSubject: x\r\n",
        b"STATUS Trait&AOk-s (MESSAGES UNSEEN)",
        b"APPEND Absent {3}\nabc",
        b"RENAME Trait&AOk-s Rest",
        b"DELETE Rest",
        b"DELETE Rest",
        b"DELETE INBOX",
    ],
    "wrong": [
        b"NONSENSE",
        b"FETCH 1 UID",
        b"LOGIN a b",
        b"SELECT",
        b"SELECT INBOX",
        b"UID",
        b"UID NOOP",
        b"NOOP",
        b"LOGOUT",
    ],
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def transcripts(authority: Authority) -> dict[str, dict[str, list[list[str]]]]:
    """Server → conversation → what each command was answered."""
    ours = authority.issue(USER)
    tls = TlsOptions(ca=(authority.certificate,), certificate=ours.certificate, key=ours.key)
    found: dict[str, dict[str, list[list[str]]]] = {}
    for kind in ("dovecot", "simulator"):
        with serving(kind, authority) as server:
            found[kind] = {}
            for name, commands in CONVERSATIONS.items():
                user = f"{name}-{USER}"
                server.deliver(user, *MAILS)
                client = Client(server, tls)
                assert client.say(f"LOGIN {user} any".encode())[-1].startswith(b"t OK")
                found[kind][name] = [essence(client.say(command)) for command in commands]
                client.close()
    return found


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_the_simulator_says_what_dovecot_says(
    transcripts: dict[str, dict[str, list[list[str]]]], conversation: str
) -> None:
    pairs = zip(
        CONVERSATIONS[conversation],
        transcripts["dovecot"][conversation],
        transcripts["simulator"][conversation],
        strict=True,
    )
    for command, real, simulated in pairs:
        assert (command, simulated) == (command, real)
