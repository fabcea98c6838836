"""What hospital A's software sends, in its order, and what must become of each message, else the demo fails."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from pfiflow.segur.values import Action
from pfiflow.simulators.documents import document
from pfiflow.simulators.messages import message

__all__ = ["CLINIC", "CLOSED", "DOCTOR", "FULL", "HOSPITAL_A", "HOSPITAL_B", "STRANGER", "Sent", "name", "scenario"]

HOSPITAL_A, HOSPITAL_B = "pfi@ch-a.mssante.example", "pfi@ch-b.mssante.example"
DOCTOR, CLINIC = "dr.martin@lib.mssante.example", "urologie@clinique.mssante.example"
ABSENT, FULL = "inconnu@lib.mssante.example", "dr.plein@lib.mssante.example"
CLOSED, STRANGER = 7, 9
"""Numbers of two patients: one whose DMP is closed, one whom hospital B's software does not know."""


def name(address: str) -> str:
    """How the demo calls the owner of a mailbox: `dr.martin`."""
    return {HOSPITAL_A: "hospital A", HOSPITAL_B: "hospital B"}.get(address, address.partition("@")[0])


@frozen
class Sent:
    """One message, and what is to be seen of it.

    Attributes:
        shows: what it is there for.
        data: the ER7.
        answer: MSA-1 of hospital A's PFI.
        told: what hospital A's software is told, as `story.receipt` words it.
        delivered: what hospital B's software gets and answers, as `story.delivery` words it; "" for nothing.
        control_id: its MSH-10, by which receipts name it.
    """

    shows: str
    data: bytes = field(repr=False)
    answer: str = "AA"
    told: frozenset[str] = frozenset()
    delivered: str = ""
    control_id: str = field(init=False)

    @control_id.default
    def _control_id(self) -> str:
        return self.data.split(b"|", 10)[9].decode("ascii")


def _wanted(*codes: str, dmp: bool = True, patient: bool = False) -> Mapping[str, str]:
    """Flags of the message: receipts that are asked for, and where the document goes besides the recipients."""
    asked = dict.fromkeys(codes, "Y") | {"DESTDMP": "Y" if dmp else "N", "DESTMSSANTEPAT": "Y" if patient else "N"}
    return asked | ({"INVISIBLE_PATIENT": "N", "INVISIBLE_REP_LEGAUX": "N"} if patient else {})


def scenario() -> tuple[Sent, ...]:
    """The messages, in the order in which they are sent."""
    first = document("N1", number=1, patient=1, size=250_000)
    second = document("N1", number=2, patient=1, size=250_000, replaces=first)
    both = (DOCTOR, HOSPITAL_B)
    new = message(first, recipients=both, flags=_wanted("ACK_RECEPTION", "ACK_LECTURE_MSS"), control_id="A-1")
    letter = document("N3", number=3, patient=2, size=60_000)
    elsewhere = document("N1", number=4, patient=3)
    refused = message(elsewhere, control_id="A-9").replace(elsewhere.patient.family.encode(), b"PAT-AUTRE", 1)
    return (
        Sent(
            "MDM T02: a report (PDF) for a doctor and hospital B",
            new,
            told=frozenset(
                {
                    "Z01 in the DMP",
                    "Z02 delivered: dr.martin",
                    "Z02 delivered: hospital B",
                    "Z03 integrated: hospital B",
                }
            ),
            delivered="MDM T02, its software: AA",
        ),
        Sent(
            "MDM T10: replaces it",
            message(second, recipients=both, flags=_wanted("ACK_LECTURE_MSS"), control_id="A-2"),
            told=frozenset({"Z03 integrated: hospital B"}),
            delivered="MDM T10, its software: AA",
        ),
        Sent(
            "MDM T04: deletes it",
            message(second, action=Action.DELETE, recipients=both, flags=_wanted("ACK_LECTURE_MSS"), control_id="A-3"),
            told=frozenset({"Z03 integrated: hospital B"}),
            delivered="MDM T04, its software: AA",
        ),
        Sent("the first message again, as after a lost ACK", new),
        Sent(
            "ORU R01: a letter (structured) for a clinic and the patient",
            message(letter, kind="ORU", recipients=(CLINIC,), flags=_wanted(patient=True), control_id="A-5"),
        ),
        Sent(
            "for hospital B, whose software does not know the patient",
            message(
                document("N1", number=9, patient=STRANGER),
                recipients=(HOSPITAL_B,),
                flags=_wanted("ACK_RECEPTION", "ACK_LECTURE_MSS", dmp=False),
                control_id="A-6",
            ),
            told=frozenset(
                {"Z02 delivered: hospital B", "Z03 NOT integrated: hospital B, 902 Identifiant patient inconnu"}
            ),
            delivered="MDM T02, its software: AE",
        ),
        Sent(
            "for an address that does not exist, and a full mailbox",
            message(
                document("N1", number=5, patient=5),
                recipients=(ABSENT, FULL),
                flags=_wanted("ACK_RECEPTION", dmp=False),
                control_id="A-7",
            ),
            told=frozenset({"Z02 NOT delivered: inconnu, 550", "Z02 NOT delivered: dr.plein, 552"}),
        ),
        Sent(
            "of a patient whose DMP is closed",
            message(
                document("N1", number=7, patient=CLOSED),
                recipients=(CLINIC,),
                flags=_wanted("ACK_RECEPTION"),
                control_id="A-8",
            ),
            told=frozenset({"Z01 NOT in the DMP: DMPClosed", "Z02 delivered: urologie"}),
        ),
        Sent("PID and CDA name two patients", refused, answer="AE"),
        Sent(
            "T02 says new, ORC says replace",
            message(document("N1", number=6), control_id="A-10").replace(b"ORC|NW", b"ORC|RO", 1),
            answer="AE",
        ),
    )
