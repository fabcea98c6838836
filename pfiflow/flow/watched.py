"""Around the doubles of a test: each attempt gets its scripted answer, and what leaves or comes of it is kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field, frozen

from pfiflow.errors import Deferred, Problem, Rejected
from pfiflow.flow.captured import Answered, Attempt, Outcome, Sent, VirtualClock
from pfiflow.flow.component import Component, Receipt, Receive, Sink
from pfiflow.flow.double import PlainAnswer
from pfiflow.flow.exchange import Exchange, Note

__all__ = ["Scene", "SendingStep", "SilentSource", "WatchedOutside", "WatchedReceive", "WatchedSink", "answers_of"]


@define
class _Scripted:
    """The answers of one destination: each for so many attempts (0: for all that follow), then the default ones."""

    answers: deque[tuple[Any, int]] = field(factory=deque)

    def next(self) -> Any | None:
        if not self.answers:
            return None
        answer, times = self.answers[0]
        if times == 1:
            self.answers.popleft()
        elif times > 1:
            self.answers[0] = (answer, times - 1)
        return answer


@frozen
class SendingStep:
    """Which step is sending."""

    route: str
    endpoint: str


def answers_of(component: Component) -> type:
    """The options class of one answer that a test scripts for this sink."""
    return PlainAnswer if component.double is None else component.double.answers


@define(eq=False)
class Scene:
    """What the doubles of one test share: the time, who is sending, the scripts, and what has come of it."""

    clock: VirtualClock
    started: float
    place: SendingStep = field(init=False, default=SendingStep("", ""))
    sent: list[Sent] = field(init=False, factory=list)
    attempts: list[Attempt] = field(init=False, factory=list)
    _scripts: dict[tuple[str, str], _Scripted] = field(init=False, factory=dict)

    @property
    def elapsed(self) -> float:
        """Seconds since the test began."""
        return round(self.clock.now() - self.started, 6)

    def script(self, endpoint: str, answer: Any, *, times: int = 1, route: str = "") -> None:
        """See `RouteTester.script`."""
        self._scripts.setdefault((route, endpoint), _Scripted()).answers.append((answer, times))

    def unused(self) -> list[str]:
        """Destinations with answers that were scripted, and never asked for."""
        left = [key for key, script in self._scripts.items() if any(times for _, times in script.answers)]
        return [" ".join(filter(None, key)) for key in left]

    def answer_for(self, component: Component) -> Any:
        """The answer to the attempt that begins now."""
        for key in ((self.place.route, self.place.endpoint), ("", self.place.endpoint)):
            answer = self._scripts[key].next() if key in self._scripts else None
            if answer is not None:
                return answer
        return answers_of(component)()


@define(eq=False)
class WatchedOutside:
    """The outside of one sink; see `Outside`."""

    scene: Scene
    component: Component
    options: Any
    answer: Any = None
    exchange: Exchange[Any] | None = None

    def sent(self, content: bytes, /, **facts: str) -> None:
        step = self.scene.place
        assert self.exchange is not None
        self.scene.sent.append(
            Sent(
                step.route,
                step.endpoint,
                self.component.name,
                self.options,
                bytes(content),
                facts,
                self.scene.elapsed,
                self.exchange.id,
            )
        )


@define(eq=False)
class WatchedSink:
    """A sink's double, each attempt of which gets its answer, and is recorded."""

    sink: Sink
    outside: WatchedOutside

    async def send(self, exchange: Exchange[Any], /) -> Exchange[Any]:
        outside, scene = self.outside, self.outside.scene
        outside.answer = scene.answer_for(outside.component)
        outside.exchange = exchange
        route, endpoint, at = scene.place.route, scene.place.endpoint, scene.elapsed
        outcome: Outcome = "accepted"
        cause = ""
        try:
            return await self.sink.send(exchange)
        except Exception as failure:
            outcome, cause = _outcome_of(failure)
            raise
        finally:
            scene.attempts.append(Attempt(route, endpoint, at, outcome, cause))

    async def aclose(self) -> None:
        await self.sink.aclose()


class SilentSource:
    """A source in a test: it lets nothing in by itself."""

    async def run(self, receive: Receive, started: Callable[[str], None]) -> None:
        raise NotImplementedError("a route under test has no source that runs")

    async def stop_accepting(self) -> None:
        return


@define(eq=False)
class WatchedReceive:
    """See `Receive`; it keeps what came of the last exchange."""

    receive: Receive
    told: Answered | None = None

    async def __call__(self, exchange: Exchange[Any], /) -> Receipt:
        try:
            receipt = await self.receive(exchange)
        except Exception as failure:
            outcome, cause = _outcome_of(failure)
            problems = failure.problems if isinstance(failure, Rejected) else (Problem("", cause),)
            self.told = Answered(outcome, problems)
            raise
        outcomes: Mapping[str | None, Outcome] = {None: "accepted", "same": "duplicate", "other": "refused"}
        self.told = Answered(outcomes[receipt.duplicate], exchange_id=receipt.exchange.id)
        return receipt

    def new_id(self) -> str:
        return self.receive.new_id()

    async def journal(self, *notes: Note, exchange_id: str = "", rationed: bool = False) -> None:
        await self.receive.journal(*notes, exchange_id=exchange_id, rationed=rationed)


def _outcome_of(failure: Exception) -> tuple[Outcome, str]:
    match failure:
        case Rejected():
            return "refused", str(failure)
        case Deferred(message=message):
            return "deferred", message
        case _:
            return "defect", type(failure).__name__
