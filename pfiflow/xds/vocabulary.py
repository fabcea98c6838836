"""The fixed identifiers of XDS metadata in ebRIM 3.0 (ITI TF-3 §4.2.5), as data that writer and reader share."""

from __future__ import annotations

from typing import Final

__all__ = [
    "ASSOCIATION_TYPE",
    "AUTHOR_SCHEMES",
    "AUTHOR_SLOTS",
    "CLASSIFICATION",
    "DOCUMENT_ENTRY",
    "DOCUMENT_ENTRY_AUTHOR",
    "ENTRY_CODES",
    "ENTRY_PATIENT_ID",
    "ENTRY_SLOTS",
    "ENTRY_UNIQUE_ID",
    "EXTERNAL_IDENTIFIER",
    "HAS_MEMBER",
    "LCM",
    "ON_DEMAND_ENTRY",
    "REGISTRY_PACKAGE",
    "RIM",
    "SET_AUTHOR",
    "SET_CONTENT_TYPE",
    "SET_PATIENT_ID",
    "SET_SLOTS",
    "SET_SOURCE_ID",
    "SET_UNIQUE_ID",
    "SUBMISSION_SET",
]

RIM: Final = "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"
LCM: Final = "urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0"

_OBJECT_TYPE: Final = "urn:oasis:names:tc:ebxml-regrep:ObjectType:RegistryObject:"
REGISTRY_PACKAGE: Final = _OBJECT_TYPE + "RegistryPackage"
CLASSIFICATION: Final = _OBJECT_TYPE + "Classification"
EXTERNAL_IDENTIFIER: Final = _OBJECT_TYPE + "ExternalIdentifier"
ASSOCIATION_TYPE: Final = _OBJECT_TYPE + "Association"

HAS_MEMBER: Final = "urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember"

DOCUMENT_ENTRY: Final = "urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1"
"""ExtrinsicObject/@objectType of a stable document entry."""
ON_DEMAND_ENTRY: Final = "urn:uuid:34268e47-fdf5-41a6-ba33-82133c465248"

SUBMISSION_SET: Final = "urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd"
"""The classification node that makes a RegistryPackage a submission set."""

DOCUMENT_ENTRY_AUTHOR: Final = "urn:uuid:93606bcf-9494-43ec-9b4e-a7748d1a838d"
SET_AUTHOR: Final = "urn:uuid:a7058bb9-b4e4-4307-ba5b-e3f0ab85e12d"
AUTHOR_SCHEMES: Final = frozenset({DOCUMENT_ENTRY_AUTHOR, SET_AUTHOR})

AUTHOR_SLOTS: Final = (
    ("authorPerson", "person"),
    ("authorInstitution", "institution"),
    ("authorRole", "role"),
    ("authorSpecialty", "specialty"),
)
"""Slot of an author classification → attribute of `Author`."""

ENTRY_CODES: Final = (
    ("urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a", "class_code"),
    ("urn:uuid:f4f85eac-e6cb-4883-b524-f2705394840f", "confidentiality_codes"),
    ("urn:uuid:2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4", "event_codes"),
    ("urn:uuid:a09d5840-386c-46f2-b5ad-9c3699a4309d", "format_code"),
    ("urn:uuid:f33fb8ac-18af-42cc-ae0e-ed0b0bdb91e1", "healthcare_facility_type_code"),
    ("urn:uuid:cccf5598-8b07-4b77-a05e-ae952c785ead", "practice_setting_code"),
    ("urn:uuid:f0306f51-975f-434e-a61c-c59651d33983", "type_code"),
)
"""Classification scheme of a document entry → attribute of `DocumentEntry`."""

SET_CONTENT_TYPE: Final = "urn:uuid:aa543740-bdda-424e-8c96-df4873be8500"

ENTRY_PATIENT_ID: Final = ("urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427", "XDSDocumentEntry.patientId")
ENTRY_UNIQUE_ID: Final = ("urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab", "XDSDocumentEntry.uniqueId")
SET_PATIENT_ID: Final = ("urn:uuid:6b5aea1a-874d-4603-a4bc-96a0a7b38446", "XDSSubmissionSet.patientId")
SET_SOURCE_ID: Final = ("urn:uuid:554ac39e-e3fe-47fe-b233-965d2a147832", "XDSSubmissionSet.sourceId")
SET_UNIQUE_ID: Final = ("urn:uuid:96fdda7c-d067-4183-912e-bf5ee74998a8", "XDSSubmissionSet.uniqueId")

ENTRY_SLOTS: Final = (
    ("creationTime", "creation_time"),
    ("hash", "hash"),
    ("languageCode", "language_code"),
    ("legalAuthenticator", "legal_authenticator"),
    ("serviceStartTime", "service_start_time"),
    ("serviceStopTime", "service_stop_time"),
    ("size", "size"),
    ("sourcePatientId", "source_patient_id"),
    ("sourcePatientInfo", "source_patient_info"),
    ("URI", "uri"),
    ("urn:ihe:iti:xds:2013:referenceIdList", "reference_ids"),
)
"""Slot of an ExtrinsicObject → attribute of `DocumentEntry`, in the order written."""

SET_SLOTS: Final = (
    ("submissionTime", "submission_time"),
    ("intendedRecipient", "intended_recipients"),
)
"""Slot of the RegistryPackage → attribute of `SubmissionSet`."""
