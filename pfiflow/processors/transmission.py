"""`read-transmission` and `check-transmission`: an MDM or ORU becomes a Transmission that may be taken over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from attrs import evolve, frozen

from pfiflow.cda import document as cda
from pfiflow.cda import rules as header_rules
from pfiflow.cda.schema import SchemaChecker
from pfiflow.errors import Problem, ProtocolError, Rejected
from pfiflow.flow.component import BodyType, Component, Field
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.options import option
from pfiflow.hl7 import conformance, er7
from pfiflow.hl7.faults import MessageError
from pfiflow.processors.transmissions import RECENT
from pfiflow.segur import identity, recipients, rules
from pfiflow.segur.values import Action, Transmission

__all__ = ["COMPONENTS", "CheckOptions", "ReadOptions"]


@frozen
class ReadOptions:
    """Options of `read-transmission`."""

    conformance: bool = option(
        default=False,
        doc="Also check the whole message against HL7 tables with hl7apy (slow: 20 ms a message).",
        example=True,
    )


@frozen
class CheckOptions:
    """Options of `check-transmission`."""

    destinations: Literal["lenient", "strict"] = option(
        default="lenient",
        doc="How the destinations are read: by the volet's table (`strict`), or by its evident meaning (`lenient`).",
        example="lenient",
    )
    cda_rules: Literal["lenient", "strict"] = option(
        default="lenient",
        doc="`strict` also refuses what the CI-SIS header rules call a fault without danger.",
        example="strict",
    )
    schema: Path | None = option(
        default=None,
        doc="Official CDA schema set to check against, instead of our header schema.",
        example="CDA_extended.xsd",
    )
    confidentiality: tuple[Literal["N", "R", "V"], ...] = option(
        default=("N",), doc="Document confidentiality codes that may be shared.", example=["N"]
    )
    recipient_domains: tuple[str, ...] = option(
        default=(),
        doc="Domains that mails may go to, those under them included; a message with a recipient or reply address "
        "elsewhere is refused. Empty: all, the operator decides.",
        example=["mssante.fr"],
    )
    test_platform: bool = option(default=False, doc="Accept test INS authorities: never in production.", example=False)


def _read(exchange: Exchange[bytes], *, with_conformance: bool) -> Exchange[Transmission]:
    try:
        transmission = RECENT.take_in(exchange.body)
        found = conformance.check(er7.parse(exchange.body)) if with_conformance else ()
    except ProtocolError as error:
        raise Rejected(_problem_of(error)) from error
    if found:
        raise Rejected(*found)
    return exchange.with_body(transmission).with_headers({"action": transmission.action.name.lower()})


def _problem_of(error: ProtocolError) -> Problem:
    return error.problem if isinstance(error, MessageError) else Problem("100", str(error), "MSH")


def _check(exchange: Exchange[Transmission], *, options: CheckOptions, schema: SchemaChecker) -> Exchange[Transmission]:
    transmission = exchange.body
    problems: list[Problem] = [*transmission.warnings]
    problems += rules.check_processing(transmission, test_platform=options.test_platform)
    problems += rules.check_destinations(transmission, options.destinations)
    problems += recipients.check_domains(transmission, options.recipient_domains)
    if _only_for_the_patient(transmission):  # else the others get it, and the patient's mail alone is refused
        refusal = rules.patient_mail_refusal(transmission, test_platform=options.test_platform)
        problems += () if refusal is None else (refusal,)
    try:
        document, tree = cda.read_tree(transmission.document)
    except Rejected as rejection:
        raise Rejected(*problems, *map(_in_document, rejection.problems)) from None
    problems += schema.check(tree)
    problems += header_rules.check(document, tree, test_platform=options.test_platform)
    problems += identity.check_identity(transmission, document)
    problems += rules.check_document(transmission, document)
    problems += rules.check_type(transmission, document)
    problems += rules.check_confidentiality(document, frozenset(options.confidentiality))
    if any(p.severity == "error" or options.cda_rules == "strict" for p in problems):
        raise Rejected(*problems)
    RECENT.checked(transmission, document, tree)
    checked = exchange.with_headers({"document-id": document.id.unique_id, "document-type": document.code.code})
    if problems:
        checked = checked.with_note("warnings", count=len(problems), problems=" | ".join(map(str, problems)))
    return checked


def _in_document(problem: Problem) -> Problem:
    """What is no good XML has no XPath, at most a line and column: the field that carries it is then the location."""
    if problem.location.startswith("/"):
        return problem
    place = f" (document line:column {problem.location})" if problem.location else ""
    return evolve(problem, message=f"{problem.message}{place}", location="OBX-5.5")


def _only_for_the_patient(transmission: Transmission) -> bool:
    destinations = transmission.destinations
    return destinations.patient and not destinations.professionals and not destinations.dmp


def _view(transmission: Transmission) -> Mapping[str, object]:
    destinations, visibility = transmission.destinations, transmission.visibility
    return {
        "action": transmission.action.name.lower(),
        "structure": transmission.structure,
        "control_id": transmission.control_id,
        "sender": {"application": transmission.sending_application, "facility": transmission.sending_facility},
        "type": {"code": transmission.type.code, "label": transmission.type.display},
        "patient": {"key": transmission.patient.ordering_key, "class": transmission.patient_class},
        "destinations": {
            "dmp": destinations.dmp,
            "professionals": destinations.professionals,
            "patient": destinations.patient,
        },
        "visibility": {
            "hidden_from_professionals": visibility.hidden_from_professionals,
            "hidden_from_patient": visibility.hidden_from_patient,
            "hidden_from_representatives": visibility.hidden_from_representatives,
        },
        "wants_delivery_receipts": transmission.wants_delivery_receipts,
        "wants_reading_receipts": transmission.wants_reading_receipts,
        "size": len(transmission.document),
    }


_FIELDS: Mapping[str, Field] = {
    "action": Field("What is asked for.", values=tuple(action.name.lower() for action in Action)),
    "structure": Field("Structure of the message: `MDM_T02`, `ORU_R01`…"),
    "control_id": Field("MSH-10."),
    "sender.application": Field("MSH-3."),
    "sender.facility": Field("MSH-4."),
    "type.code": Field("Type of the document: its LOINC code, such as `11490-0`."),
    "type.label": Field("The same in words."),
    "patient.key": Field("Identifier of the patient and who gave it: what orders a patient's documents."),
    "patient.class": Field("PV1-2: `I` inpatient, `O` outpatient, `E` emergency…"),
    "destinations.dmp": Field("DESTDMP: it is for the DMP.", bool),
    "destinations.professionals": Field("DESTMSSANTEPS: it is for professionals.", bool),
    "destinations.patient": Field("DESTMSSANTEPAT: it is for the patient.", bool),
    "visibility.hidden_from_professionals": Field("MASQUE_PS.", bool),
    "visibility.hidden_from_patient": Field("INVISIBLE_PATIENT.", bool),
    "visibility.hidden_from_representatives": Field("INVISIBLE_REP_LEGAUX.", bool),
    "wants_delivery_receipts": Field("ACK_RECEPTION.", bool),
    "wants_reading_receipts": Field("ACK_LECTURE_MSS.", bool),
    "size": Field("Of the document, in bytes.", int),
}
"""What `_view` shows."""


def _raw(transmission: Transmission) -> bytes:
    return transmission.raw


def _reader(options: ReadOptions) -> Callable[[Exchange[Any]], Exchange[Transmission]]:
    return partial(_read, with_conformance=options.conformance)


def _checker(options: CheckOptions) -> Callable[[Exchange[Any]], Exchange[Transmission]]:
    return partial(_check, options=options, schema=SchemaChecker(options.schema))


COMPONENTS = (
    BodyType("transmission", Transmission, _raw, RECENT.decode, _view, _FIELDS),
    Component(
        name="read-transmission",
        kind="processor",
        build=_reader,
        options=ReadOptions,
        doc="Reads an MDM T02/T10/T04 or ORU R01 of the volet Transmission 2.1; refuses with every rule broken.",
        accepts=bytes,
        gives=Transmission,
        sets={"action": _FIELDS["action"]},
    ),
    Component(
        name="check-transmission",
        kind="processor",
        build=_checker,
        options=CheckOptions,
        doc="Checks what a transmission asks for, its CDA, and that both speak of the same patient and document.",
        accepts=Transmission,
        gives=Transmission,
        sets={
            "document-id": Field("uniqueId of the CDA document."),
            "document-type": Field("Its type: the LOINC code of `ClinicalDocument/code`."),
        },
    ),
)
