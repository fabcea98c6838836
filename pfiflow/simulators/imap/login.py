"""Commands of any state and those before the login: STARTTLS, LOGIN, AUTHENTICATE PLAIN (RFC 4616) and XOAUTH2."""

from __future__ import annotations

import binascii
import hmac
import re

from pfiflow.simulators.imap.state import Refused, State
from pfiflow.simulators.imap.syntax import Cursor

__all__ = ["authenticate", "capability", "challenge", "finish", "log_in", "log_out", "noop", "starttls"]

_XOAUTH2 = re.compile(rb"user=([^\x01]+)\x01auth=Bearer ([^\x01]+)\x01\x01", re.IGNORECASE)
_FAILED = "[AUTHENTICATIONFAILED] login or password is wrong"
_OAUTH_FAILED = binascii.b2a_base64(b'{"status":"401","schemes":"bearer"}', newline=False)


def capability(state: State, cursor: Cursor) -> str:
    """CAPABILITY."""
    cursor.end()
    state.say(f"CAPABILITY {state.capabilities()}")
    return "done"


def noop(_state: State, cursor: Cursor) -> str:
    """NOOP, CHECK: the news go out with every answer."""
    cursor.end()
    return "done"


def log_out(state: State, cursor: Cursor) -> str:
    """LOGOUT."""
    cursor.end()
    state.ended = True
    state.say("BYE until next time")
    return "done"


def starttls(state: State, cursor: Cursor) -> str:
    """STARTTLS: TLS begins after this answer."""
    cursor.end()
    if state.secure or not state.policy.starttls:
        raise Refused("TLS is on already, or not offered", "BAD")
    state.wants_tls = True
    return "begin TLS"


def log_in(state: State, cursor: Cursor) -> str:
    """LOGIN."""
    login = cursor.astring()
    cursor.space()
    password = cursor.astring()
    cursor.end()
    _check_privacy(state)
    return _enter(state, login, password)


def authenticate(state: State, cursor: Cursor) -> tuple[str, bytes | None]:
    """AUTHENTICATE: the mechanism, and the initial response (RFC 4959) if there is one."""
    mechanism = cursor.atom()
    initial = None
    if not cursor.ended:
        cursor.space()
        initial = cursor.rest()
    _check_privacy(state)
    if f"AUTH={mechanism}" not in state.capabilities().split():
        raise Refused(f"[CANNOT] {mechanism[:20]} is not offered")
    return mechanism, initial


def finish(state: State, mechanism: str, response: bytes) -> str:
    """The client's one response, in base64 (`=` is an empty one, `*` a cancellation). Raises Refused."""
    if response == b"*":
        raise Refused("cancelled", "BAD")
    try:
        content = b"" if response == b"=" else binascii.a2b_base64(response, strict_mode=True)
    except binascii.Error:
        raise Refused("not base64", "BAD") from None
    if mechanism == "PLAIN":
        identities = content.split(b"\0")
        if len(identities) != 3:
            raise Refused("expected [authorisation] NUL login NUL password", "BAD")
        if identities[0] not in {b"", identities[1]}:
            raise Refused("[AUTHORIZATIONFAILED] nobody may act for another here")
        return _enter(state, identities[1], identities[2])
    found = _XOAUTH2.fullmatch(content)
    login = found[1].decode("utf-8", "replace") if found else ""
    expected = state.policy.tokens.get(login)
    if found is None or expected is None or not hmac.compare_digest(found[2], expected.encode()):
        raise Refused(_FAILED)
    return _open(state, login)


def challenge(mechanism: str, *, failed: bool = False) -> bytes:
    """What a mechanism asks for; XOAUTH2 tells a failure as a challenge, which the client answers with nothing."""
    return b"+ " + (_OAUTH_FAILED if failed and mechanism == "XOAUTH2" else b"") + b"\r\n"


def _check_privacy(state: State) -> None:
    if state.policy.starttls and not state.secure:
        raise Refused("[PRIVACYREQUIRED] STARTTLS first")


def _enter(state: State, login: bytes, password: bytes) -> str:
    name = login.decode("utf-8", "replace")
    logins = state.policy.logins
    known = logins.get(name) if logins is not None else None
    if not name or (logins is not None and (known is None or not hmac.compare_digest(known.encode(), password))):
        raise Refused(_FAILED)
    return _open(state, name)


def _open(state: State, login: str) -> str:
    state.login = login
    state.account = state.mailboxes.open(login)
    return f"[CAPABILITY {state.capabilities()}] logged in"
