"""The French texts of the mails: default bodies, and the mention that every automatic mail carries."""

from __future__ import annotations

from typing import Literal

__all__ = ["Action", "body", "mention"]

Action = Literal["new", "replace", "delete"]

_GREETING = "Bonjour,"
_SINGULAR: dict[Action, str] = {
    "new": "Vous trouverez en pièce jointe un document de santé {about}.",
    "replace": "Vous trouverez en pièce jointe la nouvelle version d'un document de santé {about}.",
    "delete": "Un document de santé {about}, qui vous avait été transmis, a été supprimé par son auteur.",
}
_PLURAL: dict[Action, str] = {
    "new": "Vous trouverez en pièces jointes {count} documents de santé {about}.",
    "replace": "Vous trouverez en pièces jointes la nouvelle version de {count} documents de santé {about}.",
    "delete": "{count} documents de santé {about}, qui vous avaient été transmis, ont été supprimés par leur auteur.",
}
_STATEMENT: dict[Action, str] = {
    "new": "",
    "replace": "Ce courriel annule et remplace l'envoi précédent.",
    "delete": "Ce courriel annule l'envoi précédent : son contenu ne doit plus être utilisé.",
}
_SAYS_SO: dict[Action, str] = {"new": "", "replace": "annule et remplace", "delete": "annule"}


def mention(reply_to: str) -> str:
    """The sentence that ends every automatic mail (REM MSS/va1.09): nobody reads the sender's mailbox, write there."""
    return (
        "Ce courriel a été généré automatiquement, merci de ne pas répondre à l'adresse d'expédition.\n"
        f"Pour toute question ou réponse, écrivez à : {reply_to}"
    )


def body(action: Action, *, count: int, to_patient: bool, text: str | None, reply_to: str) -> str:
    """The text of a mail, one LF a line.

    Args:
        action: what the mail does to the documents.
        count: number of documents.
        to_patient: words for the patient instead of a professional.
        text: the CREATEUR's own text (CORPSMAIL_PS, CORPSMAIL_PATIENT): replaces the default one. The statement that
            an earlier mail is cancelled stays (REM MSS/va1.13), unless the text makes it already.
        reply_to: the address named by the closing mention.
    """
    statement = _STATEMENT[action]
    if text is not None and text.strip():
        main = text.strip()
        if _SAYS_SO[action] in main.casefold():
            statement = ""
    else:
        about = "vous concernant" if to_patient else "concernant votre patient"
        sentence = (_PLURAL if count > 1 else _SINGULAR)[action].format(count=count, about=about)
        main = f"{_GREETING}\n\n{sentence}"
    return "\n\n".join(filter(None, (main, statement, mention(reply_to)))) + "\n"
