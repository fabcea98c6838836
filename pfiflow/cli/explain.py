"""`pfiflow explain`: a message's way through the routes, step by step, with nothing sent."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import click

from pfiflow.cli.logs import silenced
from pfiflow.errors import ConfigError, ConfigErrors
from pfiflow.flow.component import Registry
from pfiflow.flow.route import FlowDefinition, FromEndpoint, Place
from pfiflow.flow.testing import RouteTester, Seen
from pfiflow.routefile.environment import read_environment
from pfiflow.routefile.explain import Explainer, StepTold, Walk
from pfiflow.routefile.given import prepared
from pfiflow.routefile.load import read

__all__ = ["explain"]


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--message", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The message's file."
)
@click.option("--route", default="", help="The route whose source gets it; needed when several have one.")
@click.option("--follow", is_flag=True, help="Go on into the routes that read what it puts into channels.")
@click.option(
    "--env-file",
    "env_files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="NAME=value lines for placeholders, over the environment; those without a value stay as they are written.",
)
@click.option("--format", "output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def explain(
    files: tuple[Path, ...], message: Path, route: str, env_files: tuple[Path, ...], output: str, *, follow: bool
) -> None:
    """Walk a message through the routes of FILES and print what each step did, changed and decided.

    Nothing listens and nothing is sent: sources and networks are replaced as by `pfiflow test`; every destination
    accepts. What is printed holds values of the message. Exit status 0 when the source accepts it, 1 otherwise.
    """
    registry = Registry.installed()
    definition = _load(files, registry, env_files)
    chosen = _route(definition, route)
    explainer = Explainer(registry, definition)
    routes = None if follow else (chosen,)
    tester = RouteTester(definition, registry, routes, trace=explainer.trace)
    content = prepared(registry, message.read_bytes(), suffix=message.suffix, name="", changes={})
    with silenced():
        seen = asyncio.run(_walk(tester, chosen, content))
    if output == "json":
        click.echo(json.dumps(_as_json(explainer.walks, seen), ensure_ascii=False, indent=2))
    else:
        click.echo("\n".join(_as_text(explainer.walks, seen)))
    sys.exit(0 if seen.answered[0].outcome in {"accepted", "duplicate"} else 1)


def _load(files: Sequence[Path], registry: Registry, env_files: Sequence[Path]) -> FlowDefinition:
    environment = dict(os.environ)
    for path in env_files:
        environment.update(read_environment(path))
    loaded = read(files, registry, "lint", environment)
    if loaded.definition is None:
        raise ConfigErrors(loaded.errors)
    return loaded.definition


def _route(definition: FlowDefinition, name: str) -> str:
    sources = [route.id for route in definition.routes if isinstance(route.source, FromEndpoint)]
    if name in sources:
        return name
    if name or len(sources) != 1:
        listed = ", ".join(sources) or "none"
        raise ConfigError(f"--route names a route that has a source of its own; there are: {listed}", code="route")
    return sources[0]


async def _walk(tester: RouteTester, route: str, content: bytes) -> Seen:
    async with tester.running():
        await tester.give(route, content)
        await tester.run(0.0)
        return await tester.seen()


# -- printing --------------------------------------------------------------------------------------------------------


def _as_text(walks: Sequence[Walk], seen: Seen) -> Iterator[str]:
    for number, walk in enumerate(walks):
        kind = "on-rejected of route" if walk.refused else "route"
        yield click.style(f"{kind} {walk.route}, exchange {walk.exchange_id.lstrip('0')}, {walk.body}", bold=True)
        if number == 0:
            for name, value in walk.headers.items():
                yield f"  header {name} = {value}"
        for step in walk.steps:
            yield from _step(step, "  ")
        yield ""
    answered = seen.answered[0]
    yield click.style(f"answer to its sender: {answered.outcome}", bold=True)
    yield from (f"  {problem}" for problem in answered.problems)
    yield from (f"  {line}" for line in answered.content.decode("utf-8", "replace").splitlines())
    yield from (f"  {name} = {value}" for name, value in answered.facts.items() if value)
    for sent in seen.sent:
        facts = " ".join(f"{name}={value}" for name, value in sent.facts.items() if value)
        yield click.style(f"would leave by {sent.endpoint}", bold=True) + f": {len(sent.content)} bytes {facts}"
    for channel, waiting in seen.waiting.items():
        for message, _ in waiting:
            yield click.style(f"waits in channel {channel}", bold=True) + f" {message.cause}".rstrip()
    for letter in seen.dead:
        yield click.style(f"dead letter of channel {letter.channel}", fg="red", bold=True) + f": {letter.cause}"


def _step(step: StepTold, indent: str) -> Iterator[str]:
    part = f" [part {step.part}]" if step.part else ""
    place = click.style(f"  {_at(step.place)}", dim=True) if step.place else ""
    yield f"{indent}{click.style(step.name, fg='cyan')}{part}{place}"
    inner = f"{indent}    "
    for decision in step.decisions:
        why = ", ".join(f"{name} = {value}" for name, value in decision.values.items())
        verdict = click.style("holds" if decision.holds else "does not hold", fg="green" if decision.holds else None)
        yield f"{inner}when {decision.condition} {verdict}{f' ({why})' if why else ''}"
    for below in step.steps:
        yield from _step(below, inner)
    if step.body:
        yield f"{inner}body {step.body}"
        yield from (f"{inner}  body.{name} = {value}" for name, value in step.view.items())
    for name, (before, value) in step.set_headers.items():
        yield f"{inner}header {name} = {value}{f' (was {before})' if before is not None else ''}"
    yield from (f"{inner}into channel {channel}, key {key}" for channel, key in step.put)
    yield from (f"{inner}remembers {each}" for each in step.remembered)
    yield from (f"{inner}journal: {note}" for note in step.notes)
    yield from (click.style(f"{inner}{line}", fg="red") for line in step.end)


def _at(place: Place) -> str:
    return f"{place.file}:{place.line}:{place.column}"


def _as_json(walks: Sequence[Walk], seen: Seen) -> dict[str, Any]:
    answered = seen.answered[0]
    return {
        "walks": [attrs.asdict(walk, value_serializer=_serialized) for walk in walks],
        "answer": {
            "outcome": answered.outcome,
            "problems": [str(problem) for problem in answered.problems],
            "content": answered.content.decode("utf-8", "replace"),
            "facts": dict(answered.facts),
        },
        "sent": [
            {"route": each.route, "endpoint": each.endpoint, "size": len(each.content), "facts": dict(each.facts)}
            for each in seen.sent
        ],
        "waiting": [
            {"channel": name, "key": message.key, "cause": message.cause}
            for name, waiting in seen.waiting.items()
            for message, _ in waiting
        ],
        "dead": [{"channel": each.channel, "cause": each.cause} for each in seen.dead],
    }


def _serialized(_owner: Any, _attribute: Any, value: Any) -> Any:
    if isinstance(value, Place):
        return _at(value)
    return dict(value) if hasattr(value, "items") and not isinstance(value, dict) else value
