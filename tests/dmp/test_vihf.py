from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest
from attrs import evolve
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from pfiflow.dmp.assertion import verify
from pfiflow.dmp.seal import Seal
from pfiflow.dmp.signing import DS
from pfiflow.dmp.vihf import AUTOMATE, CONFIDENTIALITY, HL7V3, ROLE, SAML, XSI, Software, Vihf, VihfForm
from pfiflow.simulators.certificates import Authority
from tests.dmp.builders import NOW, STRUCTURE, VIHF, assertion, our_schema
from tests.dmp.tools import oasis_schema, xmlsec1

NAMES = {"saml": SAML, "ds": DS, "hl7": HL7V3}


def attributes(data: bytes) -> dict[str, list[str]]:
    found = etree.fromstring(data).findall(".//saml:Attribute", NAMES)
    return {each.get("Name", ""): [value.text or "" for value in each] for each in found}


def test_the_children_and_the_attributes_in_the_order_of_the_volet(seal: Seal) -> None:
    root = etree.fromstring(assertion(seal))
    order = [etree.QName(child).localname for child in root]
    assert order == ["Issuer", "Signature", "Subject", "AuthnStatement", "AttributeStatement"]
    assert root.get("IssueInstant") == "2026-01-02T03:04:06.789Z"
    assert root.findtext("saml:Issuer", None, NAMES) == seal.subject
    assert root.findtext("saml:Subject/saml:NameID", None, NAMES) == "810001234567"
    statement = root.find("saml:AuthnStatement", NAMES)
    assert statement is not None
    assert statement.get("AuthnInstant") == "2026-01-02T03:00:00.000Z"
    assert attributes(assertion(seal)) == {
        "VIHF_Version": ["3.0"],
        "Authentification_Mode": ["INDIRECTE"],
        "Identifiant_Structure": [STRUCTURE],
        "Secteur_Activite": ["SA01^1.2.250.1.71.4.2.4"],
        "urn:oasis:names:tc:xspa:1.0:subject:subject-id": ["MARTIN & <FILS> Paul"],
        ROLE: ["", ""],
        "urn:oasis:names:tc:xacml:2.0:resource:resource-id": ["279035121518989^^^&1.2.250.1.213.1.4.8&ISO^NH"],
        "Ressource_URN": ["urn:dmp"],
        "urn:oasis:names:tc:xspa:1.0:subject:purposeofuse": [""],
        "LPS_ID": ["1.2.3"],
        "LPS_Nom": ["pfiflow"],
        "LPS_Version": ["0.1.0"],
        "LPS_ID_HOMOLOGATION_DMP": ["HOMOLOGATION"],
    }


def test_profession_then_specialty(seal: Seal) -> None:
    roles = etree.fromstring(assertion(seal)).findall(".//hl7:Role", NAMES)
    assert [dict(role.attrib) for role in roles] == [
        {"code": "10", "codeSystem": "1.2.250.1.71.1.2.7", "displayName": "Médecin", f"{{{XSI}}}type": "CE"},
        {
            "code": "SM26",
            "codeSystem": "1.2.250.1.71.4.2.5",
            "displayName": 'Qualifié en médecine générale (SM) <&"',
            f"{{{XSI}}}type": "CE",
        },
    ]


def test_an_automaton_by_default_and_the_moment_of_signing(seal: Seal) -> None:
    automaton = Vihf("1", "SA01^x", "1/2", "PFI, A, B", "1^^^&1.2&ISO^NH", Software("a", "b", "c"))
    assert automaton.roles == (AUTOMATE,)
    root = etree.fromstring(assertion(seal, automaton))
    statement = root.find("saml:AuthnStatement", NAMES)
    assert statement is not None
    assert statement.get("AuthnInstant") == root.get("IssueInstant")
    assert "LPS_ID" not in attributes(assertion(seal, automaton))


