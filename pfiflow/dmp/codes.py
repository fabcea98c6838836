"""What each answer of the DMP means for an order, as data (dmp-details §4.3, §A.5; names of ITI TF-3 table 4.2.4.1-2).

The DMP's own error table is not public: a setting adds to this one (`{**CODES, "DMPSomething": Meaning.RETRY}`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

__all__ = ["CODES", "FAULT_CODES", "HTTP_STATUSES", "LABELS", "Meaning"]


class Meaning(Enum):
    """What one code means for the order that met it."""

    RETRY = "retry"  # the service cannot now: wait, and try again
    RETRY_BOUNDED = "retry-bounded"  # nobody knows: try again a few times, then give up
    CONFIGURATION = "configuration"  # we are refused, not the order: wait, and tell loudly
    ALREADY_FED = "already-fed"  # on a retry of the same submission: done; else refused
    LOOK_UP_AGAIN = "look-up-again"  # refused; the entryUUID may be out of date: one more look-up is worth it
    REFUSED = "refused"
    FAILS_AS_WARNING = "fails-as-warning"  # refused, even where the registry calls it a warning


_NAMES: Final[Mapping[Meaning, str]] = {
    Meaning.RETRY: """
        XDSRegistryBusy XDSRepositoryBusy XDSRegistryOutOfResources XDSRepositoryOutOfResources XDSRegistryNotAvailable
        XDSUnavailableCommunity UnavailableRecipient""",
    Meaning.RETRY_BOUNDED: "XDSRegistryError XDSRepositoryError XDSMetadataUpdateError",
    Meaning.CONFIGURATION: "DMPInvalidCertificate",
    Meaning.ALREADY_FED: "XDSDuplicateUniqueIdInRegistry",
    Meaning.LOOK_UP_AGAIN: """
        XDSReplaceFailed XDSRegistryDeprecatedDocumentError UnresolvedReferenceException XDSMetadataVersionError""",
    Meaning.REFUSED: """
        DMPClosed DMPAccessDeniedByRightsService LocalPolicyRestrictionError XDSUnknownPatientId
        XDSPatientIdDoesNotMatch XDSMissingDocument XDSMissingDocumentMetadata XDSRegistryMetadataError
        XDSRepositoryMetadataError
        XDSRegistryDuplicateUniqueIdInMessage XDSRepositoryDuplicateUniqueIdInMessage XDSNonIdenticalHash
        XDSNonIdenticalSize InvalidDocumentContent XDSMetadataUpdateOperationError XDSPatientIDReconciliationError
        XDSMetadataIdentifierError XDSObjectTypeError XDSInvalidRequestException UnmodifiableMetadataError
        XDSMetadataAnnotationError XDSUnknownRepositoryId XDSUnknownCommunity XDSMissingHomeCommunityId UnknownRecipient
        XDSUnknownStoredQuery XDSStoredQueryMissingParam XDSStoredQueryParamNumber XDSTooManyResults
        XDSResultNotSinglePatient XDSDocumentUniqueIdError""",
    Meaning.FAILS_AS_WARNING: "PartialReplaceContentNotProcessed",
}

CODES: Final[Mapping[str, Meaning]] = MappingProxyType(
    {code: meaning for meaning, codes in _NAMES.items() for code in codes.split()}
)
"""RegistryError/@errorCode, or the Subcode of a Fault. A code that is not here is refused, and shown as received."""

FAULT_CODES: Final[Mapping[str, Meaning]] = MappingProxyType(
    {
        "FailedAuthentication": Meaning.CONFIGURATION,
        "InvalidSecurity": Meaning.CONFIGURATION,
        "InvalidSecurityToken": Meaning.CONFIGURATION,
        "FailedCheck": Meaning.CONFIGURATION,
        "MessageExpired": Meaning.CONFIGURATION,  # a clock is wrong
        "SecurityTokenUnavailable": Meaning.CONFIGURATION,
        "UnsupportedAlgorithm": Meaning.CONFIGURATION,
        "UnsupportedSecurityToken": Meaning.CONFIGURATION,
        "EndpointUnavailable": Meaning.RETRY,
        "DestinationUnreachable": Meaning.CONFIGURATION,
        "ActionNotSupported": Meaning.CONFIGURATION,
        "Receiver": Meaning.RETRY,
        "Server": Meaning.RETRY,
        "VersionMismatch": Meaning.CONFIGURATION,
        "MustUnderstand": Meaning.CONFIGURATION,
        "Sender": Meaning.REFUSED,
        "Client": Meaning.REFUSED,
    }
)
"""Fault codes by local name, where no subcode is in `CODES`: WS-Security, WS-Addressing, SOAP 1.2 and 1.1."""

HTTP_STATUSES: Final[Mapping[int, Meaning]] = MappingProxyType(
    {
        401: Meaning.CONFIGURATION,
        403: Meaning.CONFIGURATION,
        404: Meaning.CONFIGURATION,
        405: Meaning.CONFIGURATION,
        407: Meaning.CONFIGURATION,
        408: Meaning.RETRY,
        410: Meaning.CONFIGURATION,
        413: Meaning.REFUSED,
        415: Meaning.CONFIGURATION,
        421: Meaning.RETRY,
        425: Meaning.RETRY,
        429: Meaning.RETRY,
        500: Meaning.RETRY,
        502: Meaning.RETRY,
        503: Meaning.RETRY,
        504: Meaning.RETRY,
    }
)
"""HTTP statuses of answers that are no SOAP. Other 3xx are CONFIGURATION, other 4xx REFUSED, other 5xx RETRY."""

LABELS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "DMPClosed": "DMP fermé",
        "DMPAccessDeniedByRightsService": "Accès au DMP refusé",
        "DMPInvalidCertificate": "Certificat refusé par le DMP",
        "LocalPolicyRestrictionError": "Accès au DMP refusé",
        "XDSUnknownPatientId": "Patient sans DMP",
        "XDSPatientIdDoesNotMatch": "Identités du patient différentes",
        "XDSDuplicateUniqueIdInRegistry": "Identifiant déjà présent dans le DMP",
        "XDSNonIdenticalHash": "Document déjà présent avec un autre contenu",
        "XDSNonIdenticalSize": "Document déjà présent avec un autre contenu",
        "XDSReplaceFailed": "Document à remplacer introuvable",
        "XDSRegistryDeprecatedDocumentError": "Document déjà remplacé",
        "UnresolvedReferenceException": "Document visé introuvable",
        "XDSRegistryMetadataError": "Métadonnées refusées par le DMP",
        "XDSRepositoryMetadataError": "Métadonnées refusées par le DMP",
        "XDSRegistryError": "Erreur du DMP",
        "XDSRepositoryError": "Erreur du DMP",
    }
)
"""What a receipt calls a code, for people; the official one is known of DMPClosed only."""
