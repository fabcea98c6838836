"""The command group, and what all commands share: exit status and the printing of errors."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import click
from rich.console import Console

from pfiflow.cli import describe, explain, graph, lint, messages, new, reload, run, send, sim, test, traces
from pfiflow.errors import ConfigError, ConfigErrors, Deferred, PfiflowError
from pfiflow.store.api import StoreError

__all__ = ["main"]

_errors = Console(stderr=True, highlight=False, emoji=False)


class _Group(click.Group):
    """Turns the errors of the hierarchy into messages and exit status."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigErrors as errors:
            for error in errors.errors:
                _print_error(str(error))
            sys.exit(3)
        except ConfigError as error:
            _print_error(str(error))
            sys.exit(3)
        except StoreError as error:
            _print_error(str(error))
            sys.exit(4)
        except Deferred as error:
            _print_error(error.message)
            sys.exit(5)
        except PfiflowError as error:
            _print_error(str(error))
            sys.exit(1)
        except (click.ClickException, click.Abort, click.exceptions.Exit, OSError):
            raise  # click's own ways to end, and a closed pipe, which it knows as well
        except Exception as defect:  # noqa: BLE001 - its text may quote a document: the frames and the type say enough
            frames = "".join(traceback.format_tb(defect.__traceback__))
            _print_error(f"defect, please report it: {type(defect).__qualname__}\n{frames}")
            sys.exit(70)


def _print_error(text: str) -> None:
    _errors.print(f"[bold red]error:[/] {_escape(text)}", soft_wrap=True)


def _escape(text: str) -> str:
    return text.replace("[", r"\[")


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
def main() -> None:
    """pfiflow: route CDA documents between a hospital's software, the DMP and MSSanté."""


@main.command("version")
def print_version() -> None:
    """Print the version."""
    click.echo(f"pfiflow {version('pfiflow')}")


_COMMANDS: tuple[Callable[..., Any], ...] = (
    new.new,
    run.run,
    reload.reload,
    lint.lint,
    lint.schema,
    describe.list_names,
    describe.describe,
    graph.graph,
    test.test,
    explain.explain,
    send.send,
    messages.messages,
    traces.traces,
    sim.sim,
)
for _command in _COMMANDS:
    main.add_command(_command)  # type: ignore[arg-type]
