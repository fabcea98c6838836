"""One mail over one open SMTP connection: MAIL, RCPT for each recipient, DATA; and what became of each recipient.

aiosmtplib does the protocol's dialogue; the mail's content is written here, to its transport, because its own DATA
passes two regular expressions over every byte. Its exceptions, and the network's, are put into words here, and nowhere
else.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Iterator, Sequence
from typing import Literal

import aiosmtplib
from aiosmtplib.protocol import SMTPProtocol
from attrs import field, frozen

from pfiflow.mssante.address import mask_address, mask_text
from pfiflow.mssante.mime import Content
from pfiflow.mssante.values import OutgoingMail

__all__ = ["FAILURES", "Recipient", "Stage", "StaleConnection", "Transaction", "describe", "xtext"]

Stage = Literal["ADDRESS", "SIZE", "MAIL", "RCPT", "DATA", "CONNECTION"]
"""Where a recipient's fate was decided: before the transaction, at a command, or by the loss of the connection."""

FAILURES = (aiosmtplib.SMTPException, OSError)
"""What aiosmtplib and the network raise; OSError covers TimeoutError, ConnectionError and ssl.SSLError."""

_CHUNK = 128 * 1024
_LONGEST_TEXT = 300
_LONGEST_ENVELOPE_ID = 100  # RFC 3461 §4.4
_ENHANCED_STATUS = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:\s|$)")


@frozen
class Recipient:
    """What became of one recipient. `repr` and `str` mask a patient's address.

    Attributes:
        address: as in the mail.
        code: the SMTP code that decided; 0 when none came.
        status: the enhanced status (RFC 3463), "" when the server gave none.
        text: the server's words, masked, on one line; or ours.
        stage: where it was decided.
    """

    address: str = field(repr=mask_address)
    code: int
    status: str
    text: str
    stage: Stage

    def __str__(self) -> str:
        words = " ".join(filter(None, (str(self.code or ""), self.status, self.text)))
        return f"{mask_address(self.address)}: {words}"


class StaleConnection(Exception):
    """A connection kept from earlier was gone when the next mail's MAIL FROM came; nothing has been transacted."""


class Transaction:
    """One mail's MAIL, RCPT and DATA, and what became of each recipient.

    Attributes:
        outcomes: the recipients decided so far, by address.
        response: the server's answer to the content, masked.
        dot_sent: the end of the content was handed to the network: from here on, no answer means not knowing.
        open: MAIL was accepted and nothing has ended the transaction: it needs RSET.
        broken: the connection cannot serve again.
    """

    def __init__(self, smtp: aiosmtplib.SMTP, mail: OutgoingMail, *, dsn: bool, data_timeout: float) -> None:
        self._smtp = smtp
        self._data_timeout = data_timeout
        self._mail = mail
        self._dsn = dsn and smtp.supports_extension("dsn")
        self.outcomes: dict[str, Recipient] = {}
        self.response = ""
        self.dot_sent = False
        self.open = False
        self.broken = False

    async def run(self, addresses: Sequence[str], *, reused: bool) -> None:
        """Fill `outcomes` for every address."""
        try:
            reply = await self._mail_from()
        except FAILURES as error:
            if reused:
                raise StaleConnection from error
            self._lose(addresses, error)
            return
        if reused and reply.code == 421:
            raise StaleConnection
        if not _succeeded(reply):
            self._decide(addresses, reply, "MAIL")
            return
        self.open = True
        pending: list[str] = []
        try:
            for address in addresses:
                reply = await self._smtp.execute_command(b"RCPT", *self._rcpt_arguments(address))
                if _succeeded(reply):
                    pending.append(address)
                elif reply.code == 421:  # the server is leaving, and with it every recipient of this transaction
                    self._decide([a for a in addresses if a not in self.outcomes], reply, "RCPT")
                    return
                else:
                    self._decide([address], reply, "RCPT", too_many=bool(pending) and reply.code == 552)
            if pending:
                reply = await self._content()
                self.response = self._words(reply, content=True)
                self._decide(pending, reply, "DATA")
        except FAILURES as error:
            self._lose([a for a in addresses if a not in self.outcomes], error)

    async def _mail_from(self) -> aiosmtplib.SMTPResponse:
        mail, smtp = self._mail, self._smtp
        arguments = [f"FROM:<{mail.sender}>"]
        if smtp.supports_extension("size"):
            arguments.append(f"SIZE={len(mail.content)}")
        if self._dsn:
            arguments.append("RET=HDRS")
            envelope_id = xtext(mail.envelope_id)
            if 0 < len(envelope_id) <= _LONGEST_ENVELOPE_ID:
                arguments.append(f"ENVID={envelope_id}")
        return await smtp.execute_command(b"MAIL", *(argument.encode("ascii") for argument in arguments))

    def _rcpt_arguments(self, address: str) -> Iterator[bytes]:
        yield f"TO:<{address}>".encode("ascii")
        if self._dsn and self._mail.notify:
            yield f"NOTIFY={','.join(self._mail.notify)}".encode("ascii")
            yield f"ORCPT=rfc822;{xtext(address)}".encode("ascii")

    async def _content(self) -> aiosmtplib.SMTPResponse:
        reply = await self._smtp.execute_command(b"DATA")
        if reply.code != 354:
            return reply
        protocol = self._smtp.protocol
        if protocol is None:
            raise aiosmtplib.SMTPServerDisconnected("Connection lost")
        self.open = False
        # Listened to from the first byte on: a server may refuse, or leave, before it has read the end.
        answer = asyncio.create_task(protocol.read_response())
        try:
            async with asyncio.timeout(self._data_timeout):
                await self._write(protocol, answer)
                reply = await answer
        except BaseException:
            self.broken = True
            raise
        finally:
            if not answer.done():
                answer.cancel()
            elif not answer.cancelled():
                answer.exception()
        self.broken = reply.code == 421 or not self.dot_sent
        if not self.dot_sent and _succeeded(reply):
            raise aiosmtplib.SMTPException(f"it answered {reply.code} before the end of the content")
        return reply

    async def _write(self, protocol: SMTPProtocol, answer: asyncio.Task[aiosmtplib.SMTPResponse]) -> None:
        content, last = self._mail.content, memoryview(b"")
        for piece in _pieces(content):
            if last:
                protocol.write(last)  # type: ignore[arg-type]
                await protocol._drain_helper()  # the name is asyncio's own contract with protocols (StreamWriter.drain)
                if answer.done():
                    return
            last = piece
        self.dot_sent = True
        ended = isinstance(content, Content) or content.endswith(b"\r\n")
        protocol.write(b"".join((last, b".\r\n" if ended else b"\r\n.\r\n")))
        await protocol._drain_helper()

    def _decide(
        self, addresses: Sequence[str], reply: aiosmtplib.SMTPResponse, stage: Stage, *, too_many: bool = False
    ) -> None:
        words = self._words(reply, content=stage == "DATA")
        found = _ENHANCED_STATUS.match(words)
        status = found[1] if found else ""
        # RFC 5321 §4.5.3.1.10: after accepted recipients, 552 can mean "too many", which is 452 and temporary.
        code = 452 if too_many and status in {"", "5.5.3"} else reply.code
        for address in addresses:
            self.outcomes[address] = Recipient(address, code, status, words.removeprefix(status).strip(), stage)

    def _lose(self, addresses: Sequence[str], error: BaseException) -> None:
        self.broken = True
        words = describe(error, self._mail.recipients)
        if self.dot_sent:
            words = f"unknown whether delivered, the whole mail had been sent: {words}"
        for address in addresses:
            self.outcomes[address] = Recipient(address, 0, "", words, "CONNECTION")

    def _words(self, reply: aiosmtplib.SMTPResponse, *, content: bool) -> str:
        words = _one_line(reply.message, self._mail.recipients)
        if content and _quotes(words, _beginning(self._mail.content)):
            found = _ENHANCED_STATUS.match(words)
            return f"{found[1] if found else ''} (the server's text quotes the mail and is withheld)".strip()
        return words


