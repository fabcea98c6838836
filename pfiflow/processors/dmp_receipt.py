"""`dmp-receipt`: what became of an order for the DMP becomes a receipt (ZAM^Z01) for the CREATEUR.

After `dmp-submit` it says Y. Among a route's `on-rejected` steps (the header `error-code` is there) it says N, with the
DMP's code where the DMP has answered, else with one of ours: the annex of the DMP's guide that lists its codes is not
public, and none of those known says "this platform did not send it".
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from pfiflow.dmp.codes import LABELS
from pfiflow.flow.component import Component, Field
from pfiflow.flow.exchange import Exchange
from pfiflow.segur.receipts import Failure, control_id, dmp_receipt, original_of
from pfiflow.segur.values import Transmission

__all__ = ["COMPONENTS"]

_PARIS = ZoneInfo("Europe/Paris")

_NOT_SENT: Final = Failure("PFIRefused", "Document non transmis au DMP par la PFI")
_GIVEN_UP: Final = Failure("DMPUnavailable", "DMP injoignable, envoi abandonné")


def _receipt(exchange: Exchange[Transmission]) -> Exchange[tuple[bytes, ...]]:
    transmission = exchange.body
    if not transmission.wants_delivery_receipts:
        return exchange.with_body(())
    failure = _failure(exchange)
    receipt = dmp_receipt(
        original_of(transmission.raw),
        control_id=control_id(exchange.id, "Z01"),
        now=datetime.now(UTC).astimezone(_PARIS),
        failure=failure,
    )
    told = exchange.with_body((receipt,))
    return told.with_note("receipts", kind="Z01", count=1, code=failure.code if failure else "")


def _failure(exchange: Exchange[Transmission]) -> Failure | None:
    headers = exchange.headers
    # The DMP may have taken it, and something after that failed.
    if "error-code" not in headers or headers.get("dmp-outcome") == "accepted":
        return None
    if code := headers.get("dmp-code", ""):
        return Failure(code, LABELS.get(code, ""))
    template = _GIVEN_UP if headers["error-code"] == "given-up" else _NOT_SENT
    return Failure(template.code, template.label, headers.get("error-message", ""))


def _builder(_options: Any) -> Any:
    return _receipt


COMPONENTS = (
    Component(
        name="dmp-receipt",
        kind="processor",
        build=_builder,
        doc="Writes the ZAM^Z01 of an order for the DMP, when the message asks for receipts.",
        accepts=Transmission,
        gives=tuple[bytes, ...],
        reads={
            "error-code": Field("Among `on-rejected` steps: the order was refused or given up.", always=False),
            "error-message": Field("Why.", always=False),
            "dmp-code": Field("The DMP's own code, when it has answered.", always=False),
        },
    ),
)
