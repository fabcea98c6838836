"""`dmp-submit`: carries an order out at the DMP, over HTTPS with mutual TLS; never loses one, never feeds one twice."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, cast
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from attrs import Factory, define, field, frozen

from pfiflow.dmp import response
from pfiflow.dmp.codes import CODES, Meaning
from pfiflow.dmp.conversation import Conclusion, Conversation, Known, Progress
from pfiflow.dmp.requests import Request, Requests
from pfiflow.dmp.values import Feeding
from pfiflow.dmp.vihf import VihfForm
from pfiflow.dmp.xades import SignatureForm
from pfiflow.endpoints.dmp_client import DmpClient, Timeouts
from pfiflow.endpoints.dmp_double import AnySeal, AnyTls, DmpAnswer, ScriptedDmp
from pfiflow.endpoints.seal_file import SealFile, SealOptions
from pfiflow.endpoints.tls import TLS_EXAMPLE, TlsContext, TlsOptions, check_client
from pfiflow.errors import ConfigError, Deferred, Rejected
from pfiflow.flow.component import Component, Double, Field, Records
from pfiflow.flow.double import Outside
from pfiflow.flow.exchange import Exchange
from pfiflow.flow.options import Duration, Range, option
from pfiflow.store.api import StoreError

__all__ = ["COMPONENTS", "RECORD", "DmpSink", "DmpSubmitOptions"]

RECORD: Final = "dmp-document"
"""The kind of the records of what was submitted; the key is the document's uniqueId."""

OUTCOME: Final = "dmp-outcome"  # `accepted` or `refused`
CODE: Final = "dmp-code"  # the DMP's error code, when refused
_ANSWERED: Final = "dmp-answered"
_CUTS: Final = "dmp-cuts"
_UNSURE: Final = "dmp-ask-first"

_STATES: Final[Mapping[str, str]] = {"new": "submitted", "replace": "submitted", "delete": "deleted"}
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

_log = logging.getLogger(__name__)

MeaningName = Literal[
    "retry", "retry-bounded", "configuration", "already-fed", "look-up-again", "refused", "fails-as-warning"
]


@frozen
class DmpSubmitOptions:
    """Options of `dmp-submit`. What the DMP's guide would settle has the default that `docs/dmp.md` explains."""

    base_url: str = option(
        doc="Address of the services, without /repository and /registry.",
        example="https://dmp.example/si-dmp-server/v2/services",
    )
    tls: TlsOptions = option(doc="Mutual TLS, with the ORG AUTH_CLI certificate.", example=TLS_EXAMPLE)
    seal: SealOptions = option(
        doc="The structure's seal (ORG_SIGN): signs the VIHF and the submission.",
        example={"certificate": "org-sign.pem", "key": "org-sign.key"},
    )
    signature: Literal["required", "off"] = option(
        default="required", doc="Whether a submission carries its XAdES signature.", example="required"
    )
    signature_algorithm: Literal["sha1", "sha256"] = option(
        default="sha1", doc="Algorithm of the submission's signature.", example="sha1"
    )
    vihf_algorithm: Literal["sha1", "sha256"] = option(
        default="sha256", doc="Algorithm of the VIHF's signature.", example="sha256"
    )
    vihf_mode_attribute: Literal["Authentification_Mode", "Authentification_mode"] = option(
        default="Authentification_Mode", doc="How the VIHF spells this attribute.", example="Authentification_Mode"
    )
    vihf_purpose: str = option(
        default="mode acces VIHF 1.0",
        doc="What the VIHF's PurposeOfUse calls its code system (codeSystemName).",
        example="mode acces VIHF 1.0",
    )
    issuer_in_encoded_order: bool = option(
        default=False, doc="The VIHF's Issuer as `C=FR, …, CN=…` instead of `CN=…,…,C=FR`.", example=False
    )
    query_returns: Literal["ObjectRef", "LeafClass"] = option(
        default="ObjectRef", doc="What ITI-18 asks for; LeafClass says an entry's status too.", example="ObjectRef"
    )
    connections: int = option(
        default=8, doc="Connections at once, kept open between requests.", example=8, validator=Range(minimum=1)
    )
    connect_timeout: Duration = option(
        default=10.0, doc="Time to connect, TLS included.", example="10s", validator=Range(above=0)
    )
    timeout: Duration = option(
        default=60.0,
        doc="Time from the first byte sent to the end of the answer.",
        example="60s",
        validator=Range(above=0),
    )
    timeout_per_megabyte: Duration = option(
        default=5.0, doc="Time added to `timeout` for each megabyte sent.", example="5s", validator=Range(minimum=0)
    )
    codes: Mapping[str, MeaningName] = option(
        default=Factory(dict),
        doc="Error codes of the DMP, or of its Faults, that the table does not hold or holds otherwise.",
        example={"DMPMaintenance": "retry"},
    )


