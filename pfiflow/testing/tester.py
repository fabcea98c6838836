"""A route tester for plain Python: no `async`, the same engine and doubles as `pfiflow test`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

from attrs import define, field

from pfiflow.errors import ConfigError
from pfiflow.flow import route as r
from pfiflow.flow.component import Registry
from pfiflow.flow.testing import Answered, Attempt, RouteTester, Seen, Sent, VirtualClock, answers_of
from pfiflow.routefile.dataflow import channel_types
from pfiflow.routefile.given import decoded, prepared
from pfiflow.routefile.load import load
from pfiflow.routefile.steps import all_steps
from pfiflow.store.api import MessageSummary

__all__ = ["Tester"]


@define(eq=False)
class Tester:
    """Route files under test. Use it as a context manager, or `close()` it; the fixture `route_tester` does.

    Attributes:
        files: the route files.
        environment: what `${env:…}` is filled in with; without any, placeholders stay as they are written.
        routes: the routes that run; None: all of them.
        registry: the components; None: those installed.
        clock: the time, which goes when nothing is due.
    """

    __test__ = False  # pytest takes classes of such a name for tests

    files: Sequence[Path]
    environment: Mapping[str, str] = field(factory=dict)
    routes: Sequence[str] | None = None
    registry: Registry | None = None
    clock: VirtualClock = field(factory=VirtualClock)
    _known: Registry = field(init=False)
    _definition: r.FlowDefinition = field(init=False)
    _core: RouteTester = field(init=False)
    _runner: asyncio.Runner = field(init=False, factory=asyncio.Runner)
    _stack: AsyncExitStack = field(init=False, factory=AsyncExitStack)

    def __attrs_post_init__(self) -> None:
        self._known = self.registry or Registry.installed()
        if self.environment:
            self._definition = load(self.files, self._known, placeholders="test", environment=self.environment)
        else:
            self._definition = load(self.files, self._known, placeholders="keep")
        self._core = RouteTester(self._definition, self._known, self.routes, self.clock)
        self._runner.run(self._stack.enter_async_context(self._core.running()))

    def close(self) -> None:
        """End it."""
        self._runner.run(self._stack.aclose())
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()

    # -- what comes in -------------------------------------------------------------------------------------------------

    def give(
        self,
        route: str,
        message: bytes | str | Path,
        *,
        format: str = "",  # noqa: A002 - the word of test files
        set: Mapping[str, str] | None = None,  # noqa: A002 - the word of test files
        headers: Mapping[str, str] | None = None,
    ) -> Answered:
        """A message comes to the source of a route: bytes, a text, or a file. What the source makes of it.

        Args:
            route: the route's id.
            message: a Path is read; its format is told by its suffix.
            format: what the message is (`hl7`, `mail`…), needed for `set` where no suffix tells.
            set: values to change in it first, by path.
            headers: headers that the source would set.
        """
        content = self._content(message, format, set or {})
        return self._runner.run(self._core.give(route, content, headers))

    def put(
        self,
        channel: str,
        message: bytes | str | Path,
        *,
        format: str = "",  # noqa: A002 - the word of test files
        set: Mapping[str, str] | None = None,  # noqa: A002 - the word of test files
        headers: Mapping[str, str] | None = None,
        body_type: str = "",
    ) -> None:
        """A message is put into a channel, as a route would. `body_type`: where no writer tells which it is."""
        content = self._content(message, format, set or {})
        types = channel_types(self._definition, self._known).get(channel, frozenset())
        body = decoded(self._known, content, types=types, name=body_type)
        self._runner.run(self._core.put(channel, body, headers))

    def remember(self, kind: str, key: str, facts: Mapping[str, str]) -> None:
        """A record that earlier exchanges have left."""
        self._runner.run(self._core.remember(kind, key, facts))

    def script(self, endpoint: str, *, times: int = 1, route: str = "", **answer: Any) -> None:
        """How a destination answers the next attempts; afterwards all goes well.

        Args:
            endpoint: its name; its component's, when it stands in a route itself.
            times: for so many attempts; 0: for all that follow.
            route: only when this route sends there.
            answer: options of the component's answer, such as `code="AE"`; see docs/testing.md.
        """
        steps = [step for step in all_steps(self._definition) if isinstance(step, r.ToEndpoint)]
        names = {step.id or step.sink: step.sink for step in steps}
        if endpoint not in names:
            raise ConfigError(f"nothing is sent by {endpoint!r}; known: {', '.join(sorted(names))}", code="endpoint")
        component = self._known.component(names[endpoint], "sink")
        self._core.script(endpoint, answers_of(component)(**answer), times=times, route=route)

    # -- time ----------------------------------------------------------------------------------------------------------

    def run(self, seconds: float | None = None) -> None:
        """What is due is done; then the time passes until the next retry, and so on: for so long, or to the end."""
        self._runner.run(self._core.run(seconds))

    def stand_still(self, seconds: float) -> None:
        """The time passes, and nobody works: as if the engine were stopped."""
        self._core.stand_still(seconds)

    # -- what came of it -----------------------------------------------------------------------------------------------

    @property
    def seen(self) -> Seen:
        """All that has come of it until now."""
        return self._runner.run(self._core.seen())

    @property
    def sent(self) -> list[Sent]:
        """What left, in order."""
        return self._core.sent

    @property
    def attempts(self) -> list[Attempt]:
        """Every attempt to send, in order."""
        return self._core.attempts

    def waiting(self, channel: str) -> list[tuple[MessageSummary, bytes]]:
        """The messages that wait in a channel, oldest first, each with its bytes."""
        return list(self.seen.waiting[channel])

    @property
    def dead(self) -> list[MessageSummary]:
        """The dead letters, oldest first."""
        return list(self.seen.dead)

    def _content(self, message: bytes | str | Path, name: str, changes: Mapping[str, str]) -> bytes:
        content = message.read_bytes() if isinstance(message, Path) else message
        content = content.encode() if isinstance(content, str) else content
        suffix = message.suffix if isinstance(message, Path) else ""
        return prepared(self._known, content, suffix=suffix, name=name, changes=changes)
