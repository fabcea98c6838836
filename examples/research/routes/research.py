"""A step of our own: takes out of a result what names the patient."""

from __future__ import annotations

import hashlib

from pfiflow import Exchange, Problem, Rejected
from pfiflow.hl7 import er7

KEPT = {"MSH", "ORC", "OBR", "OBX"}  # the others may name a person, as PRT does; so may a document (OBX-2 ED)


def anonymise(exchange: Exchange[bytes]) -> Exchange[bytes]:
    """The same message, with a pseudonym in the place of all that it says of the patient."""
    message = er7.parse(exchange.body)
    local = message.get("PID-3.1")
    if not local:
        raise Rejected(Problem("101", "a result without a patient identifier", "PID-3"))
    pseudonym = hashlib.sha256(f"research|{local}".encode()).hexdigest()[:16]
    kept = [each.raw for each in message.segments if each.name in KEPT and each.text(2) != "ED"]
    kept.insert(1, b"PID|||" + pseudonym.encode())
    return exchange.with_body(b"\r".join(kept) + b"\r").with_headers({"pseudonym": pseudonym})