@define(eq=False)
class DmpSink:
    """The sink of the component `dmp-submit`. Takes a `Feeding`; gives the exchange with its outcome.

    Accepted: the header `dmp-outcome`, a note, and the record of the document. Refused: Rejected, whose problems carry
    the DMP's code (`detail_code`), with the headers `dmp-outcome` and `dmp-code`. Else Deferred; its headers say what
    the next attempt must know.
    """

    options: DmpSubmitOptions
    records: Records
    _tls: TlsContext = field()
    _seal: SealFile = field()
    _client: DmpClient = field()
    _codes: Mapping[str, Meaning] = field(init=False)
    _threads: anyio.CapacityLimiter | None = field(init=False, default=None)

    @_tls.default
    def _tls_of_files(self) -> TlsContext:
        return TlsContext(self.options.tls)

    @_seal.default
    def _seal_of_files(self) -> SealFile:
        return SealFile(self.options.seal)

    @_client.default
    def _client_over_https(self) -> DmpClient:
        options = self.options
        timeouts = Timeouts(options.connect_timeout, options.timeout, options.timeout_per_megabyte)
        return DmpClient(options.connections, timeouts)

    def __attrs_post_init__(self) -> None:
        options = self.options
        _check(options)
        self._codes = {**CODES, **{code: Meaning(name) for code, name in options.codes.items()}}

    async def send(self, exchange: Exchange[Any], /) -> Exchange[Any]:
        """One attempt."""
        order: Feeding = exchange.body
        try:
            context, requests = self._tls.current(), self._requests()
        except (ConfigError, Deferred) as error:
            reason = error.message if isinstance(error, Deferred) else f"a certificate or key cannot be used: {error}"
            _log.error("nothing can be sent to the DMP: %s", reason)
            raise Deferred(reason, unavailable=True) from error
        own = await self._record(order.unique_id)
        parent = await self._record(order.parent_unique_id) if order.parent_unique_id else None
        conversation = Conversation(
            order, requests, exchange.id, _progress(exchange.headers), _known(own), _known(parent), self._codes
        )
        detail = ""
        try:
            step = await self._in_thread(conversation.start)
            while isinstance(step, Request):
                reply, detail = await self._client.post(step, context)
                step = await self._in_thread(conversation.take, reply)
        except Rejected as refusal:
            raise Rejected(*refusal.problems, headers={**refusal.headers, OUTCOME: "refused"}) from None
        return _end(exchange, step, detail, parent)

    def _requests(self) -> Requests:
        options = self.options
        signature = None
        if options.signature == "required":
            signature = SignatureForm(options.signature_algorithm)
        form = VihfForm(
            options.vihf_algorithm,
            options.vihf_mode_attribute,
            options.vihf_purpose,
            options.issuer_in_encoded_order,
        )
        return Requests(options.base_url, self._seal.current(), signature, form, options.query_returns)

    async def _record(self, unique_id: str) -> Mapping[str, str] | None:
        try:
            found = await self.records.find_record(RECORD, unique_id)
        except StoreError as error:
            raise Deferred(f"what was submitted before cannot be looked up: {error}") from error
        return found.facts if found is not None else None

    async def _in_thread(
        self, function: Callable[..., Request | Conclusion], *arguments: object
    ) -> Request | Conclusion:
        """Hashing and signing take milliseconds and let other threads run."""
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(os.cpu_count() or 1)
        return await anyio.to_thread.run_sync(function, *arguments, limiter=self._threads)

    async def aclose(self) -> None:
        """Close the kept connections."""
        await self._client.aclose()


def _check(options: DmpSubmitOptions) -> None:
    url = urlsplit(options.base_url)
    if url.scheme != "https" or not url.hostname:
        raise ConfigError("base-url: the DMP is reached by https:// and the name of a host", code="option")
    if url.username or url.password or url.query or url.fragment:
        raise ConfigError("base-url: no user, query or fragment: /repository and /registry are added", code="option")
    check_client(options.tls)
    if options.tls.certificate is None:
        raise ConfigError("tls.certificate: the DMP asks for ours (ORG AUTH_CLI)", code="option")
    if not options.tls.check_hostname and url.hostname not in _LOOPBACK:
        raise ConfigError("tls.check-hostname: off is for tests on this machine only", code="option")


