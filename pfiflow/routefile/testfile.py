"""What a test file consists of, as options classes: read by them, and the JSON Schema is written from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from attrs import Factory, field, frozen

from pfiflow.flow.matching import Match
from pfiflow.flow.options import Duration, Range, option
from pfiflow.flow.route import Place
from pfiflow.routefile.leaves import FileName

__all__ = [
    "AnswerForm",
    "AnsweredForm",
    "AttemptForm",
    "DeadForm",
    "ExpectForm",
    "Expected",
    "InputForm",
    "JournalForm",
    "MessageForm",
    "RecordForm",
    "ScriptForm",
    "SentForm",
    "TestFile",
    "TestForm",
]

Expected: TypeAlias = Match
"""A match, as a test file writes it: a text, a list of texts, or a mapping of conditions and looks inside."""

_WHERE = field(default=Place("", 1, 1), kw_only=True, eq=False)
_POSITIVE = Range(above=0)


@frozen
class InputForm:
    """One message that comes in, or some time that passes."""

    route: str = option(default="", doc="The route whose source gets it.", example="intake")
    channel: str = option(default="", doc="Or the channel that it is put into.", example="orders")
    file: Path | None = option(default=None, doc="The message, from a file.", example="order.json")
    text: str | None = option(default=None, doc="Or written here.", example="a message")
    format: str = option(
        default="", doc="What it is (pfiflow list formats); unset: by the end of the file's name.", example="json"
    )
    set: Mapping[str, str] = option(
        default=Factory(dict), doc="Values in it to change first, by their path.", example={"/customer": "ada"}
    )
    headers: Mapping[str, str] = option(
        default=Factory(dict), doc="Headers of the exchange, of those that the source would set.", example={"shop": "a"}
    )
    body_type: str = option(
        default="", doc="The channel's body type, where it cannot be told from what writes it.", example="bytes"
    )
    after: Duration | None = option(
        default=None, doc="What was given before is dealt with, and so much time passes, first.", example="10m"
    )
    stopped: Duration | None = option(
        default=None, doc="As `after`, but nobody works meanwhile: the engine is stopped for so long.", example="8d"
    )
    place: Place = _WHERE


@frozen
class AnswerForm:
    """One scripted answer: the options of `Double.answers`, under the name of the component."""

    component: str
    answer: Any
    times: int
    place: Place


@frozen
class ScriptForm:
    """How one destination answers, attempt by attempt; afterwards all goes well."""

    endpoint: str = option(
        doc="The endpoint's name; its component's, when it stands in a route itself.", example="operator"
    )
    route: str = option(default="", doc="Only when this route sends there.", example="to-shop")
    answers: tuple[AnswerForm, ...] = option(doc="The answers, in order.", example=[{"deliver": {"defer": "busy"}}])
    place: Place = _WHERE


@frozen
class RecordForm:
    """A lasting fact, in the store."""

    kind: str = option(doc="Its kind.", example="mail")
    key: Expected = option(doc="Its key.", example="order-1")
    facts: Mapping[str, Expected] = option(default=Factory(dict), doc="Its facts.", example={"state": "sent"})
    place: Place = _WHERE


@frozen
class KnownForm:
    """A lasting fact that earlier exchanges have left."""

    kind: str = option(doc="Its kind.", example="mail")
    key: str = option(doc="Its key.", example="order-1")
    facts: Mapping[str, str] = option(default=Factory(dict), doc="Its facts.", example={"state": "sent"})


@frozen
class AnsweredForm:
    """What a source makes of one message, and says to its peer."""

    outcome: Literal["accepted", "duplicate", "refused", "deferred", "defect"] = option(
        default="accepted", doc="What becomes of it.", example="refused"
    )
    problems: Expected | None = option(
        default=None,
        doc="Why it is refused or deferred: each problem as `code at location: message`.",
        example={"contains": "103"},
    )
    content: Expected | None = option(default=None, doc="The bytes of the answer.", example={"contains": "ok"})
    facts: Mapping[str, Expected] = option(
        default=Factory(dict), doc="What is told of it besides.", example={"moved": "done"}
    )
    place: Place = _WHERE


@frozen
class SentForm:
    """What leaves by an endpoint."""

    endpoint: str = option(
        doc="The endpoint's name; its component's, when it stands in a route itself.", example="operator"
    )
    route: str = option(default="", doc="The route that sends it.", example="to-shop")
    content: Expected | None = option(default=None, doc="The bytes.", example={"contains": "bread"})
    facts: Mapping[str, Expected] = option(
        default=Factory(dict), doc="What goes with them: an envelope, an address.", example={"to": "ada"}
    )
    options: Mapping[str, Expected] = option(
        default=Factory(dict), doc="Options of the endpoint, by their path.", example={"tls.key": "pfi.key"}
    )
    at: Duration | None = option(default=None, doc="When, since the test began.", example="10s")
    place: Place = _WHERE


@frozen
class AttemptForm:
    """When an endpoint is tried."""

    endpoint: str = option(
        doc="The endpoint's name; its component's, when it stands in a route itself.", example="operator"
    )
    route: str = option(default="", doc="The route that tries.", example="to-shop")
    at: tuple[Duration, ...] = option(doc="When, since the test began, every time.", example=["0s", "10s", "30s"])
    causes: Expected | None = option(default=None, doc="Why each failed.", example={"each": {"contains": "busy"}})
    place: Place = _WHERE


@frozen
class MessageForm:
    """A message that waits in a channel at the end."""

    key: Expected | None = option(default=None, doc="Its ordering key.", example="ada")
    headers: Mapping[str, Expected] = option(default=Factory(dict), doc="Its headers.", example={"shop": "a"})
    content: Expected | None = option(default=None, doc="Its bytes.", example={"contains": "bread"})
    cause: Expected | None = option(default=None, doc="Why it waits, once it was tried.", example={"contains": "busy"})
    place: Place = _WHERE


@frozen
class DeadForm:
    """A dead letter."""

    channel: str = option(doc="The channel that it was in.", example="orders")
    cause: Expected | None = option(default=None, doc="Why it is one.", example={"contains": "refused"})
    headers: Mapping[str, Expected] = option(default=Factory(dict), doc="Its headers.", example={"shop": "a"})
    place: Place = _WHERE


@frozen
class JournalForm:
    """A line of the journal."""

    event: str = option(doc="Its event.", example="rejected")
    route: str = option(default="", doc="Its route.", example="to-shop")
    at: Duration | None = option(default=None, doc="When, since the test began.", example="10s")
    facts: Mapping[str, Expected] = option(default=Factory(dict), doc="Its facts.", example={"kind": "new"})
    place: Place = _WHERE


@frozen
class ExpectForm:
    """What is to come of it. What leaves, waits or dies is expected here, all of it, or the test fails."""

    answers: tuple[AnsweredForm, ...] | None = option(
        default=None,
        doc="What the sources make of each message given, in order; unset: all are accepted.",
        example=[{"outcome": "refused"}],
    )
    sent: tuple[SentForm, ...] = option(
        default=(), doc="All that leaves, in order.", example=[{"endpoint": "operator", "content": "bread"}]
    )
    attempts: tuple[AttemptForm, ...] = option(
        default=(), doc="When endpoints are tried.", example=[{"endpoint": "operator", "at": ["0s", "10s"]}]
    )
    channels: Mapping[str, tuple[MessageForm, ...]] = option(
        default=Factory(dict),
        doc="All that waits in the channels at the end, each channel's oldest first.",
        example={"orders": [{"key": "ada"}]},
    )
    dead: tuple[DeadForm, ...] = option(
        default=(), doc="All dead letters, oldest first.", example=[{"channel": "orders"}]
    )
    records: tuple[RecordForm, ...] = option(
        default=(), doc="Lasting facts that there are then, among others.", example=[{"kind": "mail", "key": "order-1"}]
    )
    settings: Mapping[str, Expected] = option(
        default=Factory(dict),
        doc="Settings that no message shows, by path: of the store, the engine, a channel, the source of a route.",
        example={"channels.orders.workers": "4", "routes.intake.from.listen": "127.0.0.1:2575"},
    )
    journal: tuple[JournalForm, ...] = option(
        default=(), doc="Lines of the journal, among others, in this order.", example=[{"event": "rejected"}]
    )
    place: Place = _WHERE


@frozen
class TestForm:
    """One test."""

    __test__ = False  # this is no test class of pytest's

    name: str = option(doc="What it shows, as a sentence.", example="An order for ada goes to the north shop")
    given: tuple[InputForm, ...] = option(doc="What comes in, in order.", example=[{"route": "intake", "text": "a"}])
    follow: tuple[str, ...] = option(
        default=(),
        doc="Routes that run as well; what others would read stays in their channels.",
        example=["to-shop"],
    )
    with_: tuple[ScriptForm, ...] = option(
        default=(), doc="How destinations answer; otherwise all goes well.", example=[{"endpoint": "operator"}]
    )
    known: tuple[KnownForm, ...] = option(
        default=(), doc="What earlier exchanges have left on record.", example=[{"kind": "mail", "key": "order-1"}]
    )
    for_: Duration | None = option(
        default=None,
        doc="How long it goes on after the last input; unset: until nothing waits for a retry.",
        example="1h",
        validator=_POSITIVE,
    )
    expect: ExpectForm = option(doc="What is to come of it.", example={"sent": [{"endpoint": "operator"}]})
    place: Place = _WHERE


@frozen
class TestFile:
    """A test file."""

    __test__ = False

    routes: tuple[FileName, ...] = option(doc="The route files under test, relative to this one.", example=["a.yaml"])
    environment_files: tuple[FileName, ...] = option(
        default=(), doc="Files of NAME=value lines that placeholders are filled in from.", example=["a.env.example"]
    )
    environment: Mapping[str, str] = option(
        default=Factory(dict),
        doc="Values of `${env:…}`, over those of the files. Without any, placeholders stay as they are written.",
        example={"SHOP": "north"},
    )
    tests: tuple[TestForm, ...] = option(doc="The tests.", example=[{"name": "…"}])
