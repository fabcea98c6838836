"""`dmp-request` and `dmp-receipt`: what the processors add to the domain's functions."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from pfiflow.dmp.values import Feeding
from pfiflow.errors import ConfigError, Rejected
from pfiflow.flow.component import Registry
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.options import Secret
from pfiflow.hl7 import er7
from pfiflow.processors.dmp import DmpRequestOptions
from pfiflow.segur.transmission import read
from pfiflow.segur.values import Transmission
from pfiflow.simulators.documents import ORGANIZATION
from pfiflow.simulators.messages import document, message

OPTIONS = DmpRequestOptions(
    source_id="1.2.250.1.999.1", homologation=Secret("DEV000000"), sector="SA01", test_platform=True
)
REGISTRY = Registry.installed()


def exchange(flags: dict[str, str] | None = None, **headers: str) -> Exchange[Transmission]:
    return Exchange("exchange-1", read(message(document("N1", number=1, patient=1, size=0), flags=flags)), headers)


def requester(options: DmpRequestOptions) -> Callable[[Exchange[Any]], Exchange[Feeding]]:
    made: Callable[[Exchange[Any]], Exchange[Feeding]] = REGISTRY.component("dmp-request", "processor").build(options)
    return made


def receipts(of: Exchange[Transmission]) -> tuple[tuple[bytes, ...], Exchange[Any]]:
    told = REGISTRY.component("dmp-receipt", "processor").build(None)(of)
    return told.body, told


# -- dmp-request ------------------------------------------------------------------------------------------------------


def test_options_become_values() -> None:
    made = requester(evolve(OPTIONS, software_id="42", vihf_version="4.0"))(exchange())
    vihf = made.body.vihf
    assert (vihf.sector, vihf.version) == ("SA01^1.2.250.1.71.4.2.4", "4.0")
    assert (vihf.software.id, vihf.software.homologation) == ("42", "DEV000000")
    assert made.headers["dmp-action"] == "new"
    assert "DEV000000" not in repr((OPTIONS, made))


def test_a_refusal_has_its_outcome() -> None:
    with pytest.raises(Rejected) as caught:
        requester(evolve(OPTIONS, test_platform=False))(exchange())
    assert caught.value.headers == {"dmp-outcome": "refused"}


def test_warnings_are_journaled() -> None:
    (note,) = requester(OPTIONS)(exchange({"CONNEXION_SECRETE": "Y"})).notes
    assert note.event == "dmp-warnings"
    assert "EX" not in note.facts
    assert "secret connection" in note.facts["problems"]


def test_the_directory_follows_its_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    structures = tmp_path / "structures.csv"

    def write(text: str) -> None:
        structures.write_text(text)
        os.utime(structures, ns=(0, structures.stat().st_mtime_ns + 1_000_000_000))

    write(f"structure,sector\n{ORGANIZATION},SA05\n")
    request = requester(evolve(OPTIONS, structures=structures, sector=""))
    assert request(exchange()).body.vihf.sector.startswith("SA05^")
    write(f"structure,sector\n{ORGANIZATION},SA07\n")
    assert request(exchange()).body.vihf.sector.startswith("SA07^")
    write("half a li")
    assert request(exchange()).body.vihf.sector.startswith("SA07^")
    assert "former stays in use" in caplog.text


def test_a_directory_that_is_wrong_at_the_start_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        requester(evolve(OPTIONS, professionals=tmp_path / "nowhere.csv"))
    wrong = tmp_path / "professionals.csv"
    wrong.write_text("professional\n1\n")
    with pytest.raises(ConfigError, match=r"professionals\.csv:1"):
        requester(evolve(OPTIONS, professionals=wrong))


# -- dmp-receipt ------------------------------------------------------------------------------------------------------


def test_nobody_asked() -> None:
    assert receipts(exchange())[0] == ()


def test_taken() -> None:
    (receipt,), told = receipts(exchange({"ACK_RECEPTION": "Y"}, **{"dmp-outcome": "accepted"}))
    parsed = er7.parse(receipt)
    assert [segment.name for segment in parsed.segments] == ["MSH", "EVN", "OBX"]
    assert (parsed.get("OBX-3"), parsed.get("OBX-5")) == ("ACK_RECEPTION_DMP", "Y")
    assert told.notes[-1].event == "receipts"


def test_taken_and_an_error_after_it() -> None:
    headers = {"dmp-outcome": "accepted", "error-code": "defect"}
    (receipt,), _ = receipts(exchange({"ACK_RECEPTION": "Y"}, **headers))
    assert er7.parse(receipt).get("OBX-5") == "Y"


@pytest.mark.parametrize(
    ("headers", "code", "label"),
    [
        ({"error-code": "207", "dmp-code": "DMPClosed"}, "DMPClosed", "DMP fermé"),
        ({"error-code": "207", "dmp-code": "DMPNew"}, "DMPNew", ""),
        ({"error-code": "207", "dmp-code": ""}, "PFIRefused", "Document non transmis au DMP par la PFI"),
        ({"error-code": "given-up"}, "DMPUnavailable", "DMP injoignable, envoi abandonné"),
    ],
)
def test_not_taken(headers: dict[str, str], code: str, label: str) -> None:
    (receipt,), _ = receipts(exchange({"ACK_RECEPTION": "Y"}, **headers, **{"error-message": "why"}))
    parsed = er7.parse(receipt)
    assert (parsed.get("OBX-5"), parsed.get("ERR-5"), parsed.get("ERR-5.2")) == ("N", code, label)


def test_the_same_receipt_at_each_attempt() -> None:
    asked = exchange({"ACK_RECEPTION": "Y"})
    one, other = (er7.parse(receipts(asked)[0][0]).get("MSH-10") for _ in range(2))
    assert one == other
