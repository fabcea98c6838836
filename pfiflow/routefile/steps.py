"""Steps as a tree: what is inside of what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pfiflow.flow import route as r
from pfiflow.flow.component import Component, Registry

__all__ = ["all_steps", "branches", "component_of", "components", "walk"]


def branches(step: r.Step) -> tuple[tuple[r.Step, ...], ...]:
    """The steps inside of a step, by branch."""
    match step:
        case r.Choice():
            return (*(branch.steps for branch in step.whens), step.otherwise)
        case r.Split() | r.Enrich():
            return (step.steps,)
        case r.Multicast():
            return step.branches
        case _:
            return ()


def walk(steps: Iterable[r.Step]) -> Iterator[r.Step]:
    """Every step, those inside of others included."""
    for step in steps:
        yield step
        for branch in branches(step):
            yield from walk(branch)


def component_of(step: r.Step, registry: Registry) -> Component | None:
    """The processor or sink that a step is; None when it is an EIP step, or a function of which nothing is known."""
    match step:
        case r.Process(processor=str() | Component() as name) | r.ToEndpoint(sink=name):
            return registry.component(name)
        case _:
            return None


def components(steps: Iterable[r.Step], registry: Registry) -> Iterator[Component]:
    """The processors and sinks that these steps name."""
    return (component for step in walk(steps) if (component := component_of(step, registry)) is not None)


def all_steps(definition: r.FlowDefinition) -> Iterator[r.Step]:
    """Every step of every route."""
    for route in definition.routes:
        yield from walk(route.steps)
        yield from walk(route.on_rejected)
