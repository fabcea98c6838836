"""`pfiflow messages`: what waits, what failed, and what an operator can do about it."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import anyio
import attrs
import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pfiflow.cli.settings import env_file_option, settings
from pfiflow.flow.component import Registry
from pfiflow.mssante.address import mask_text
from pfiflow.routefile.load import load
from pfiflow.store.api import MessageSummary, State, Store
from pfiflow.store.sqlite import SqliteStore

__all__ = ["messages"]

T = TypeVar("T")

_console = Console(
    highlight=False, emoji=False, width=None if sys.stdout.isatty() else 200
)  # a pipe has no width to wrap at


@click.group()
@click.option("--store", "store_path", type=click.Path(path_type=Path), help="The store's file.")
@click.option(
    "--routes",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Route file that names the store, instead of --store; with the settings that `run` has.",
)
@env_file_option
@click.pass_context
def messages(context: click.Context, store_path: Path | None, routes: tuple[Path, ...], env_file: Path | None) -> None:
    """Look at a store and act on its messages, while an engine runs on it or not."""
    if store_path is None:
        # Filled in as for `run`: a guess could be another service's store.
        path = (
            load(routes, Registry.installed(), environment=settings(env_file)).store.path
            if routes
            else Path("pfiflow.db")
        )
    else:
        path = store_path
    if not path.exists():
        raise click.BadParameter(f"there is no store at {path}; name it with --store or --routes")
    context.obj = path


def _on_store(path: Path, action: Callable[[Store], Awaitable[T]]) -> T:
    async def act() -> T:
        store = SqliteStore(path, role="operator")
        await store.open()
        try:
            return await action(store)
        finally:
            await store.aclose()

    return anyio.run(act)


@messages.command("list")
@click.option("--channel")
@click.option("--state", type=click.Choice(["waiting", "done", "dead"]))
@click.option("--limit", default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="JSON lines, for programs.")
@click.pass_obj
def list_messages(path: Path, channel: str | None, state: State | None, limit: int, *, as_json: bool) -> None:
    """Show the channels and their messages."""

    async def read(store: Store) -> None:
        found = await store.messages(channel=channel, state=state, limit=limit)
        if as_json:
            for message in found:
                click.echo(json.dumps(_as_dict(message), ensure_ascii=False))
            return
        table = Table("channel", "held", "waiting", "dead", "done", "oldest waiting", box=None)
        for status in await store.channels():
            oldest = "" if status.oldest is None else _time(status.oldest)
            counts = (str(status.waiting), str(status.dead), str(status.done))
            table.add_row(status.channel, "held" if status.held else "", *counts, oldest)
        _console.print(table)
        _console.print(_table(found))

    _on_store(path, read)


@messages.command("dead")
@click.option("--channel")
@click.option("--limit", default=50, show_default=True)
@click.pass_obj
def list_dead(path: Path, channel: str | None, limit: int) -> None:
    """Show the dead letters and why they died."""

    async def read(store: Store) -> None:
        _console.print(_table(await store.messages(channel=channel, state="dead", limit=limit)))

    _on_store(path, read)


@messages.command()
@click.argument("sequence", type=int)
@click.option("--payload", type=click.Path(path_type=Path), help="Write the stored document there (medical content!).")
@click.pass_obj
def show(path: Path, sequence: int, payload: Path | None) -> None:
    """Show one message and the journal of its exchange."""

    async def read(store: Store) -> bool:
        found = await store.message(sequence)
        if found is None:
            return False
        summary, body = found
        facts = Table("", "", box=None, show_header=False)
        for name, value in _as_dict(summary).items():
            facts.add_row(name, escape(str(value)))
        _console.print(facts)
        journal = Table("at", "exchange", "route", "event", "facts", box=None)
        for entry in await store.journal(exchange_id=summary.exchange_id.partition(".")[0]):
            told = escape("  ".join(f"{name}={value}" for name, value in entry.facts.items()))
            journal.add_row(_time(entry.at), entry.exchange_id, entry.route, entry.event, told)
        _console.print(journal)
        if payload is not None:
            _write_privately(payload, body)
        return True

    if not _on_store(path, read):
        _missing(sequence)


@messages.command()
@click.argument("sequences", nargs=-1, required=True, type=int)
@click.pass_obj
def replay(path: Path, sequences: tuple[int, ...]) -> None:
    """Make dead or done messages wait again: they will be sent again."""

    async def act(store: Store) -> None:
        for sequence in sequences:
            await store.replay(sequence, now=time.time(), by=_user())

    _on_store(path, act)


@messages.command()
@click.argument("sequences", nargs=-1, required=True, type=int)
@click.pass_obj
def discard(path: Path, sequences: tuple[int, ...]) -> None:
    """Mark dead messages as dealt with."""

    async def act(store: Store) -> None:
        for sequence in sequences:
            await store.discard(sequence, now=time.time(), by=_user())

    _on_store(path, act)


@messages.command()
@click.argument("channel")
@click.pass_obj
def hold(path: Path, channel: str) -> None:
    """Hold a channel: its messages wait."""
    _set_hold(path, channel, hold=True)


@messages.command()
@click.argument("channel")
@click.pass_obj
def release(path: Path, channel: str) -> None:
    """Release a held channel."""
    _set_hold(path, channel, hold=False)


def _set_hold(path: Path, channel: str, *, hold: bool) -> None:
    async def act(store: Store) -> None:
        await store.set_hold(channel, hold=hold, now=time.time(), by=_user())

    _on_store(path, act)


def _write_privately(path: Path, content: bytes) -> None:
    """For the account's eyes alone, from the first byte on."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, 0o600)  # the file may have been there
        file.write(content)


def _user() -> str:
    """Who acts, for the journal: the account at the system."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such account, as in some containers
        return f"uid {os.getuid()}"


def _missing(sequence: int) -> None:
    click.echo(f"there is no message {sequence}", err=True)
    sys.exit(1)


def _table(found: Sequence[MessageSummary]) -> Table:
    table = Table("no.", "channel", "state", box=None)
    table.add_column("exchange", no_wrap=True, overflow="ellipsis", max_width=12)
    for name in ("size", "attempts", "enqueued", "due", "cause"):
        table.add_column(name, no_wrap=name != "cause")
    told: dict[str, int] = {}  # channel → the first message that says why it waits
    for message in found:
        if message.state == "waiting" and message.cause:
            told.setdefault(message.channel, message.sequence)
    for message in found:
        due = _time(message.due) if message.state == "waiting" and message.due else ""
        table.add_row(
            str(message.sequence),
            message.channel,
            message.state,
            message.exchange_id,
            str(message.size),
            str(message.attempts),
            _time(message.enqueued),
            due,
            escape(message.cause) or _why_not_yet(message, told),
        )
    return table


def _why_not_yet(message: MessageSummary, told: Mapping[str, int]) -> str:
    """Of a message that was not tried yet: while a destination is down, one is tried and the others wait for it."""
    other = told.get(message.channel)
    return f"not tried yet, see no. {other}" if message.state == "waiting" and other is not None else ""


def _as_dict(summary: MessageSummary) -> dict[str, object]:
    """What may be shown of a message: its lane by a fingerprint (the key may name a patient), addresses masked."""
    fields = attrs.asdict(summary)
    fields["lane"] = hashlib.sha256(fields.pop("key").encode()).hexdigest()[:12]
    fields["headers"] = {name: mask_text(value) for name, value in summary.headers.items()}
    for name in ("received", "enqueued", "due"):
        fields[name] = _time(fields[name]) if fields[name] else ""
    return fields


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
