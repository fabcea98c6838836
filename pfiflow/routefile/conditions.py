"""Whether conditions can hold, alone and together, and which headers they show to be there.

A condition is cut into atoms: comparisons of something with constant texts, `has(…)`, and whatever else is true or
false. All values of the atoms are tried. Two atoms are independent unless they compare the same thing; so an answer
"cannot" is certain, an answer "can" is not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TypeAlias

from attrs import define, field

from pfiflow.routefile.cel_syntax import Call, Literal, Name, Node, headers_in, path_of, paths_in
from pfiflow.routefile.cel_syntax import Collection as Items

__all__ = ["Fact", "Values", "can_hold", "comparisons", "possible_values", "related", "shown_present"]

Fact: TypeAlias = tuple[Node, bool]
"""A condition that holds, or that does not."""

Values: TypeAlias = Callable[[Node], frozenset[str] | None]
"""All that something may be, as texts; None: anything. Of `has(…)`: `true` or `false`."""

_MOST = 4096  # combinations that are tried
_OTHER = "\0other"  # stands for every text that no condition names


def can_hold(facts: Collection[Fact], values: Values) -> bool:
    """Whether all of this can hold at once. To ask of one condition among many, give `related` ones only."""
    atoms = _Atoms()
    for condition, _ in facts:
        atoms.collect(condition)
    choices = atoms.choices(values)
    if math.prod(map(len, choices.values())) > _MOST:
        return True
    trials = (dict(zip(choices, trial, strict=True)) for trial in itertools.product(*choices.values()))
    return any(_all_hold(facts, trial) for trial in trials)


def related(condition: Node, facts: Iterable[Fact]) -> tuple[Fact, ...]:
    """The facts that have to do with a condition: those that look at what it looks at, and those that these lead to."""
    found: list[Fact] = []
    left = sorted(facts, key=repr)
    seen = set(paths_in(condition))
    while fresh := [fact for fact in left if seen & paths_in(fact[0])]:
        found += fresh
        left = [fact for fact in left if fact not in fresh]
        seen.update(*(paths_in(fact[0]) for fact in fresh))
    return tuple(found)


def possible_values(node: Node, facts: Collection[Fact], values: Values) -> frozenset[str] | None:
    """What something may be where all of this holds; None: anything."""
    if isinstance(node, Literal):
        return frozenset({str(node.value)}) if node.kind == "text" and not _is_filled_in(node.value) else None
    if isinstance(node, Call) and node.function == "?":
        condition, yes, no = node.arguments
        found: frozenset[str] = frozenset()
        for truth, branch in ((True, yes), (False, no)):
            assumed = (*facts, (condition, truth))
            if can_hold((*related(condition, facts), (condition, truth)), values):
                part = possible_values(branch, assumed, values)
                if part is None:
                    return None
                found |= part
        return found
    known = values(node)
    if known is None:
        return None
    about = related(node, facts)
    return frozenset(
        value for value in known if can_hold([*about, (Call("==", (node, Literal("text", value))), True)], values)
    )


def shown_present(condition: Node, *, truth: bool) -> frozenset[str]:
    """Headers that are certainly there once this was evaluated without error, and came out so."""
    match condition:
        case Call(function="has", arguments=(of,)):
            path = path_of(of)
            return frozenset({path[1]}) if truth and len(path) == 2 and path[0] == "headers" else frozenset()
        case Call(function="in", arguments=(Literal(kind="text", value=name), Name(name="headers"))):
            return frozenset({str(name)}) if truth else frozenset()
        case Call(function="!", arguments=(inner,)):
            return shown_present(inner, truth=not truth)
        case Call(function="&&" | "||" as sign, arguments=(left, right)):
            both = (shown_present(left, truth=truth), shown_present(right, truth=truth))
            return both[0] | both[1] if (sign == "&&") is truth else both[0] & both[1]
        case Call(function="?"):
            return frozenset()
        case _:
            return headers_in(condition)


def comparisons(node: Node) -> Iterator[tuple[Node, tuple[Literal, ...]]]:
    """What is compared with constant texts, and with which: in `x == "a"`, `x in ["a", "b"]`, wherever they stand."""
    if isinstance(node, Call):
        compared = _compared(node)
        if compared is None:
            for argument in node.arguments:
                yield from comparisons(argument)
            return
        constants = [each for each in node.arguments if isinstance(each, Literal)]
        lists = [each.items for each in node.arguments if isinstance(each, Items)]
        texts = (*constants, *(item for items in lists for item in items))
        yield compared[0], tuple(each for each in texts if isinstance(each, Literal))


# -- atoms -------------------------------------------------------------------------------------------------------------


def _is_filled_in(value: object) -> bool:
    """A placeholder without its value stands in this text."""
    return isinstance(value, str) and "${" in value


def _compared(node: Node) -> tuple[Node, frozenset[str]] | None:
    """`x == "a"`, `x in ["a", "b"]`: what is compared, and with which constant texts."""
    match node:
        case (
            Call(function="==" | "!=", arguments=(Literal(kind="text", value=str(text)), subject))
            | Call(function="==" | "!=", arguments=(subject, Literal(kind="text", value=str(text))))
        ):
            return None if isinstance(subject, Literal) or _is_filled_in(text) else (subject, frozenset({text}))
        case Call(function="in", arguments=(subject, Items(kind="list", items=items))):
            texts = [item.value for item in items if isinstance(item, Literal) and isinstance(item.value, str)]
            if len(texts) < len(items) or any(map(_is_filled_in, texts)):
                return None
            return subject, frozenset(texts)
        case _:
            return None


Trial: TypeAlias = Mapping[Node, object]


def _holds(node: Node, trial: Trial) -> bool:
    match node:
        case Literal(kind="boolean", value=value):
            return bool(value)
        case Call(function="!", arguments=(inner,)):
            return not _holds(inner, trial)
        case Call(function="&&", arguments=arguments):
            return all(_holds(each, trial) for each in arguments)
        case Call(function="||", arguments=arguments):
            return any(_holds(each, trial) for each in arguments)
        case Call(function="?", arguments=(condition, yes, no)):
            return _holds(yes if _holds(condition, trial) else no, trial)
        case Call(function="==" | "!=" as sign, arguments=(left, Literal(kind="boolean", value=value))):
            return (_holds(left, trial) is value) is (sign == "==")
        case _:
            compared = _compared(node)
            if compared is None:
                return bool(trial[node])
            found = trial[compared[0]] in compared[1]
            return found is not (isinstance(node, Call) and node.function == "!=")


def _all_hold(facts: Iterable[Fact], trial: Trial) -> bool:
    return all(_holds(condition, trial) is truth for condition, truth in facts)


@define
class _Atoms:
    compared: dict[Node, set[str]] = field(factory=dict)
    truths: dict[Node, None] = field(factory=dict)

    def collect(self, node: Node) -> None:
        match node:
            case Literal(kind="boolean"):
                pass
            case Call(function="!" | "&&" | "||" | "?", arguments=arguments):
                for each in arguments:
                    self.collect(each)
            case Call(function="==" | "!=", arguments=(left, Literal(kind="boolean"))):
                self.collect(left)
            case _:
                compared = _compared(node)
                if compared is None:
                    self.truths[node] = None
                else:
                    self.compared.setdefault(compared[0], set()).update(compared[1])

    def choices(self, values: Values) -> dict[Node, tuple[object, ...]]:
        """What each atom may be."""
        found: dict[Node, tuple[object, ...]] = {}
        for node, texts in self.compared.items():
            known = values(node)
            found[node] = (*sorted(texts), _OTHER) if known is None else tuple(sorted(known))
        for node in self.truths:
            known = values(node)
            found[node] = (True, False) if known is None else tuple(each == "true" for each in sorted(known))
        return found
