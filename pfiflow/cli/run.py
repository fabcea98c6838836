"""`pfiflow run`: the engine as a service."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path

import click

from pfiflow.cli import logs
from pfiflow.flow.component import Registry
from pfiflow.flow.engine import Engine
from pfiflow.routefile.load import load
from pfiflow.store.sqlite import SqliteStore

__all__ = ["run"]

logger = logging.getLogger("pfiflow.run")


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--log-format", type=click.Choice(["json", "console"]), default="json", show_default=True)
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
def run(files: tuple[Path, ...], log_format: str, log_level: str) -> None:
    """Run the routes of FILES until SIGTERM or SIGINT.

    The first signal drains: sources stop accepting, what is in flight finishes (at most `engine: {drain}`), exit 0.
    A second signal stops at once, exit 130. Neither loses anything that was acknowledged.
    """
    logs.configure(log_format, log_level)
    registry = Registry.installed()
    definition = load(files, registry)
    store = SqliteStore(definition.store.path)
    engine = Engine(definition, store, registry)
    interrupted = asyncio.run(_run(engine))
    done = store.statistics()
    logger.info(
        "%s: %d units of work in %d transactions",
        "stopped" if interrupted else "drained",
        done.units,
        done.transactions,
    )
    if interrupted:
        sys.exit(130)


async def _run(engine: Engine) -> bool:
    """Run until drained; whether a second signal cut it short."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    interrupted = False

    def on_signal() -> None:
        nonlocal interrupted
        if engine.draining and not interrupted:
            interrupted = True
            task.cancel()
        engine.drain()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        await engine.run()
    except asyncio.CancelledError:
        if not interrupted:
            raise
    return interrupted
