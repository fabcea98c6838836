"""Compares what came of a test with what it expects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import evolve

from pfiflow.flow import route as r
from pfiflow.flow.format import Value
from pfiflow.flow.matching import Match, Mismatch
from pfiflow.flow.route import Place
from pfiflow.flow.testing import Answered, Seen, Sent
from pfiflow.routefile.leaves import is_options, options_of, written
from pfiflow.routefile.testfile import AnsweredForm, ExpectForm, RecordForm, SentForm, TestForm
from pfiflow.store.api import MessageSummary

__all__ = ["differences"]


def differences(test: TestForm, seen: Seen, definition: r.FlowDefinition) -> Iterator[Mismatch]:
    """Every difference, in the order of what happened. Whatever left, waits or died and is not expected is one."""
    expect = test.expect
    yield from _answers(expect, seen.answered)
    yield from _sent(expect, seen.sent)
    yield from _attempts(expect, seen)
    for name in seen.unused:
        yield Mismatch(("with",), f"an attempt to send by {name} for each scripted answer", "fewer", test.place)
    yield from _waiting(expect, seen)
    yield from _dead(expect, seen)
    for form in expect.records:
        yield from _record(form, seen)
    yield from _journal(expect, seen)
    for path, match in expect.settings.items():
        yield from _check(("settings", path), match, _setting(definition, path))


def _check(where: tuple[str, ...], match: Match | None, values: Sequence[Value]) -> Iterator[Mismatch]:
    if match is not None:
        for mismatch in match.check(values):
            yield evolve(mismatch, path=(*where, *mismatch.path))


def _check_all(where: tuple[str, ...], matches: Mapping[str, Match], values: Mapping[str, str]) -> Iterator[Mismatch]:
    for name, match in matches.items():
        yield from _check((*where, name), match, [values[name]] if values.get(name) else [])


def _counted(what: str, expected: Sequence[Any], found: Sequence[str], place: Place) -> Iterator[Mismatch]:
    """Tells of too few or too many; the rest is compared one by one."""
    if len(expected) != len(found):
        listed = "; ".join(found) or "nothing"
        extra = expected[len(found)].place if len(expected) > len(found) else place
        yield Mismatch((what,), f"{len(expected)}", f"{len(found)}: {listed}", extra)


def _answers(expect: ExpectForm, answered: Sequence[Answered]) -> Iterator[Mismatch]:
    expected = expect.answers
    if expected is None:
        expected = (AnsweredForm(place=expect.place),) * len(answered)
        yield from _answers_one_by_one(expected, answered, accepted={"accepted", "duplicate"})
        return
    found = [f"{each.outcome}{''.join(f' ({problem})' for problem in each.problems)}" for each in answered]
    yield from _counted("answers", expected, found, expect.place)
    yield from _answers_one_by_one(expected, answered)


def _answers_one_by_one(
    expected: Sequence[AnsweredForm], answered: Sequence[Answered], accepted: Iterable[str] = ()
) -> Iterator[Mismatch]:
    for number, (form, answer) in enumerate(zip(expected, answered, strict=False), 1):
        where = (f"answers[{number}]",)
        problems = [str(problem) for problem in answer.problems]
        if answer.outcome != form.outcome and answer.outcome not in accepted:
            said = f"{answer.outcome}: {' | '.join(problems)}" if problems else answer.outcome
            yield Mismatch((*where, "outcome"), form.outcome, said, form.place)
            continue
        yield from _check((*where, "problems"), form.problems, problems)
        yield from _check((*where, "content"), form.content, [answer.content] if answer.content else [])
        yield from _check_all((*where, "facts"), form.facts, answer.facts)


def _sent(expect: ExpectForm, sent: Sequence[Sent]) -> Iterator[Mismatch]:
    found = [f"by {each.endpoint} from route {each.route} at {each.at:g}s {_short(each)}".rstrip() for each in sent]
    yield from _counted("sent", expect.sent, found, expect.place)
    for number, (form, each) in enumerate(zip(expect.sent, sent, strict=False), 1):
        yield from _sent_one((f"sent[{number}]",), form, each)


def _short(sent: Sent) -> str:
    return " ".join(f"{name}={value}" for name, value in sent.facts.items() if value)


def _sent_one(where: tuple[str, ...], form: SentForm, sent: Sent) -> Iterator[Mismatch]:
    if form.endpoint != sent.endpoint or form.route not in {"", sent.route}:
        expected = " from ".join(filter(None, (form.endpoint, form.route)))
        yield Mismatch((*where, "endpoint"), expected, f"{sent.endpoint} from {sent.route}", form.place)
        return
    yield from _check((*where, "content"), form.content, [sent.content])
    yield from _check_all((*where, "facts"), form.facts, sent.facts)
    for path, match in form.options.items():
        yield from _check((*where, "options", path), match, _option(sent.options, path))
    if form.at is not None and abs(form.at - sent.at) > 1e-3:
        yield Mismatch((*where, "at"), f"{form.at:g}s", f"{sent.at:g}s", form.place)


def _option(options: Any, path: str) -> list[str]:
    """The values of an option by its name, or of one in a nested class: `tls.certificate`."""
    name, dot, rest = path.partition(".")
    cls: Any = type(options)
    if not is_options(cls) or name not in options_of(cls):
        return []
    attribute, hint = options_of(cls)[name]
    value = getattr(options, attribute.name)
    if dot:
        return _option(value, rest)
    plain = written(value, hint)
    items = plain if isinstance(plain, list) else [plain]
    return [
        ("true" if item else "false") if isinstance(item, bool) else str(item) for item in items if item is not None
    ]


def _setting(definition: r.FlowDefinition, path: str) -> list[str]:
    section, _, rest = path.partition(".")
    name, _, inner = rest.partition(".")
    match section:
        case "store" | "engine":
            return _option(getattr(definition, section), rest)
        case "channels" if name in definition.channels:
            return _option(definition.channels[name], inner)
        case "routes" if inner.startswith("from."):
            sources = [route.source for route in definition.routes if route.id == name]
            options = [source.options for source in sources if isinstance(source, r.FromEndpoint)]
            return [value for each in options for value in _option(each, inner.removeprefix("from."))]
        case _:
            return []


def _attempts(expect: ExpectForm, seen: Seen) -> Iterator[Mismatch]:
    for number, form in enumerate(expect.attempts, 1):
        where = (f"attempts[{number}]",)
        tried = [each for each in seen.attempts if each.endpoint == form.endpoint and form.route in {"", each.route}]
        expected, found = [f"{at:g}s" for at in form.at], [f"{each.at:g}s" for each in tried]
        if expected != found:
            causes = "".join(f"\n{each.at:g}s {each.outcome} {each.cause}".rstrip() for each in tried)
            yield Mismatch((*where, "at"), ", ".join(expected), (", ".join(found) or "never") + causes, form.place)
        yield from _check((*where, "causes"), form.causes, [each.cause for each in tried if each.cause])


def _waiting(expect: ExpectForm, seen: Seen) -> Iterator[Mismatch]:
    for channel, waiting in seen.waiting.items():
        forms = expect.channels.get(channel, ())
        found = [f"key {each.key!r} {each.cause}".rstrip() for each, _ in waiting]
        yield from _counted(f"channels.{channel}", forms, found, expect.place)
        for number, (form, (message, content)) in enumerate(zip(forms, waiting, strict=False), 1):
            where = (f"channels.{channel}[{number}]",)
            yield from _check((*where, "key"), form.key, [message.key])
            yield from _check((*where, "content"), form.content, [content])
            yield from _check((*where, "cause"), form.cause, [message.cause] if message.cause else [])
            yield from _check_all((*where, "headers"), form.headers, message.headers)


def _dead(expect: ExpectForm, seen: Seen) -> Iterator[Mismatch]:
    yield from _counted("dead", expect.dead, list(map(_letter, seen.dead)), expect.place)
    for number, (form, letter) in enumerate(zip(expect.dead, seen.dead, strict=False), 1):
        where = (f"dead[{number}]",)
        if form.channel != letter.channel:
            yield Mismatch((*where, "channel"), form.channel, letter.channel, form.place)
        yield from _check((*where, "cause"), form.cause, [letter.cause])
        yield from _check_all((*where, "headers"), form.headers, letter.headers)


def _letter(dead: MessageSummary) -> str:
    """What it died of; of a defect, where."""
    frames = f"\n{dead.detail}" if dead.defects or dead.cause.startswith("defect") else ""
    return f"{dead.channel}: {dead.cause}{frames}"


def _record(form: RecordForm, seen: Seen) -> Iterator[Mismatch]:
    where = f"records {form.kind}"
    candidates = [
        [
            *_check((where, "key"), form.key, [record.key]),
            *_check_all((where, "facts"), form.facts, record.facts),
        ]
        for record in seen.records
        if record.kind == form.kind
    ]
    if not candidates:
        yield Mismatch((where,), "one", "none", form.place)
    elif all(candidates):
        yield from min(candidates, key=len)


def _journal(expect: ExpectForm, seen: Seen) -> Iterator[Mismatch]:
    left = list(seen.journal)
    for number, form in enumerate(expect.journal, 1):
        where = (f"journal[{number}]",)
        nearest: list[Mismatch] = []
        for at, line in enumerate(left):
            late = form.at is not None and abs(line.at - seen.started - form.at) > 1e-3
            if line.event != form.event or form.route not in {"", line.route} or late:
                continue
            nearest = list(_check_all((*where, "facts"), form.facts, line.facts))
            if not nearest:
                del left[: at + 1]
                break
        else:
            events = ", ".join(f"{line.event} at {line.at - seen.started:g}s" for line in left) or "nothing"
            yield from nearest or [Mismatch((*where, "event"), form.event, f"then came: {events}", form.place)]
