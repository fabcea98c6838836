"""Tests of routes in Python: what `pfiflow test` does with YAML, as functions and as pytest fixtures.

    from pfiflow.testing import assert_matches, contains

    def test_a_letter_leaves(route_tester):
        tester = route_tester("routes/mine.yaml", environment={"PFI_OID": "1.2.3"})
        tester.script("operator", connection="refused")
        tester.give("intake", Path("letter.hl7"), set={"MSH-10": "T1"})
        tester.run()
        (mail,) = tester.sent
        assert mail.at == 10
        assert_matches(mail.content, mail={"Subject": contains("letter")})

The fixtures `route_tester`, `captured` and `clock` come with the package (`pfiflow.testing.plugin`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pfiflow.flow.testing import Answered, Attempt, Seen, Sent, VirtualClock
    from pfiflow.testing.matchers import absent, assert_matches, contains, count, each, lacks, match_of, matches, some
    from pfiflow.testing.tester import Tester

__all__ = [
    "Answered",
    "Attempt",
    "Seen",
    "Sent",
    "Tester",
    "VirtualClock",
    "absent",
    "assert_matches",
    "contains",
    "count",
    "each",
    "lacks",
    "match_of",
    "matches",
    "some",
]

_HOME = {
    **dict.fromkeys(("Answered", "Attempt", "Seen", "Sent", "VirtualClock"), "pfiflow.flow.testing"),
    "Tester": "pfiflow.testing.tester",
}


def __getattr__(name: str) -> object:
    """Imported when first used: pytest loads the plugin, and an engine the formats, without all of this."""
    if name not in __all__:
        raise AttributeError(f"module 'pfiflow.testing' has no attribute {name!r}")
    return getattr(import_module(_HOME.get(name, "pfiflow.testing.matchers")), name)
