"""Steps of our own. A route file names them: `python: {steps:note_type: {}}`."""

from pfiflow import Exchange
from pfiflow.segur.values import Transmission


def note_type(exchange: Exchange[Transmission]) -> Exchange[Transmission]:
    """Write the document's type into the journal, where `pfiflow traces` finds it: ids and codes only, no identity."""
    return exchange.with_note("document-type", type=exchange.body.type.code)
