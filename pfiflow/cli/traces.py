"""`pfiflow traces`: who did what, when, and what the outside answered (REM SC.MSS/CONF.17 and .18), for other programs.

One record a line of the journal, with what the messages of its exchange say besides. No content, no patient's identity:
the journal has none. How far back it goes is the store's setting `retention: {journal: 180d}`.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, TextIO

import anyio
import click

from pfiflow.store.api import JournalEntry, Store
from pfiflow.store.sqlite import SqliteStore

__all__ = ["FIELDS", "traces"]

FIELDS: Final = (
    "at",  # local time, with its offset from UTC
    "who",  # the source and the account or peer that let the exchange in; for what we send, the account that sent it
    "action",  # the journal's event
    "exchange",
    "route",
    "request",  # whom or what it was asked of
    "answer",  # what was answered: a code, a reply, the reason of a refusal
    "document",  # CDA id
    "mail",  # Message-ID
    "message",  # MSH-10
    "details",  # every other fact
)

_HEADERS: Final = {"document": ("document-id",), "mail": ("message-id", "mail-id"), "message": ("hl7-control-id",)}
_FACTS: Final[Mapping[str, tuple[str, ...]]] = {
    "who": ("account", "by", "origin"),
    "request": ("request", "peer", "to", "recipient", "mailbox"),
    "answer": ("response", "answer", "code", "problems", "cause"),
    "document": ("document_id",),
    "mail": ("message_id", "about"),
    "message": ("control_id",),
}
"""Column → the facts of a journal line that fill it, the first that is there."""

_PAGE: Final = 1000
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would compute what begins so


@click.command()
@click.option(
    "--store", "path", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The store."
)
@click.option("--from", "start", type=click.DateTime(), help="From this local time on, as 2026-11-23T08:30:00.")
@click.option("--to", "end", type=click.DateTime(), help="Before this local time.")
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True)
def traces(path: Path, start: datetime | None, end: datetime | None, form: Literal["jsonl", "csv"]) -> None:
    """Export what was done, by whom, when, with which answer: one line for each line of the journal."""
    write = _json_writer(sys.stdout) if form == "jsonl" else _csv_writer(sys.stdout)

    def wanted(at: float) -> bool:
        return (start is None or at >= start.timestamp()) and (end is None or at < end.timestamp())

    async def export() -> None:
        store = SqliteStore(path, role="operator")
        await store.open()
        try:
            await _export(store, wanted, write)
        finally:
            await store.aclose()

    anyio.run(export)


async def _export(store: Store, wanted: Callable[[float], bool], write: Callable[[Mapping[str, str]], None]) -> None:
    known = await _messages(store)
    after = 0
    while lines := await store.journal(after=after, limit=_PAGE):
        for line in lines:
            if wanted(line.at):
                write(_trace(line, known.get(line.exchange_id) or known.get(line.exchange_id.partition(".")[0]) or {}))
        after = lines[-1].line


async def _messages(store: Store) -> dict[str, dict[str, str]]:
    """What the messages that are still there say of their exchange: a few ids each."""
    known: dict[str, dict[str, str]] = {}
    after = 0
    while found := await store.messages(after=after, limit=_PAGE):
        for message in found:
            facts = {"who": message.origin}
            for column, names in _HEADERS.items():
                facts[column] = next((message.headers[name] for name in names if message.headers.get(name)), "")
            for exchange in {message.exchange_id, message.exchange_id.partition(".")[0]}:
                kept = known.setdefault(exchange, {})
                kept.update({column: value for column, value in facts.items() if value and column not in kept})
        after = found[-1].sequence
    return known


def _trace(line: JournalEntry, known: Mapping[str, str]) -> dict[str, str]:
    trace = dict.fromkeys(FIELDS, "")
    trace |= known
    trace |= {
        "at": datetime.fromtimestamp(line.at).astimezone().isoformat(timespec="milliseconds"),
        "action": line.event,
        "exchange": line.exchange_id,
        "route": line.route,
    }
    rest = dict(line.facts)
    for column, names in _FACTS.items():
        name = next((name for name in names if rest.get(name)), None)
        if name is not None:
            trace[column] = rest.pop(name)
    trace["details"] = json.dumps(rest, ensure_ascii=False) if rest else ""
    return trace


def _json_writer(stream: TextIO) -> Callable[[Mapping[str, str]], None]:
    def write(trace: Mapping[str, str]) -> None:
        told: dict[str, object] = {name: trace[name] for name in FIELDS if trace[name]}
        if trace["details"]:
            told["details"] = json.loads(trace["details"])
        stream.write(json.dumps(told, ensure_ascii=False) + "\n")

    return write


def _csv_writer(stream: TextIO) -> Callable[[Mapping[str, str]], None]:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(FIELDS)

    def write(trace: Mapping[str, str]) -> None:
        row = (trace[name] for name in FIELDS)
        writer.writerow([f"'{value}" if value.startswith(_FORMULA) else value for value in row])

    return write
