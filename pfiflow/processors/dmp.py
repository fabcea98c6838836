"""`dmp-request`: a Transmission becomes an order for the DMP, or is refused with every reason."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from attrs import Factory, define, evolve, field, frozen

from pfiflow.dmp.directory import Directory
from pfiflow.dmp.gates import GateOptions
from pfiflow.dmp.values import Feeding
from pfiflow.dmp.vihf import UNSPECIFIED, Software
from pfiflow.errors import ConfigError, Rejected
from pfiflow.flow.component import Component, Field
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.options import Secret, option
from pfiflow.processors.transmissions import RECENT
from pfiflow.segur import feeding
from pfiflow.segur.values import Transmission
from pfiflow.xds import imaging

__all__ = ["COMPONENTS", "DmpRequestOptions"]

_log = logging.getLogger(__name__)
_SCHEMES: Mapping[str, Mapping[str, str]] = {
    "code-systems": imaging.CODE_SYSTEMS,
    "value-sets": imaging.VALUE_SETS,
}


@frozen
class DmpRequestOptions:
    """Options of `dmp-request`."""

    source_id: str = option(doc="OID of this PFI: SubmissionSet.sourceId.", example="1.2.250.1.213.9.9")
    homologation: Secret = option(
        doc="LPS_ID_HOMOLOGATION_DMP: the DMP homologation number.", example="${env:PFI_DMP_HOMOLOGATION}"
    )
    software: str = option(default="pfiflow", doc="LPS_Nom: name of the product.", example="pfiflow")
    software_version: str = option(
        default=version("pfiflow"), doc="LPS_Version: version of the product.", example="1.0"
    )
    software_id: str = option(default="", doc="LPS_ID: number of this installation; unset: not sent.", example="0001")
    professionals: Path | None = option(
        default=None, doc="CSV: profession and specialty by RPPS.", example="professionals.csv"
    )
    structures: Path | None = option(default=None, doc="CSV: sector of activity by FINESS.", example="structures.csv")
    sector: str = option(
        default="", doc="Sector (JDV_J61) of structures that the CSV does not name; unset: refused.", example="SA01"
    )
    correspondence: Mapping[str, str] = option(
        default=Factory(dict),
        doc="Geographic to legal entity: structure of the message → structure of the document's author.",
        example={"300017985": "120456789"},
    )
    responsible: str = option(
        default="",
        doc="NameID when the message names no person: who is responsible for automatic sending.",
        example="1120456789/responsable-pfi",
    )
    automaton: str = option(
        default="pfiflow, pfiflow, PFI",
        doc="What acts in such a sending (subject-id): software, model, service.",
        example="pfiflow, pfiflow, PFI",
    )
    authentication: str = option(
        default=UNSPECIFIED, doc="AuthnContextClassRef: how users log in to the source software.", example=UNSPECIFIED
    )
    vihf_version: Literal["3.0", "4.0"] = option(
        default="3.0", doc="VIHF_Version: which form the VIHF claims.", example="3.0"
    )
    hidden_from_all: bool = option(
        default=False, doc="Allow INVISIBLE_PATIENT with MASQUE_PS, once the DMP's parameter does.", example=False
    )
    imaging_schemes: Literal["code-systems", "value-sets"] = option(
        default="code-systems",
        doc="Coding scheme of modality and region: the code system, or the value set, as the DRIMbox writes it.",
        example="code-systems",
    )
    test_platform: bool = option(default=False, doc="Accept test INS authorities: never in production.", example=False)


@define(eq=False)
class _DirectoryFiles:
    """The directory from its CSV files, read again when they change; the former stays when they cannot be used."""

    professionals: Path | None
    structures: Path | None
    _lock: threading.Lock = field(init=False, factory=threading.Lock)
    _stamp: object = field(init=False, default=None)
    _directory: Directory = field(init=False, default=Directory())

    def __attrs_post_init__(self) -> None:
        self._stamp, self._directory = self._stamps(), self._load()

    def current(self) -> Directory:
        with self._lock:
            if (stamp := self._stamps()) != self._stamp:
                self._stamp = stamp
                try:
                    self._directory = self._load()
                except ConfigError as error:
                    _log.warning("the DMP directory changed and cannot be used, the former stays in use: %s", error)
            return self._directory

    def _load(self) -> Directory:
        return Directory.load(
            _text(self.professionals),
            _text(self.structures),
            professionals_file=str(self.professionals),
            structures_file=str(self.structures),
        )

    def _stamps(self) -> object:
        return tuple(map(_stamp, (self.professionals, self.structures)))


def _text(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text("utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise ConfigError(f"cannot read: {reason}", file=str(path), code="directory") from error


def _stamp(path: Path | None) -> tuple[int, ...]:
    try:
        status = path.stat() if path is not None else None
    except OSError:
        return ()
    return (status.st_mtime_ns, status.st_size, status.st_ino) if status is not None else ()


def _request(
    exchange: Exchange[Transmission], *, options: feeding.FeedingOptions, files: _DirectoryFiles
) -> Exchange[Feeding]:
    options = evolve(options, directory=files.current())
    try:
        now = datetime.now(UTC)
        order = feeding.feeding(exchange.body, options, exchange_id=exchange.id, now=now, read=RECENT.document)
    except Rejected as refusal:
        raise Rejected(*refusal.problems, headers={**refusal.headers, "dmp-outcome": "refused"}) from None
    made = exchange.with_body(order).with_headers({"dmp-action": order.action})
    if order.warnings:
        made = made.with_note("dmp-warnings", problems=" | ".join(map(str, order.warnings)))
    return made


def _requester(options: DmpRequestOptions) -> Callable[[Exchange[Any]], Exchange[Feeding]]:
    sector = options.sector
    settings = feeding.FeedingOptions(
        source_id=options.source_id,
        software=Software(
            options.software, options.software_version, options.homologation.reveal(), options.software_id
        ),
        sector=f"{sector}^1.2.250.1.71.4.2.4" if sector and "^" not in sector else sector,
        responsible=options.responsible,
        automaton=options.automaton,
        authentication=options.authentication,
        vihf_version=options.vihf_version,
        gates=GateOptions(options.correspondence, options.hidden_from_all),
        imaging_schemes=_SCHEMES[options.imaging_schemes],
        test_platform=options.test_platform,
    )
    return partial(_request, options=settings, files=_DirectoryFiles(options.professionals, options.structures))


COMPONENTS = (
    Component(
        name="dmp-request",
        kind="processor",
        build=_requester,
        options=DmpRequestOptions,
        doc="Makes the DMP order of a transmission: metadata, VIHF values; refuses what must not leave.",
        accepts=Transmission,
        gives=Feeding,
        sets={
            "dmp-action": Field("What the order asks of the DMP.", values=("create", "replace", "delete")),
            "dmp-outcome": Field("Only when the order is refused: `refused`.", values=("refused",), always=False),
        },
        threaded=True,
    ),
)
