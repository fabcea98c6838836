"""HL7 tables that acknowledgements use, with the labels of the volet (2.1, "codes erreurs")."""

from __future__ import annotations

from types import MappingProxyType

__all__ = ["APPLICATION_ERRORS", "MESSAGE_ERRORS", "SEVERITIES"]

MESSAGE_ERRORS = MappingProxyType(
    {
        "0": "Message accepted",
        "100": "Segment sequence error",
        "101": "Required field missing",
        "102": "Data type error",
        "103": "Table value not found",
        "198": "Non-conformant cardinality",
        "199": "Other HL7 Error",
        "200": "Unsupported message type",
        "201": "Unsupported event code",
        "202": "Unsupported processing",
        "203": "Unsupported version",
        "207": "Application error",
    }
)
"""HL70357, ERR-3, written with its symbolic name `messageErrorCondition`."""

APPLICATION_ERRORS = MappingProxyType(
    {
        "900": "Version du document incorrecte lors d'une demande de remplacement/suppression",
        "901": "Auteur non autorisé à remplacer ou supprimer un document",
        "902": "Identifiant patient inconnu",
        "903": "INS non présent dans le document",
        "904": "L'INS transmis ne correspond pas exactement à celui stocké dans la base du consommateur",
        "905": "L’INS transmis n’est pas complet",
        "906": "Erreur 'Autre'",
    }
)
"""User-defined table of ERR-5, written `applicationErrorCondition`."""

SEVERITIES = MappingProxyType({"error": "E", "warning": "W", "information": "I"})
"""`Problem.severity` → HL70516, ERR-4."""
