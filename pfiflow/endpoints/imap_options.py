"""Options of `imap-in`, and what they must agree on."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Literal

from attrs import frozen

from pfiflow.endpoints.tls import TLS_EXAMPLE, TlsOptions
from pfiflow.errors import ConfigError
from pfiflow.flow.options import Duration, Range, Secret, Size, option

__all__ = ["ImapInOptions", "access_token", "check_options"]

_AFTER = Range(above=0)
_LARGEST_TOKEN = 64 * 2**10
_KEYWORD = re.compile(r"[A-Za-z0-9$_.-]{1,64}")  # an atom (RFC 3501 §9), and no flag of the system's


@frozen
class ImapInOptions:
    """How to read one mailbox, and what becomes of the mails read."""

    host: str = option(doc="The server's name, as its certificate says it.", example="imap.operateur.example")
    port: int = option(default=143, doc="The server's port; 993 is usual for `security: tls`.", example=143)
    security: Literal["starttls", "tls", "none"] = option(
        default="starttls",
        doc="`starttls`, `tls` from the first byte, or `none`: to a loopback address only.",
        example="starttls",
    )
    tls: TlsOptions | None = option(
        default=None,
        doc="Authorities, client certificate, suites; needed unless security is none.",
        example=TLS_EXAMPLE,
    )
    driver: Literal["threaded", "aioimaplib"] = option(
        default="threaded",
        doc="Which IMAP client: `threaded`, or `aioimaplib` (extra pfiflow[aioimaplib], GPL-3.0; `security: tls`, "
        "`auth: login` or `xoauth2`).",
        example="threaded",
    )
    auth: Literal["plain", "login", "xoauth2"] = option(
        default="plain",
        doc="How to log in: `plain` (AUTH PLAIN after TLS, the mailbox is the login), `login` or `xoauth2`.",
        example="plain",
    )
    username: str = option(
        doc="The applicative mailbox, which is the login too.", example="pfi@hopital.mssante.example"
    )
    password: Secret | None = option(
        default=None, doc="Often none: the client certificate authenticates.", example="${file:/run/secrets/imap}"
    )
    token: Secret | None = option(default=None, doc="Access token of xoauth2.", example="${env:IMAP_TOKEN}")
    token_file: Path | None = option(
        default=None,
        doc="File with the access token of xoauth2, read again at each connection, since tokens expire.",
        example="/run/pfiflow/imap-token",
    )
    folder: str = option(default="INBOX", doc="The folder that is read.", example="INBOX")
    done: Literal["flag", "move"] = option(
        default="flag",
        doc="What shows that a mail was taken over: a keyword on it (invisible to the mailbox's users, who keep `Seen` "
        "for themselves), or its move to done-folder.",
        example="move",
    )
    keyword: str = option(
        default="$PfiflowDone", doc="The keyword that marks a mail as done, with `done: flag`.", example="$PfiflowDone"
    )
    refused_keyword: str = option(
        default="$PfiflowRefused",
        doc="The keyword that marks a mail that the route refused, with `done: flag`.",
        example="$PfiflowRefused",
    )
    done_folder: str = option(
        default="PFI-Traites",
        doc="Where a mail goes that is done, with `done: move`; made if missing.",
        example="PFI-Traites",
    )
    refused_folder: str | None = option(
        default=None,
        doc="Where mails go that the route refused, that are too large, or that fail again and again; made if missing. "
        "Unset: PFI-Refuses with done: move, none with done: flag (they stay, with refused-keyword).",
        example="PFI-Refuses",
    )
    idle: bool = option(default=True, doc="Wait for mail with IDLE where the server offers it.", example=True)
    poll: Duration = option(
        default=Duration(30.0),
        doc="Time between two looks where IDLE is not used; at most 29m, after which servers log out.",
        example="30s",
        validator=Range(above=0, maximum=29 * 60),
    )
    idle_renew: Duration = option(
        default=Duration(300.0),
        doc="How long one IDLE lasts; a look at the folder follows even when it announced nothing. Less than 29m.",
        example="5m",
        validator=Range(above=0, maximum=29 * 60),
    )
    max_mail_size: Size = option(
        default=Size(50 * 2**20), doc="Larger mails are not fetched: they are refused.", example="50MiB"
    )
    fetch_size: Size = option(
        default=Size(2**20),
        doc="A mail is fetched in parts of that size.",
        example="1MiB",
        validator=Range(minimum=1024, maximum=64 * 2**20),
    )
    retry_delay: Duration = option(
        default=Duration(10.0),
        doc="Before a mail that was deferred is tried again; doubled each time. Other mails go on meanwhile.",
        example="10s",
        validator=_AFTER,
    )
    retry_max_delay: Duration = option(
        default=Duration(900.0),
        doc="Longest wait before a deferred mail is tried again.",
        example="15m",
        validator=_AFTER,
    )
    max_defects: int = option(
        default=5,
        doc="Attempts of a mail allowed to fail unexpectedly before it counts as refused.",
        example=5,
        validator=Range(minimum=1),
    )
    connect_timeout: Duration = option(
        default=Duration(30.0), doc="Time to connect, for TLS and for the login, each.", example="30s", validator=_AFTER
    )
    command_timeout: Duration = option(
        default=Duration(60.0),
        doc="Time for the whole answer to a command, or for one part of a mail.",
        example="60s",
        validator=_AFTER,
    )

    @property
    def refused_target(self) -> str | None:
        """The folder of refused mails; None when they stay where they are."""
        return self.refused_folder or ("PFI-Refuses" if self.done == "move" else None)


def check_options(options: ImapInOptions) -> None:
    """Raises ConfigError when the options contradict each other, or would send in clear."""
    for error in filter(None, (*_transport(options), *_login(options), *_marks(options))):
        raise ConfigError(f"imap-in: {error}")


def _transport(options: ImapInOptions) -> tuple[str, ...]:
    return (
        "port is 1 to 65535" if not 0 < options.port < 65536 else "",
        "security none is for a loopback address only"
        if options.security == "none" and not _is_loopback(options.host)
        else "",
        f"security {options.security} needs tls" if options.security != "none" and options.tls is None else "",
        "the aioimaplib driver has no STARTTLS: use security tls, or the threaded driver"
        if options.driver == "aioimaplib" and options.security == "starttls"
        else "",
    )


def _login(options: ImapInOptions) -> tuple[str, ...]:
    tokens = (options.token is not None) + (options.token_file is not None)
    secrets = [s.reveal() for s in (options.password, options.token) if s is not None]
    return (
        "username is the mailbox, in printable characters"
        if not options.username or not options.username.isprintable()
        else "",
        "a password or token has no control characters"
        if any(char in secret for secret in secrets for char in "\0\r\n\x01")
        else "",
        "auth login takes ASCII only: use plain"
        if options.auth == "login" and not all(text.isascii() for text in (options.username, *secrets))
        else "",
        "auth xoauth2 needs token or token-file, one of them" if options.auth == "xoauth2" and tokens != 1 else "",
        "the aioimaplib driver has no AUTH PLAIN: use auth login or xoauth2, or the threaded driver"
        if options.driver == "aioimaplib" and options.auth == "plain"
        else "",
    )


def _marks(options: ImapInOptions) -> tuple[str, ...]:
    folders = [options.folder, *filter(None, (options.refused_target,))]
    folders += [options.done_folder] if options.done == "move" else []
    keywords = (options.keyword, options.refused_keyword)
    return (
        "a keyword has 1 to 64 letters, digits, $ _ . -" if not all(map(_KEYWORD.fullmatch, keywords)) else "",
        "keyword and refused-keyword differ" if keywords[0].lower() == keywords[1].lower() else "",
        "a folder has a name of printable characters" if not all(f and f.isprintable() for f in folders) else "",
        "done-folder and refused-folder are not the folder that is read" if options.folder in folders[1:] else "",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def access_token(options: ImapInOptions) -> str:
    """The token of xoauth2, as it is now. Raises ConfigError when its file cannot be read."""
    if options.token is not None:
        return options.token.reveal()
    assert options.token_file is not None
    try:
        with options.token_file.open(encoding="ascii") as file:
            token = file.read(_LARGEST_TOKEN).strip()
    except (OSError, ValueError) as error:
        raise ConfigError("imap-in: the access token cannot be read", file=str(options.token_file)) from error
    if not token or not token.isprintable():
        raise ConfigError("imap-in: this is no access token", file=str(options.token_file))
    return token
