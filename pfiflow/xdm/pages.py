"""INDEX.HTM and README.TXT of an XDM archive (ITI-32 §3.32.4.1.2; the four French sections of CI-SIS senders)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from pfiflow.xdm.values import Action, Sender, Software
from pfiflow.xds.composite import one_line
from pfiflow.xds.metadata import SubmissionSet

__all__ = ["index_htm", "readme_txt"]

_DOCTYPE: Final = (
    '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML Basic 1.1//EN" "http://www.w3.org/TR/xhtml-basic/xhtml-basic11.dtd">'
)
_NOTICES: Final[dict[Action, str]] = {
    "": "",
    "C": "Cet envoi annule et remplace un document transmis précédemment.",
    "D": "Cet envoi demande la suppression du document joint, transmis précédemment.",
}


def index_htm(submission: SubmissionSet, sender: Sender, *, folder: str, action: Action = "") -> bytes:
    """A page in XHTML Basic 1.1, UTF-8, CRLF: who sends, a link to README.TXT and one to each document."""
    links = [
        f'<li><a href="{escape(f"{folder}/{entry.uri}")}">{_text(entry.title or entry.type_code.display or entry.uri)}'
        "</a></li>"
        for entry in submission.entries
    ]
    notice = [f"<p>{_text(_NOTICES[action])}</p>"] if action else []
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        _DOCTYPE,
        '<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="fr">',
        "<head>",
        '<meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />',
        "<title>Documents de santé</title>",
        "</head>",
        "<body>",
        "<h1>Documents de santé</h1>",
        *notice,
        *[f"<p>{label} : {_text(value)}</p>" for label, value in _sender(sender)],
        '<p><a href="README.TXT">Lisez-moi</a></p>',
        "<ul>",
        *links,
        "</ul>",
        "</body>",
        "</html>",
        "",
    ]
    return "\r\n".join(lines).encode()


def readme_txt(sender: Sender, software: Software, *, folder: str, names: Sequence[str], action: Action = "") -> bytes:
    """Plain text, UTF-8, CRLF: Emetteur, Application de l'émetteur, Instructions, Arborescence."""
    notice = [_NOTICES[action]] if action else []
    top, _, subset = folder.partition("/")
    lines = [
        "Emetteur",
        "========",
        *[f". {label} : {one_line(value)}" for label, value in _sender(sender)],
        "",
        "Application de l'émetteur",
        "=========================",
        f". Nom : {one_line(software.name)}",
        f". Version : {one_line(software.version)}",
        f". Editeur : {one_line(software.publisher)}",
        "",
        "Instructions",
        "============",
        *notice,
        "Consultez le fichier INDEX.HTM pour accéder aux documents.",
        "Le fichier METADATA.XML les décrit, pour leur intégration dans un logiciel.",
        "",
        "Arborescence",
        "============",
        "README.TXT",
        "INDEX.HTM",
        top,
        f"  {subset}",
        *[f"    {name}" for name in names],
        "",
    ]
    return "\r\n".join(lines).encode()


def _sender(sender: Sender) -> Iterator[tuple[str, str]]:
    labels = (
        ("Nom", sender.name),
        ("Organisme", sender.organization),
        ("Adresse", sender.address),
        ("Téléphone", sender.phone),
        ("Messagerie", sender.email),
    )
    return ((label, value) for label, value in labels if value)


def _text(value: str) -> str:
    return escape(one_line(value), quote=False)
