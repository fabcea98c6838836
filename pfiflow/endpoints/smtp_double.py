"""An SMTP server without a network, for tests of routes: what it says is scripted, what is said to it is recorded.

aiosmtplib's own protocol runs over it, in memory, and all of `smtp-out` above that. TLS alone is taken as done:
STARTTLS changes nothing but what EHLO offers, and no certificate is read.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from collections.abc import Mapping
from typing import Any, Final, Literal

import aiosmtplib
from aiosmtplib.protocol import SMTPProtocol
from attrs import Factory, define, field, frozen

from pfiflow.endpoints.smtp_session import SmtpOptions, SmtpSession
from pfiflow.flow.double import Outside
from pfiflow.flow.options import option

__all__ = ["ScriptedServer", "SmtpAnswer"]

_PATH: Final = re.compile(r"(?:FROM|TO):<([^<>]*)>(.*)", re.IGNORECASE)
_TIMEOUT, _CLOSED = "timeout", "closed"


@frozen
class SmtpAnswer:
    """How an SMTP server takes one mail. A reply is its line, or the word `timeout` or `closed` in its place."""

    connection: Literal["open", "refused", "timeout"] = option(
        default="open", doc="Whether it can be reached.", example="refused"
    )
    login: str = option(default="235 2.7.0 Accepted", doc="Its reply to AUTH.", example="535 5.7.8 Wrong password")
    mail: str = option(default="250 2.1.0 Ok", doc="Its reply to MAIL FROM.", example="451 4.3.0 Try again later")
    recipients: Mapping[str, str] = option(
        default=Factory(dict),
        doc="Its reply to RCPT TO, by address; to the others it is 250.",
        example={"ada@example.org": "550 5.1.1 No such user"},
    )
    content: str = option(default="250 2.0.0 Taken", doc="Its reply to the content.", example="552 5.3.4 Too large")
    size: int = option(default=0, doc="The largest mail that it announces, in bytes; 0: none.", example=10_000_000)
    dsn: bool = option(default=True, doc="Whether it offers delivery reports (RFC 3461).", example=False)


class _Protocol(SMTPProtocol):
    """aiosmtplib's, which gives up at once when the server will not answer."""

    silent = False

    async def read_response(self, timeout: float | None = None) -> aiosmtplib.SMTPResponse:
        return await super().read_response(0 if self.silent else timeout)


@define(eq=False)
class _Wire(asyncio.Transport):
    """The client's end of the connection, and the server at the other."""

    protocol: _Protocol
    outside: Outside
    secure: bool = False
    closing: bool = False
    login: str = ""
    sender: str = ""
    mail_parameters: str = ""
    accepted: list[str] = field(factory=list)
    rcpt_parameters: list[str] = field(factory=list)
    content: bytearray | None = None

    def __attrs_post_init__(self) -> None:
        super().__init__()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        del name
        return default

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def say(self, reply: str) -> None:
        """Answer, unless this is no answer."""
        if reply == _TIMEOUT:
            self.protocol.silent = True
        elif reply == _CLOSED:
            self.close()
        else:
            lines = reply.replace("\r\n", "\n").rstrip("\n").replace("\n", "\r\n") + "\r\n"
            asyncio.get_running_loop().call_soon(self.protocol.data_received, lines.encode())

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.content is not None:
            self.content += data
            if self.content.endswith(b"\r\n.\r\n"):
                self._end_of_content(bytes(self.content[:-3]))
            return
        verb, _, rest = bytes(data).decode("ascii").strip().partition(" ")
        self._command(verb.upper(), rest)

    def _command(self, verb: str, rest: str) -> None:
        answer: SmtpAnswer = self.outside.answer
        match verb:
            case "EHLO":
                offers = ["AUTH PLAIN", f"SIZE {answer.size or ''}".strip(), "8BITMIME", "ENHANCEDSTATUSCODES"]
                offers += ["DSN"] if answer.dsn else []
                offers += [] if self.secure else ["STARTTLS"]
                said = ["test", *offers]
                self.say("\n".join(f"250{' ' if each is said[-1] else '-'}{each}" for each in said))
            case "AUTH":
                _, self.login, _ = base64.b64decode(rest.partition(" ")[2]).decode().split("\0")
                self.say(answer.login)
            case "MAIL" if path := _PATH.fullmatch(rest):
                self.sender, self.mail_parameters = path[1], path[2].strip()
                self.accepted, self.rcpt_parameters = [], []
                self.say(answer.mail)
            case "RCPT" if path := _PATH.fullmatch(rest):
                replies = {address.lower(): reply for address, reply in answer.recipients.items()}
                reply = replies.get(path[1].lower(), "250 2.1.5 Ok")
                if reply.startswith("2"):
                    self.accepted.append(path[1])
                    self.rcpt_parameters.append(path[2].strip())
                self.say(reply)
            case "DATA":
                self.content = bytearray()
                self.say("354 Go on")
            case "QUIT":
                self.say("221 2.0.0 Bye")
            case _:
                self.say("250 2.0.0 Ok")

    def _end_of_content(self, content: bytes) -> None:
        answer: SmtpAnswer = self.outside.answer
        self.content = None
        if answer.content[:1] not in {"4", "5"}:  # else nobody has got it
            self.outside.sent(
                re.sub(rb"(?m)^\.", b"", content),
                sender=self.sender,
                recipients=" ".join(self.accepted),
                login=self.login,
                parameters=" | ".join(filter(None, (self.mail_parameters, *self.rcpt_parameters))),
            )
        self.say(answer.content)


class _Client(aiosmtplib.SMTP):
    """aiosmtplib's client on a wire in memory."""

    def __init__(self, outside: Outside, options: SmtpOptions) -> None:
        super().__init__(hostname=options.host, port=options.port, local_hostname="pfi.test", start_tls=False)
        self._outside = outside

    async def connect(self, **_settings: Any) -> aiosmtplib.SMTPResponse:
        answer: SmtpAnswer = self._outside.answer
        if answer.connection == "refused":
            text = f"Error connecting to {self.hostname} on port {self.port}: [Errno 111] Connection refused"
            raise aiosmtplib.SMTPConnectError(text)
        if answer.connection == "timeout":
            raise aiosmtplib.SMTPConnectTimeoutError(f"Timed out connecting to {self.hostname} on port {self.port}")
        self.protocol = protocol = _Protocol(asyncio.get_running_loop())
        self.transport = wire = _Wire(protocol, self._outside)
        protocol.connection_made(wire)
        wire.say("220 test")
        return await protocol.read_response()

    async def starttls(self, *_arguments: Any, **_settings: Any) -> aiosmtplib.SMTPResponse:
        assert isinstance(self.transport, _Wire)
        self.transport.secure = True
        return aiosmtplib.SMTPResponse(220, "Ready")


@frozen
class ScriptedServer:
    """The server that an `smtp-out` under test sends to."""

    outside: Outside

    async def open_session(self, options: SmtpOptions) -> SmtpSession:
        """See `SmtpClient`."""
        return await SmtpSession.over(_Client(self.outside, options), options, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
