"""The DMP simulator's service asked without a network, and ways to spoil a request."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from http.client import HTTPMessage

from lxml import etree

from pfiflow.dmp import soap
from pfiflow.dmp.soap import Outgoing
from pfiflow.dmp.submission import ACTION
from pfiflow.simulators.dmp_door import BASE, Incoming
from pfiflow.simulators.dmp_service import Service
from pfiflow.simulators.documents import SyntheticDocument, document
from pfiflow.xds import vocabulary as v
from tests.simulators.dmp_client import Got, Sender, entry_of

Edit = Callable[[etree._Element], None]

NUMBERS = itertools.count(1)
LOINC = "2.16.840.1.113883.6.1"
OTHER_PATIENT = "230016311300148^^^&1.2.250.1.213.1.4.10&ISO^NH"
ALREADY = "XDSDuplicateUniqueIdInRegistry"
METADATA = "XDSRepositoryMetadataError"
DENIED = "DMPAccessDeniedByRightsService"


def fresh(**options: object) -> SyntheticDocument:
    return document(number=next(NUMBERS), **options)  # type: ignore[arg-type]


def ask(service: Service, outgoing: Outgoing, *, path: str = "", body: bytes | None = None, kind: str = "") -> Got:
    where = path or ("repository" if outgoing.action == ACTION else "registry")
    content = b"".join(outgoing.parts) if body is None else body
    processed = service.process(
        Incoming(f"{BASE}/{where}", kind or outgoing.content_type, content), now=datetime.now(UTC)
    )
    answer = processed.answer
    got = Got(answer.status, answer.content_type, answer.body, HTTPMessage())
    if got.message.body is not None and got.message.body.tag == f"{{{soap.SOAP12}}}Fault":
        assert got.status == 500
        assert processed.codes == (got.fault[0],)
    else:
        assert got.status == 200
        assert processed.codes == got.codes
        assert got.message.addressing("Action") == processed.context.action
    return got


def fed(service: Service, sender: Sender, made: SyntheticDocument) -> str:
    """Submits a document; its entryUUID."""
    assert ask(service, sender.submit(made)).succeeded
    return service.registry.entries(unique_id=entry_of(made).unique_id)[0].entry_uuid


def associations(root: etree._Element, kind: str) -> list[etree._Element]:
    return [e for e in root.iter(f"{{{v.RIM}}}Association") if e.get("associationType", "").endswith(kind)]


def without(kind: str) -> Edit:
    def edit(root: etree._Element) -> None:
        for element in associations(root, kind)[:1]:
            parent = element.getparent()
            assert parent is not None
            parent.remove(element)

    return edit


def of_type(kind: str, other: str) -> Edit:
    return lambda root: associations(root, kind)[0].set("associationType", other)


def set_slot(name: str, value: str) -> Edit:
    def edit(root: etree._Element) -> None:
        for slot in root.iter(f"{{{v.RIM}}}Slot"):
            if slot.get("name") == name:
                next(slot.iter(f"{{{v.RIM}}}Value")).text = value

    return edit