def test_a_secret_connection(seal: Seal) -> None:
    assert CONFIDENTIALITY not in attributes(assertion(seal))
    secret = assertion(seal, evolve(VIHF, secret_connection=True))
    assert attributes(secret)[CONFIDENTIALITY] == ["INVISIBLE_REPRESENTANTS_LEGAUX"]
    our_schema("dmp-vihf.xsd").assertValid(etree.fromstring(secret))


def test_what_the_sources_contradict_each_other_about(seal: Seal) -> None:
    form = VihfForm("sha1", "Authentification_mode", "mode acces VIHF 2.0", issuer_in_encoded_order=True)
    data = assertion(seal, evolve(VIHF, version="4.0"), form=form)
    root = etree.fromstring(data)
    assert attributes(data)["VIHF_Version"] == ["4.0"]
    assert "Authentification_mode" in attributes(data)
    assert (root.findtext("saml:Issuer", "", NAMES)).startswith("C=FR, ST=")
    method = root.find(".//ds:SignatureMethod", NAMES)
    assert method is not None
    assert method.get("Algorithm") == f"{DS}rsa-sha1"
    our_schema("dmp-vihf.xsd").assertValid(root)


def test_what_is_written_is_canonical(seal: Seal) -> None:
    data = assertion(seal)
    tree = etree.fromstring(data)
    prefixes = ["ds", "saml", "#default", "xsi"]
    assert etree.tostring(tree, method="c14n", exclusive=True, inclusive_ns_prefixes=prefixes) == data


@given(text=st.text(max_size=60))
def test_no_text_makes_it_less_than_canonical(seal: Seal, text: str) -> None:
    vihf = evolve(VIHF, subject=text, roles=(evolve(AUTOMATE, display=text, system_name=text),), name_id=text)
    data = assertion(seal, vihf)
    assert etree.tostring(etree.fromstring(data), method="c14n") == data


def test_our_schema_and_the_one_of_oasis(seal: Seal) -> None:
    root = etree.fromstring(assertion(seal))
    our_schema("dmp-vihf.xsd").assertValid(root)
    oasis_schema().assertValid(root)


@pytest.mark.parametrize("algorithm", ["sha256", "sha1"])
def test_xmlsec_accepts_it(seal: Seal, authority: Authority, tmp_path: Path, algorithm: str) -> None:
    attribute = ("--id-attr:ID", f"{SAML}:Assertion")
    data = assertion(seal, form=VihfForm(algorithm))  # type: ignore[arg-type]
    assert xmlsec1(data, authority.certificate, tmp_path, *attribute)
    assert not xmlsec1(data.replace(b"Paul", b"Saul"), authority.certificate, tmp_path, *attribute)


def test_it_reads_back(seal: Seal, trusted: Sequence[x509.Certificate]) -> None:
    found = verify(assertion(seal), trusted, now=NOW)
    assert (found.vihf, found.issued, found.signer) == (VIHF, NOW, seal.certificate)


def test_what_is_mandatory() -> None:
    assert VIHF.problems() == ()
    empty = Vihf("", " ", "", "", "", Software("", "", ""), roles=())
    assert [problem.location for problem in empty.problems()] == [
        "VIHF/Identifiant_Structure",
        "VIHF/Secteur_Activite",
        "VIHF/NameID",
        "VIHF/subject-id",
        "VIHF/resource-id",
        "VIHF/role",
        "VIHF/LPS_Nom",
        "VIHF/LPS_Version",
        "VIHF/LPS_ID_HOMOLOGATION_DMP",
    ]


def test_no_representation_shows_who_is_meant() -> None:
    shown = repr(VIHF)
    assert not any(secret in shown for secret in ("279035121518989", "MARTIN", "810001234567", "HOMOLOGATION"))


def test_a_naive_time_is_a_defect(seal: Seal) -> None:
    with pytest.raises(ValueError, match="time zone"):
        assertion(seal, now=datetime(2026, 1, 1))  # noqa: DTZ001
