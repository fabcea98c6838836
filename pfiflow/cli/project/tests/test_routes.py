"""What a YAML test would say over and over: every message of messages/ is taken, and is kept for its destinations."""

from pathlib import Path

import pytest

from pfiflow.testing.plugin import RouteTesterFactory

PROJECT = Path(__file__).parent.parent
MESSAGES = sorted((PROJECT / "messages").glob("*.hl7"))
SETTINGS = {
    name: value.strip('"')
    for name, equals, value in (line.partition("=") for line in (PROJECT / ".env").read_text().splitlines())
    if equals and not name.startswith("#")
}


@pytest.mark.parametrize("message", MESSAGES, ids=[message.name for message in MESSAGES])
def test_every_message_is_taken(message: Path, route_tester: RouteTesterFactory) -> None:
    tester = route_tester(PROJECT / "routes.yaml", environment=SETTINGS)
    assert tester.give("transmission", message).outcome == "accepted"
