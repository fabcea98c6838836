"""`pfiflow run`: the engine as a service."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path

import anyio
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
    interrupted = anyio.run(_run, engine)
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
    interrupted = False

    async def watch_signals(scope: anyio.CancelScope) -> None:
        nonlocal interrupted
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _number in signals:
                if engine.draining:
                    interrupted = True
                    scope.cancel()
                    return
                engine.drain()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch_signals, tasks.cancel_scope)
        await engine.run()
        tasks.cancel_scope.cancel()
    return interrupted
