"""What components and body types declare for lint and documentation is what they do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pfiflow.errors import ConfigError
from pfiflow.flow.component import Field, Registry
from pfiflow.flow.exchange import Exchange
from pfiflow.processors.mail import MssMailOptions, XdmPackOptions
from pfiflow.processors.transmission import CheckOptions

ROOT = Path(__file__).parents[2]
REGISTRY = Registry.installed()
MESSAGES = sorted((ROOT / "examples/messages").glob("*.hl7"))


def flat(view: Mapping[str, object], above: str = "") -> Iterator[tuple[str, object]]:
    for name, value in view.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def agree(fields: Mapping[str, Field], found: Mapping[str, object]) -> None:
    """Everything that is declared as always there is, and nothing else is; each of its type, and one of its values."""
    assert {name for name, field in fields.items() if field.always} <= set(found) <= set(fields)
    for name, value in found.items():
        assert isinstance(value, fields[name].type), name
        assert not fields[name].values or value in fields[name].values, name


def through(name: str, exchange: Exchange[Any], options: Any = None) -> Exchange[Any]:
    """What a processor gives; the headers that it has set agree with its declaration."""
    component = REGISTRY.component(name)
    result: Exchange[Any] = component.build(options or component.options())(exchange)
    changed = {key: value for key, value in result.headers.items() if exchange.headers.get(key) != value}
    agree(component.sets, changed)
    for key, field in component.reads.items():
        assert not field.always or key in exchange.headers
    return result


@pytest.mark.parametrize("message", MESSAGES, ids=[path.stem for path in MESSAGES])
def test_outbound(message: Path) -> None:
    read = through("read-transmission", Exchange("x", message.read_bytes(), {}, received=1.7e9))
    body_type = REGISTRY.body_types["transmission"]
    agree(body_type.fields, dict(flat(body_type.view(read.body))))
    checked = through("check-transmission", read, CheckOptions(test_platform=True))
    if not checked.body.destinations.professionals:
        return
    audience = checked.with_headers({"audience": "professionals"})
    packing = XdmPackOptions(source_id="1.2.250.1.999.1", sender_name="PFI", organization="CH", test_platform=True)
    packed = through("xdm-pack", audience, packing)
    mail = MssMailOptions(
        mailbox="pfi@ch.mssante.example", label="CH", reply_to="c@ch.mssante.example", nil="DEV0", test_platform=True
    )
    through("mss-mail", packed, mail)


RAW = b"From: a@b.mssante.example\r\nTo: pfi@ch.mssante.example\r\nMessage-ID: <1@b.example>\r\n\r\ntext\r\n"


def test_inbound() -> None:
    read = through("read-mail", Exchange("x", RAW, {"mailbox": "pfi@ch.mssante.example"}))
    body_type = REGISTRY.body_types["received-mail"]
    agree(body_type.fields, dict(flat(body_type.view(read.body))))


TLS = {"ca": ("ca.pem",)}


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("mllp-in", {"listen": None, "tls": {}}, "who listens needs a certificate"),
        ("mllp-in", {"listen": None, "tls": {"certificate": "c.pem"}}, ""),
        ("mllp-out", {"address": None, "tls": {}}, "nobody is trusted"),
        ("mllp-out", {"address": None, "tls": TLS}, ""),
        ("mllp-out", {"address": None}, ""),
        ("smtp-out", {"host": "h", "username": "u", "tls": {}}, "nobody is trusted"),
        ("smtp-out", {"host": "h", "username": "u", "tls": {"system_store": True}}, ""),
        ("smtp-out", {"host": "h", "username": "u"}, "needs the tls settings"),
        ("imap-in", {"host": "h", "username": "u", "tls": {}}, "nobody is trusted"),
        ("imap-in", {"host": "h", "username": "u", "tls": TLS}, ""),
        ("dmp-submit", {"base_url": "https://dmp.example", "seal": None, "tls": TLS}, "asks for ours"),
        ("dmp-submit", {"base_url": "http://dmp.example", "seal": None, "tls": TLS}, "https"),
    ],
)
def test_settings_that_a_start_would_refuse_are_found_before(name: str, options: dict[str, Any], words: str) -> None:
    from pfiflow.endpoints.tls import TlsOptions

    component = REGISTRY.component(name)
    if "tls" in options:
        options = {**options, "tls": TlsOptions(**options["tls"])}
    made = component.options(**options)
    if not words:
        component.check(made)
        return
    with pytest.raises(ConfigError, match=words):
        component.check(made)