def xtext(text: str) -> str:
    """RFC 3461 §4 xtext: `+`, `=`, and all but printable ASCII as `+XX`."""
    return "".join(chr(byte) if 33 <= byte <= 126 and byte not in b"+=" else f"+{byte:02X}" for byte in text.encode())


def _succeeded(reply: aiosmtplib.SMTPResponse) -> bool:
    return 200 <= reply.code <= 299


def _pieces(content: bytes | Content) -> Iterator[memoryview]:
    """The content, dot-stuffed, in pieces of 128 kB at most.

    In views: the TLS transport cuts off what it has sent, which copies bytes, the whole rest for every record.
    """
    for part in (content,) if isinstance(content, bytes) else content:
        view = memoryview(_stuffed(part))
        for at in range(0, len(view), _CHUNK):
            yield view[at : at + _CHUNK]


def _beginning(content: bytes | Content) -> bytes:
    return content if isinstance(content, bytes) else next(iter(content))


def _stuffed(raw: bytes) -> bytes:
    """`raw` with each line's leading dot doubled (RFC 5321 §4.5.2); copied only when there is one.

    A dot after a bare CR or LF is doubled as well: no mail has one, but an embedded one could be made to smuggle.
    """
    at = raw.find(b".")  # dots are rare: base64 has none
    while at > 0 and raw[at - 1] not in b"\r\n":
        at = raw.find(b".", at + 1)
    if at < 0:
        return raw
    stuffed = raw.replace(b"\n.", b"\n..").replace(b"\r.", b"\r..")
    return b"." + stuffed if raw.startswith(b".") else stuffed


def _one_line(text: str, addresses: Sequence[str]) -> str:
    printable = "".join(c if c.isprintable() else " " for c in text[: 4 * _LONGEST_TEXT])
    return mask_text(" ".join(printable.split()), addresses)[:_LONGEST_TEXT]


def _quotes(words: str, raw: bytes) -> bool:
    """Whether a server's words repeat a word of the mail's subject: the document's label, the patient's names."""
    start = raw.find(b"Subject:", 0, 8192)
    if start < 0:
        return False
    subject = re.split(rb"\r\n(?![ \t])", raw[start + 8 : start + 2048], maxsplit=1)[0].decode("ascii", "replace")
    secrets = {word.casefold() for word in re.split(r"[^0-9A-Za-z]+", subject.partition("+")[2]) if len(word) > 2}
    return not secrets.isdisjoint(re.split(r"[^0-9a-z]+", words.casefold()))


def describe(error: BaseException, addresses: Sequence[str] = ()) -> str:
    """An exception of aiosmtplib or of the network in words that name no content."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate was refused: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS failed: {error.reason or 'connection cut'}"
        case aiosmtplib.SMTPAuthenticationError():
            return f"login refused: {error.code} {_one_line(error.message, addresses)}"
        case aiosmtplib.SMTPResponseException():
            return f"it answered {error.code} {_one_line(error.message, addresses)}"
        case TimeoutError():
            return "no answer in time"
        case aiosmtplib.SMTPException():
            return _one_line(error.message, addresses)
        case OSError():
            return error.strerror or type(error).__name__
        case _:
            return type(error).__name__
