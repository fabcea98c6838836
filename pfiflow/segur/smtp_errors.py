"""Table SMTPERRORCODE of the volet Transmission 2.1 (ERR-5 of ZAM^Z02), with its labels as they are written there."""

from __future__ import annotations

from types import MappingProxyType

__all__ = ["ADDRESS_REFUSED", "CANNOT_CONNECT", "CONNECTION_LOST", "SENDING_FAILED", "SMTP_ERRORS", "nearest_code"]

SMTP_ERRORS = MappingProxyType(
    {
        "101": "Le serveur n'arrive pas à se connecter.",
        "111": "Connexion refusée ou impossibilité d'ouvrir un flux SMTP.",
        "251": "Le compte du destinataire n'est pas sur le serveur actuel. "
        "L'envoi sera donc relayé à un autre serveur.",
        "252": "Le serveur ne peut pas vérifier l'utilisateur. "
        "Il confirme cependant qu'il essaiera de transmettre le message malgré tout",
        "420": "« Problème de connexion de temporisation » : il y a eu des problèmes pendant le transfert du message.",
        "421": "Le service est indisponible en raison d'un problème de connexion.",
        "422": "La boîte aux lettres du destinataire a dépassé sa limite de stockage.",
        "431": "Espace insuffisant sur le disque, "
        "ou état de mémoire insuffisante en raison d'une surcharge de fichiers.",
        "432": "Mot de passe de transition nécessaire",
        "441": "Le serveur du destinataire ne répond pas",
        "442": "La connexion a été interrompue pendant la transmission",
        "450": "Action non effectuée : boîte-aux-lettres non disponible [Ex., bloquée par un autre utilisateur]",
        "451": "Action arrêtée : erreur de traitement",
        "452": "Action non effectuée : manque de ressources système.",
        "500": "Erreur de syntaxe, commande non reconnue "
        "[y compris des erreurs de type « ligne de commande trop longue »]",
        "501": "Erreur de syntaxe dans des paramètres ou arguments de commande",
        "502": "Commande non implémentée",
        "503": "Mauvaise séquence de commandes",
        "504": "Paramètre de commande non implémenté",
        "510": "Mauvaise adresse courriel",
        "512": "Ce code indique une erreur DNS. Le serveur hôte du nom de domaine du destinataire est introuvable.",
        "513": "Le type d'adresse est incorrect. Souvent un problème lié à une faute d'orthographe. "
        "Dans de rares cas, il peut être lié à un problème d'authentification.",
        "523": "La taille totale de votre mailing dépasse les limites du serveur destinataire.",
        "530": "L'authentification est requise. "
        "Vous devez authentifier votre compte de messagerie avant d'envoyer un e-mail",
        "541": "L'adresse du destinataire a rejeté votre message. "
        "Dans la plupart des cas, c'est une erreur causée par un filtre anti-spam.",
        "550": "Action non effectuée : boîte aux lettres non disponible "
        "(ex. : boîte-aux-lettres non trouvée, pas d'accès).",
        "551": "Un relais peut être interrompu car votre adresse et celle du destinataire "
        "ne sont pas hébergées localement par le serveur.",
        "552": "Action abandonnée - Allocation de stockage dépassée. "
        "La boîte aux lettres du destinataire a dépassé ses limites.",
        "553": "La commande a été abandonnée car le nom de la boîte aux lettres n'est pas valide.",
        "554": "Cela signifie que l'envoi a échoué. Ce code indique une erreur permanente "
        "et le serveur n'essaiera pas d'envoyer le message à nouveau.",
    }
)

CANNOT_CONNECT = "101"
CONNECTION_LOST = "442"
ADDRESS_REFUSED = "510"
SENDING_FAILED = "554"

_SAME_MEANING = MappingProxyType(
    {
        "0": CONNECTION_LOST,  # pfiflow.endpoints: no answer came
        "454": "451",  # RFC 4954: temporary authentication failure
        "455": "451",  # RFC 5321: server unable to accommodate parameters
        "521": SENDING_FAILED,  # RFC 7504: the host takes no mail (523, the nearest number, is a size)
        "534": "530",  # RFC 4954: authentication
        "535": "530",
        "538": "530",
        "555": "504",  # RFC 5321: parameters not recognised
        "556": "512",  # RFC 7504: the domain takes no mail
    }
)


def nearest_code(code: str) -> str:
    """The code of the table for an SMTP code.

    A code of the table is itself. A code that an RFC defines and the table does not have becomes the one that means the
    same (`_SAME_MEANING`). Any other becomes the nearest number of its class (first digit), the smaller of two; one of
    no class of the table becomes 554.
    """
    if code in SMTP_ERRORS:
        return code
    if code in _SAME_MEANING:
        return _SAME_MEANING[code]
    same_class = [known for known in SMTP_ERRORS if known[0] == code[:1]]
    if len(code) != 3 or not (code.isascii() and code.isdigit()) or not same_class:
        return SENDING_FAILED
    return min(same_class, key=lambda known: abs(int(known) - int(code)))