def _end(
    exchange: Exchange[Any], conclusion: Conclusion, detail: str, parent: Mapping[str, str] | None
) -> Exchange[Any]:
    order: Feeding = exchange.body
    match conclusion.outcome:
        case response.Accepted() as accepted:
            return _accepted(exchange, accepted, conclusion, parent)
        case response.Rejected() as rejected:
            raise Rejected(*rejected.problems, headers={OUTCOME: "refused", CODE: rejected.code})
        case response.Deferred() as deferred:
            reason = f"{deferred.reason} ({detail})" if detail else deferred.reason
            if deferred.configuration:
                _log.error("the DMP refuses us, orders wait: %s", reason, extra={"exchange": exchange.id})
            progress = conclusion.progress
            headers = {
                _ANSWERED: str(progress.answered),
                _CUTS: str(progress.cuts),
                _UNSURE: "true" if progress.unsure else "false",
            }
            _log.info("%s of %s waits: %s", order.action, exchange.id, reason, extra={"exchange": exchange.id})
            raise Deferred(
                reason, retry_after=deferred.retry_after, headers=headers, unavailable=conclusion.unavailable
            )


def _accepted(
    exchange: Exchange[Any],
    accepted: response.Accepted,
    conclusion: Conclusion,
    parent: Mapping[str, str] | None,
) -> Exchange[Any]:
    order: Feeding = exchange.body
    facts = {
        "action": order.action,
        "document": order.unique_id,
        "submission": order.submission.unique_id,
        "type": order.type_code,
        "already": "true" if accepted.already else "",
        "original": conclusion.original,
        "warnings": " ".join(accepted.warnings),
    }
    done = exchange.with_note("dmp-accepted", **{name: value for name, value in facts.items() if value})
    done = done.with_memory(
        RECORD,
        order.unique_id,
        state=_STATES[order.action],
        submission=order.submission.unique_id,
        patient=_patient(order),
        type=order.type_code,
        structure=order.vihf.structure,
        hash=order.document_hash,
        exchange=exchange.id,
    )
    if conclusion.original == "replaced" and parent is not None:
        changed = {**parent, "state": "replaced", "replaced_by": order.unique_id}
        done = done.with_memory(RECORD, order.parent_unique_id, **changed)
    # Should what follows in the route fail: the next attempt asks whether the DMP has the document, and finds it done.
    return done.with_headers({OUTCOME: "accepted", _UNSURE: "true"})


def _patient(order: Feeding) -> str:
    """A digest: enough to find a patient's documents again from their INS, not to read the INS."""
    return hashlib.sha256(order.vihf.patient_id.encode()).hexdigest()[:32]


def _progress(headers: Mapping[str, str]) -> Progress:
    return Progress(
        answered=_number(headers.get(_ANSWERED, "")),
        cuts=_number(headers.get(_CUTS, "")),
        unsure=headers.get(_UNSURE) == "true",
    )


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _known(facts: Mapping[str, str] | None) -> Known | None:
    if facts is None or facts.get("state") not in {"submitted", "replaced", "deleted"}:
        return None
    state = cast("Literal['submitted', 'replaced', 'deleted']", facts["state"])
    return Known(state, facts.get("exchange", ""), facts.get("hash", ""))


def _build(options: Any, records: Records) -> DmpSink:
    return DmpSink(options, records)


def _build_double(options: Any, outside: Outside, records: Records) -> DmpSink:
    return DmpSink(options, records, AnyTls(options.tls), AnySeal(options.seal), ScriptedDmp(outside))


COMPONENTS = (
    Component(
        name="dmp-submit",
        kind="sink",
        build=_build,
        options=DmpSubmitOptions,
        doc="Submits, replaces or deletes a document in the patient's DMP, over HTTPS with mutual TLS.",
        accepts=Feeding,
        sets={
            OUTCOME: Field("What the DMP made of it.", values=("accepted", "refused")),
            CODE: Field("Only when it is refused: the DMP's code.", always=False),
        },
        uses_records=True,
        check=_check,
        double=Double(build=_build_double, answers=DmpAnswer),
    ),
)
