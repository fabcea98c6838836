"""The script of a simulated server: what it is told to do instead of its job, where, for whom, how often."""

from __future__ import annotations

from collections import Counter

from attrs import define

__all__ = ["Rule", "Script"]


@define
class Rule:
    """One misbehaviour.

    Attributes:
        stage: where it applies; the server says which stages there are.
        reply: what is answered; "" leaves the normal answer.
        address: whom it concerns (a sender, a recipient, a login), in lower case; "" is everybody.
        times: how often it applies still; 0 is always.
        delay: seconds to wait first.
        close: cut the connection after the reply, or instead of an answer.
        keep: carry the order out all the same: what a client sees when only the answer is lost.
    """

    stage: str
    reply: str = ""
    address: str = ""
    times: int = 0
    delay: float = 0
    close: bool = False
    keep: bool = False


class Script:
    """Rules in the order in which they were added; the first one that fits answers.

    Attributes:
        counts: how often each stage was reached.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._rules: list[Rule] = []

    def add(self, rule: Rule) -> None:
        """A further rule."""
        self._rules.append(rule)

    def clear(self) -> None:
        """Forget every rule."""
        self._rules.clear()

    def take(self, stage: str, address: str = "") -> Rule | None:
        """Count the stage; the first rule that fits it, used up by one."""
        self.counts[stage] += 1
        for rule in self._rules:
            if rule.stage == stage and rule.address in {"", address.lower()}:
                if rule.times == 1:
                    self._rules.remove(rule)
                elif rule.times:
                    rule.times -= 1
                return rule
        return None
