"""One request to the DMP over HTTPS: the answer, or how it failed and whether the request may have been carried out."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence

import aiohttp
from attrs import define, field, frozen

from pfiflow.dmp.conversation import Answer, Reply
from pfiflow.dmp.requests import Request
from pfiflow.dmp.response import MAX_ANSWER, Failure

__all__ = ["DmpClient", "Timeouts"]

_PIECE = 256 * 1024
_KEEP_ALIVE = 15.0  # seconds; shorter than what servers keep, so that they seldom close under a request
_LONGEST_WAIT = 3600.0


@frozen
class Timeouts:
    """Seconds. `exchange` is from the first byte sent to the last received; big documents get `per_megabyte` more."""

    connect: float = 10.0
    exchange: float = 60.0
    per_megabyte: float = 5.0


@define
class _Body:
    """The pieces of a request, handed out one after the other; documents are sliced, not copied."""

    pieces: Sequence[bytes | memoryview]
    started: bool = False  # the peer may have got something that it can act upon

    async def __aiter__(self) -> AsyncIterator[bytes | memoryview]:
        for piece in self.pieces:
            self.started = True
            if len(piece) <= _PIECE:
                yield piece
                continue
            view = memoryview(piece)
            for start in range(0, len(view), _PIECE):
                yield view[start : start + _PIECE]


@define(eq=False)
class DmpClient:
    """Up to `connections` kept connections. For one event loop; `aclose()` ends it."""

    connections: int
    timeouts: Timeouts
    _slots: asyncio.Semaphore = field(init=False)
    _session: aiohttp.ClientSession | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.connections)

    async def post(self, request: Request, context: ssl.SSLContext) -> tuple[Reply, str]:
        """The answer or the failure, and a word on the failure that holds no identity. Never raises for the peer.

        `context` is the TLS context of now: a connection made with another one is not used.
        """
        async with self._slots:
            body = _Body(request.outgoing.parts)
            try:
                return await self._exchange(request, body, context), ""
            except Exception as error:
                failure = _failure(error, started=body.started)
                if failure is None:
                    raise
                return failure, _detail(error)

    async def _exchange(self, request: Request, body: _Body, context: ssl.SSLContext) -> Reply:
        outgoing = request.outgoing
        total = self.timeouts.exchange + self.timeouts.per_megabyte * outgoing.length / 1_000_000
        timeout = aiohttp.ClientTimeout(
            total=self.timeouts.connect + total,
            sock_connect=self.timeouts.connect,
            sock_read=total,
            ceil_threshold=3600,
        )
        headers = {"Content-Type": outgoing.content_type, "Content-Length": str(outgoing.length)}
        session = self._opened()
        async with session.post(
            request.url, data=body, headers=headers, ssl=context, timeout=timeout, allow_redirects=False
        ) as response:
            content = bytearray()
            async for piece in response.content.iter_any():
                content += piece
                if len(content) > MAX_ANSWER:
                    response.close()
                    return Failure.TOO_LONG
            content_type = response.headers.get("Content-Type", "")
            return Answer(
                response.status, content_type, bytes(content), _retry_after(response.headers.get("Retry-After", ""))
            )

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "pfiflow", "Accept-Encoding": "identity"},
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    async def aclose(self) -> None:
        """Close the kept connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _failure(error: Exception, *, started: bool) -> Failure | None:
    """How an exchange failed; None: not by the peer or the network."""
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.ClientConnectorCertificateError):
        return Failure.TLS
    if isinstance(error, aiohttp.ClientConnectorError):
        # Closed after the TCP connection, so during the handshake: not every server sends the alert that says why.
        closed = isinstance(error.os_error, ConnectionResetError | ConnectionAbortedError | BrokenPipeError)
        return Failure.TLS if closed else Failure.UNREACHABLE
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Failure.TIMEOUT
    if not isinstance(error, aiohttp.ClientError | OSError):
        return None
    if _is_alert(error):
        return Failure.TLS
    if started:
        return Failure.CUT
    return Failure.TIMEOUT if isinstance(error, TimeoutError) else Failure.UNREACHABLE


def _is_alert(error: BaseException) -> bool:
    """Whether the peer refused our certificate: with TLS 1.3 we learn it only after having sent."""
    tls = _tls_error(error)
    return tls is not None and "ALERT" in (tls.reason or "").upper()


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    for _ in range(5):
        # aiohttp's own errors are some of them SSLError by name only; they keep the true one.
        if error is None or (isinstance(error, ssl.SSLError) and not isinstance(error, aiohttp.ClientError)):
            return error
        error = getattr(error, "os_error", None) or error.__cause__ or error.__context__
    return None


def _detail(error: BaseException) -> str:
    """What the system and OpenSSL say: never what the peer wrote."""
    tls = _tls_error(error)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return f"the DMP's certificate: {tls.verify_message}"
    if tls is not None:
        return f"TLS: {tls.reason or type(tls).__name__}"
    cause = getattr(error, "os_error", None) or error
    return getattr(cause, "strerror", None) or type(cause).__name__


def _retry_after(value: str) -> float | None:
    """Seconds from a Retry-After header that gives seconds; a date is left to our own policy."""
    seconds = value.strip()
    return min(float(seconds), _LONGEST_WAIT) if seconds.isdecimal() and len(seconds) < 10 else None
