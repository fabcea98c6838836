"""`pfiflow run`: the engine as a service."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path

import click

from pfiflow.cli import logs
from pfiflow.cli.reload import Reloader
from pfiflow.cli.settings import env_file_option, settings, tell_of_settings
from pfiflow.errors import ConfigErrors
from pfiflow.flow.component import Registry
from pfiflow.flow.engine import Engine
from pfiflow.flow.route import FlowDefinition
from pfiflow.routefile.load import load
from pfiflow.store.sqlite import SqliteStore

__all__ = ["run"]

logger = logging.getLogger("pfiflow.run")


@click.command()
@env_file_option
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--log-format", type=click.Choice(["json", "console"]), default="json", show_default=True)
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
def run(files: tuple[Path, ...], env_file: Path | None, log_format: str, log_level: str) -> None:
    """Run the routes of FILES until SIGTERM or SIGINT.

    The first signal drains: sources stop accepting, what is in flight finishes (at most `engine: {drain}`), exit 0.
    A second signal stops at once, exit 130. Neither loses anything that was acknowledged. SIGHUP, or `pfiflow reload`,
    reads the files again and goes on with what they say then; what is wrong is refused, and logged.
    """
    logs.configure(log_format, log_level)
    registry = Registry.installed()

    def read() -> FlowDefinition:
        return load(files, registry, environment=settings(env_file))

    try:
        definition = read()
    except ConfigErrors as errors:
        tell_of_settings(files, (error.code for error in errors.errors))
        raise
    store = SqliteStore(definition.store.path)
    engine = Engine(definition, store, registry)
    interrupted = asyncio.run(_run(engine, Reloader(engine, read)))
    done = store.statistics()
    logger.info(
        "%s: %d units of work in %d transactions",
        "stopped" if interrupted else "drained",
        done.units,
        done.transactions,
    )
    if interrupted:
        sys.exit(130)


async def _run(engine: Engine, reloader: Reloader) -> bool:
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
    loop.add_signal_handler(signal.SIGHUP, reloader.ask)
    reloads = loop.create_task(reloader.serve())
    try:
        await engine.run()
    except asyncio.CancelledError:
        if not interrupted:
            raise
    finally:
        reloads.cancel()
    return interrupted
