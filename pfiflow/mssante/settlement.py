"""Which recipients of which mails are settled, as one header: `<message-id> address address <message-id> …`.

Between the attempts at one exchange, who was accepted or refused for good is kept so, mail by mail: an address is never
written to again about the same mail, and one exchange, split, may send several mails to the same address.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["read_settled", "write_settled"]


def read_settled(header: str) -> dict[str, frozenset[str]]:
    """Message-ID → the addresses that are settled."""
    found: dict[str, frozenset[str]] = {}
    message_id = ""
    for word in header.split():
        if word.startswith("<"):
            message_id = word
        else:
            found[message_id] = found.get(message_id, frozenset()) | {word}
    return found


def write_settled(settled: Mapping[str, frozenset[str]]) -> str:
    """The header; the addresses sorted, so that the same progress gives the same text."""
    return " ".join(f"{message_id} {' '.join(sorted(addresses))}" for message_id, addresses in settled.items())
