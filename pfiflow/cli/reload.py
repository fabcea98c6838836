"""`pfiflow reload`, and what it asks of `pfiflow run`: read the files again, and go on with what they say.

The one signals the other (SIGHUP), which validates, reloads, and records in the store what came of it; there the one
reads it. A signal during a reload asks for another after it.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import click
from attrs import define, field

from pfiflow.cli.settings import env_file_option, settings
from pfiflow.errors import ConfigError, ConfigErrors, Deferred
from pfiflow.flow.component import Registry
from pfiflow.flow.engine import Changes, Engine
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.outcome import safe_traceback
from pfiflow.flow.route import FlowDefinition
from pfiflow.routefile.load import load
from pfiflow.store.api import Record
from pfiflow.store.lockfile import has_open, holder
from pfiflow.store.sqlite import SqliteStore

__all__ = ["Reloader", "reload"]

logger = logging.getLogger("pfiflow.run")

_KIND: Final = "engine"
_KEY: Final = "reload"
_LOOK_EVERY: Final = 0.05  # seconds
_MOST_ERRORS: Final = 20  # written down; the log has them all


@define(eq=False)
class Reloader:
    """Reloads an engine whenever it is asked to, once at a time."""

    engine: Engine
    read: Callable[[], FlowDefinition]
    _asked: anyio.Event = field(init=False, factory=anyio.Event)

    def ask(self) -> None:
        """Ask for a reload."""
        self._asked.set()

    async def serve(self) -> None:
        """Do what is asked, for ever."""
        while True:
            await self._asked.wait()
            self._asked = anyio.Event()
            began = time.time()
            facts = await self._reload()
            exchange = Exchange("", None).with_note(facts["outcome"], **facts)
            await self.engine.journal(exchange.with_memory(_KIND, _KEY, began=repr(began), **facts))

    async def _reload(self) -> Mapping[str, str]:
        """Reload; what came of it, in words that are safe to keep."""
        try:
            definition = await anyio.to_thread.run_sync(self.read)
            changes = await self.engine.reload(definition)
        except ConfigError as error:
            errors = error.errors if isinstance(error, ConfigErrors) else (error,)
            for each in errors:
                logger.error("reload refused: %s", each)  # noqa: TRY400 - the error says it all
            more = f"\nand {len(errors) - _MOST_ERRORS} more" if len(errors) > _MOST_ERRORS else ""
            return {"outcome": "reload-refused", "text": "\n".join(map(str, errors[:_MOST_ERRORS])) + more}
        except Exception as defect:  # noqa: BLE001 - the engine goes on as it was
            logger.error("reload failed\n%s", safe_traceback(defect))  # noqa: TRY400 - its text may quote a document
            return {"outcome": "reload-failed", "text": f"defect: {type(defect).__qualname__}; see the log"}
        logger.info("reloaded: %s", changes)
        return {"outcome": "reloaded", "text": str(changes), **_facts(changes)}


def _facts(changes: Changes) -> Mapping[str, str]:
    named = {"changed": changes.changed, "added": changes.added, "removed": changes.removed}
    return {name: " ".join(routes) for name, routes in named.items() if routes}


@click.command()
@click.option("--store", "store_path", type=click.Path(path_type=Path), help="The store's file.")
@click.option(
    "--routes",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Route file that names the store, instead of --store; with the settings that `run` has.",
)
@env_file_option
@click.option("--pid", type=click.IntRange(min=1), help="The process, where the lock file names another.")
@click.option("--timeout", type=click.FloatRange(min=0), default=120.0, show_default=True, help="Seconds to wait.")
def reload(
    store_path: Path | None, routes: tuple[Path, ...], env_file: Path | None, pid: int | None, timeout: float
) -> None:
    """Let the running engine read its route files and settings again, and say what came of it.

    Nothing changes when something is wrong: exit status 3, with every error. Routes that are the same go on untouched.
    """
    path = store_path or Path("pfiflow.db")
    if store_path is None and routes:
        path = load(routes, Registry.installed(), environment=settings(env_file)).store.path
    process = pid or holder(path)
    if process is None:
        raise Deferred(f"no engine runs on the store {path}: name another with --store or --routes")
    if not has_open(process, path):  # a signal to a stranger would end it
        text = (
            f"process {process} does not run on the store {path}: is it another container's? Ask there, or give --pid"
        )
        raise Deferred(text)
    record = anyio.run(_ask, path, process, timeout)
    if record is None:
        raise Deferred(f"process {process} did not say within {timeout:g} s what came of the reload: see its log")
    for line in record.facts["text"].splitlines() or ["nothing to do"]:
        click.echo(line, err=record.facts["outcome"] != "reloaded")
    if record.facts["outcome"] != "reloaded":
        click.echo("Nothing was reloaded: the engine goes on as it was.", err=True)
        sys.exit(3 if record.facts["outcome"] == "reload-refused" else 70)


async def _ask(path: Path, process: int, timeout: float) -> Record | None:
    """Signal the process, and wait for the record of a reload that began after that."""
    store = SqliteStore(path, role="operator")
    await store.open()
    try:
        asked = time.time()
        try:
            os.kill(process, signal.SIGHUP)
        except OSError as error:
            raise Deferred(f"process {process} cannot be asked: {error.strerror}") from None
        with anyio.move_on_after(timeout):
            while True:
                record = await store.find_record(_KIND, _KEY)
                if record is not None and float(record.facts["began"]) >= asked:
                    return record
                await anyio.sleep(_LOOK_EVERY)
    finally:
        await store.aclose()
    return None
