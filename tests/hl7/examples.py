"""Messages to test with: synthetic ones, and the official ones where `../shared` stands beside the repository."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

VECTORS = Path(__file__).parents[2] / ".." / "shared" / "vectors" / "hl7"

OFFICIAL = sorted(VECTORS.iterdir()) if VECTORS.is_dir() else []

official = pytest.mark.parametrize(
    "path",
    OFFICIAL
    or [pytest.param(None, marks=pytest.mark.skip(reason="official examples absent: no ../shared/vectors/hl7"))],
    ids=lambda path: getattr(path, "name", "absent"),
)

DOCUMENT = base64.b64encode(b"<ClinicalDocument/>" * 20)

MDM = (
    b"MSH|^~\\&|RIS|CHU|PFI|CHU|20260102030405||MDM^T02^MDM_T02|MSG-1|P|2.6|||||FRA|UNICODE UTF-8|||"
    b"2.1^CISIS_CDA_HL7_V2\r"
    b"EVN||20260102030405\r"
    b"PID|||123456^^^CHU&1.2.250.1.999&ISO^PI~279035121518989^^^INS-NIR&1.2.250.1.213.1.4.10&ISO^INS||"
    b"PAT-TROIS^DOMINIQUE^DOMINIQUE^^^^L||19790328|F|||^^^^^^BDL^^63220|||||||ST-1|||||||||||||N|VALI\r"
    b"PV1|1|I|UF||||||||||||||||V-1^^^CHU&1.2.250.1.999&ISO^VN\r"
    b"ORC|NW\r"
    b"OBR|1|||18748-4^CR d'imagerie m\xc3\xa9dicale^LN\r"
    b"TXA|1|18748-4|TEXT|20260102||||||||1.2.250.1.999.1|||||AU\r"
    b"OBX|1|ED|18748-4^CR d'imagerie m\xc3\xa9dicale^LN||^text^XML^Base64^" + DOCUMENT + b"||||||F\r"
    b"PRT||UC||SB^Send by^participation|801234564895^DOC^JEAN^^^^^^A&1.2.250.1.71.4.2.1&ISO^D^^^RPPS\r"
    b"PRT||UC||RCT^Result Copies To^participation|||||||||||^^X.400^doc@medecin.mssante.fr\r"
    b"OBX|2|CWE|MASQUE_PS^Masqu\xc3\xa9 aux professionnels de Sant\xc3\xa9^MetaDMPMSS||"
    b"N^^expandedYes-NoIndicator||||||F\r"
    b"NTE|1||une note\\T\\suite \\.br\\ ligne\r"
)
"""A correct first transmission, 12 segments."""

ORU = (
    b"MSH|^~\\&|SGL|LABO|PFI|CHU|20260102030405||ORU^R01^ORU_R01|MSG-2|P|2.5|||||FRA|8859/15|||2.1^CISIS_CDA_HL7_V2\r"
    b"PID|||123456^^^CHU&1.2.250.1.999&ISO^PI||PAT-TROIS^ANA\xcfS\r"
    b"PV1|1|I\r"
    b"ORC|NW\r"
    b"OBR|1|||11502-2^CR d'examens biologiques^LN\r"
    b"OBX|1|ED|11502-2^CR d'examens biologiques^LN||^TEXT^XML^Base64^" + DOCUMENT + b"||||||F\r"
    b"PRT||UC||SB^Send by^participation|801234564895^DOC^JEAN\r"
    b"OBX|2|CE|MASQUE_PS^Masqu\xe9^MetaDMPMSS||N^^expandedYes-NoIndicator||||||F\r"
)
"""A correct first transmission in ISO 8859-15, 8 segments."""


def without(message: bytes, name: bytes) -> bytes:
    """The message without the segments of that name."""
    return b"".join(line + b"\r" for line in message.split(b"\r") if line and line[:3] != name)
