"""The requests of one order, signed anew each time: a VIHF and a message id serve once. Sans-I/O."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Literal
from uuid import UUID, uuid4

from attrs import evolve, field, frozen

from pfiflow.dmp import query, submission, update, vihf
from pfiflow.dmp.query import ReturnType
from pfiflow.dmp.seal import Seal
from pfiflow.dmp.soap import Outgoing
from pfiflow.dmp.submission import Call
from pfiflow.dmp.values import Feeding
from pfiflow.dmp.vihf import VihfForm
from pfiflow.dmp.xades import SignatureForm, sign_submission
from pfiflow.xds.from_cda import replacement

__all__ = ["Request", "Requests", "Service"]

Service = Literal["repository", "registry"]

_SIGNATURE: Final = "Signature01"


def _now() -> datetime:
    return datetime.now(UTC)


@frozen
class Request:
    """One message to POST to `url`. A `query` changes nothing there: when its answer is lost, nothing is in doubt."""

    url: str
    outgoing: Outgoing = field(repr=False)
    query: bool = False


@frozen
class Requests:
    """Makes requests.

    Attributes:
        base_url: of the services: `<base>/repository`, `<base>/registry`.
        seal: signs VIHF and submission.
        signature: form of the submission's signature; None sends none.
        vihf_form: form of the VIHF.
        return_type: what ITI-18 asks for.
        clock: the time, aware.
        fresh: a UUID that nobody has used or can foresee.
    """

    base_url: str
    seal: Seal = field(repr=False)
    signature: SignatureForm | None = SignatureForm()
    vihf_form: VihfForm = VihfForm()
    return_type: ReturnType = "ObjectRef"
    clock: Callable[[], datetime] = _now
    fresh: Callable[[], UUID] = uuid4

    def submit(self, order: Feeding, *, replaced_entry_uuid: str = "") -> Request:
        """ITI-41, replacing an entry when one is given. Raises Rejected: a value does not fit into ebRIM."""
        offered = order.submission
        if replaced_entry_uuid:
            rplc = replacement(offered.entries[0].entry_uuid, replaced_entry_uuid=replaced_entry_uuid)
            offered = evolve(offered, associations=(*offered.associations, rplc))
        documents = (order.document,)
        signed = None
        if self.signature is not None:
            signed = sign_submission(
                offered,
                documents,
                self.seal,
                now=self.clock(),
                unique_id=f"2.25.{self.fresh().int}",
                entry_uuid=_SIGNATURE,
                form=self.signature,
            )
        call = self._call("repository", order)
        return Request(call.to, submission.provide_and_register(offered, documents, call, signature=signed))

    def delete(self, order: Feeding, entry_uuid: str) -> Request:
        """ITI-57. Raises Rejected: a value does not fit into ebRIM."""
        call = self._call("registry", order)
        return Request(call.to, update.delete(order.submission, entry_uuid, call))

    def ask(self, order: Feeding, unique_id: str) -> Request:
        """ITI-18 for one document of the order's patient."""
        call = self._call("registry", order)
        return Request(call.to, query.get_documents(unique_id, call, return_type=self.return_type), query=True)

    def _call(self, service: Service, order: Feeding) -> Call:
        assertion = vihf.sign(
            order.vihf, self.seal, now=self.clock(), assertion_id=f"_{self.fresh()}", form=self.vihf_form
        )
        return Call(f"{self.base_url.rstrip('/')}/{service}", f"urn:uuid:{self.fresh()}", assertion)
