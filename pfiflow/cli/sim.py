"""`pfiflow sim`: the other ends, on this machine, to try routes against. Not for real data."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from pfiflow.errors import ConfigError
from pfiflow.flow.options import Address, parse_address

if TYPE_CHECKING:
    from pfiflow.endpoints.tls import TlsOptions

__all__ = ["sim"]

_DPI_ANSWERS = (
    "AA", "AE", "AR", "CA", "CE", "CR", "silence", "wrong-id", "twice", "garbage", "cut", "close", "answer-close",
)  # fmt: skip
"""The words of `pfiflow.simulators.dpi.ANSWERS`, here so that `--help` imports no simulator."""


class _Simulator(Protocol):
    @property
    def port(self) -> int: ...

    def start(self) -> None: ...
    def stop(self) -> None: ...


class _ListenAddress(click.ParamType[Address]):
    name = "host:port"

    def convert(self, value: str | Address, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        if isinstance(value, Address):
            return value
        try:
            return parse_address(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group()
def sim() -> None:
    """Simulators: a hospital's software, a mail server, the DMP. Each runs until SIGINT or SIGTERM."""


@sim.command("dpi")
@click.option("--listen", type=_ListenAddress(), default="127.0.0.1:2576", show_default=True)
@click.option("--answer", type=click.Choice(_DPI_ANSWERS), default="AA", show_default=True, help="What it answers.")
@click.option("--times", default=0, show_default=True, help="So many messages are answered so, then AA; 0: all.")
@click.option("--delay", default=0.0, show_default=True, help="Seconds before each answer.")
@click.option("--error", default="207", show_default=True, help="ERR-3 of a refusal.")
@click.option("--detail", default="", help="ERR-5 of a refusal with 207, such as 902.")
@click.option("--unknown", multiple=True, metavar="INS", help="Refuse this patient's documents with 902; repeatable.")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), help="Keep each message there, as .hl7.")
@click.option("--tls", type=click.Path(file_okay=False, path_type=Path), help="TLS; certificates are made in there.")
def dpi(
    listen: Address,
    answer: str,
    times: int,
    delay: float,
    error: str,
    detail: str,
    unknown: tuple[str, ...],
    folder: Path | None,
    tls: Path | None,
) -> None:
    """A hospital's software that takes receipts (ZAM) and documents (MDM) over MLLP, and checks them.

    Prints a line a message: type, MSH-10, the message that a receipt is about, the answer, what is wrong with it.
    """
    from pfiflow.simulators.dpi import DpiSimulator, ReceivedMessage

    options = None if tls is None else _certificates(tls, listen)
    simulator = DpiSimulator(host=listen.host, port=listen.port, tls=options)
    simulator.unknown_patients.update(unknown)
    if answer != "AA" or delay:
        assert answer in _DPI_ANSWERS
        simulator.script(answer, times=times, delay=delay, error=error, detail=detail)  # type: ignore[arg-type]

    def show(message: ReceivedMessage) -> None:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{len(simulator.received):05}.hl7").write_bytes(message.raw)
        problems = "".join(f" | {problem}" for problem in message.problems)
        click.echo(f"{message.type} {message.control_id} about {message.about or '-'}: {message.answer}{problems}")

    simulator.on_message = show
    _until_signal(simulator, "mllp" if tls is None else "mllps", listen)


@sim.command("mail")
@click.option("--listen", type=_ListenAddress(), default="127.0.0.1:2525", show_default=True, help="SMTP.")
@click.option("--imap", type=click.IntRange(0, 65535), default=1143, show_default=True, help="Port of IMAP.")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default="mails", show_default=True)
@click.option(
    "--tls", type=click.Path(file_okay=False, path_type=Path), help="STARTTLS; certificates are made in there."
)
@click.option("--login", default="", help="AUTH PLAIN with this login and an empty password is required.")
@click.option(
    "--refuse", multiple=True, metavar="ADDRESS=CODE", help="Answer this SMTP code to a recipient; repeatable."
)
@click.option("--bounce", multiple=True, metavar="ADDRESS", help="Take mails for it, then report failure; repeatable.")
@click.option(
    "--deliver", multiple=True, metavar="ADDRESS=FILE", help="Put this .eml into a mailbox first; repeatable."
)
def mail(
    listen: Address,
    imap: int,
    folder: Path,
    tls: Path | None,
    login: str,
    refuse: tuple[str, ...],
    bounce: tuple[str, ...],
    deliver: tuple[str, ...],
) -> None:
    """An MSSanté operator: takes mails by SMTP, keeps each as .eml in a folder, and serves them by IMAP.

    Every address has a mailbox; its mails are forgotten at the end. Who asks for delivery reports (DSN) gets them.
    With --tls, STARTTLS and a client certificate are required; without, it speaks in clear. Prints the settings to use
    with routes/outbound.yaml and routes/inbound.yaml, then a line a mail.
    """
    try:
        from pfiflow.simulators.delivery_report import Fate
        from pfiflow.simulators.mail import ReceivedMail
        from pfiflow.simulators.operator import MailOperator
    except ModuleNotFoundError as error:
        raise _not_installed(error) from None

    options = None if tls is None else _certificates(tls, listen)
    logins = {login: ""} if login else None
    operator = MailOperator(
        folder=folder, tls=options, logins=logins, host=listen.host, smtp_port=listen.port, imap_port=imap
    )
    for address, code in _pairs(refuse, "--refuse", "a@b.fr=550"):
        if not re.fullmatch("[45][0-9]{2}", code):
            raise click.BadParameter("an SMTP code is 400 to 599", param_hint="--refuse")
        operator.smtp.script("RCPT", f"{code} refused by the simulator", address=address)
    for address in bounce:
        operator.bounce(address, "5.2.2", "552 5.2.2 mailbox full, says the simulator")
    for address, file in _pairs(deliver, "--deliver", "a@b.fr=mail.eml"):
        try:
            operator.post(address, Path(file).read_bytes())
        except OSError as error:
            raise click.BadParameter(f"{file}: {error.strerror}", param_hint="--deliver") from None

    def show(received: ReceivedMail, fates: Sequence[Fate]) -> None:
        told = ", ".join(f"{fate.action}: {fate.recipient}" for fate in fates)
        click.echo(f"from {received.sender or '<>'}, {len(received.content)} bytes; {told}")

    def announce() -> None:
        for name, port in (("SMTP", operator.smtp.port), ("IMAP", operator.imap.port)):
            click.echo(f"PFI_{name}_HOST={'localhost' if tls is not None else listen.host}")
            click.echo(f"PFI_{name}_PORT={port}")

    operator.on_mail = show
    _until_signal(operator, "smtp", listen, announce)
    click.echo(f"{len(operator.smtp.received)} mails in {folder}")


@sim.command("dmp")
@click.option("--listen", type=_ListenAddress(), default="127.0.0.1:8443", show_default=True)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default="dmp",
    show_default=True,
    help="Certificates are made in there; registry.jsonl keeps what the DMP holds, and is read at the start.",
)
@click.option(
    "--structure", default="1999999999", show_default=True, help="Whose certificates are made (Struct_IdNat)."
)
@click.option(
    "--client-ca",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Further authority whose clients are let in, such as that of `sim mail --tls`; repeatable.",
)
@click.option("--closed", multiple=True, metavar="INS", help="This patient's DMP is closed; repeatable.")
@click.option("--absent", multiple=True, metavar="INS", help="This patient has no DMP; repeatable.")
@click.option("--error", default="", help="Answer this errorCode (XDSRepositoryBusy…) and carry nothing out.")
@click.option("--times", default=0, show_default=True, help="So many requests are answered --error; 0: all.")
@click.option("--delay", default=0.0, show_default=True, help="Seconds before each request is carried out.")
def dmp(
    listen: Address,
    folder: Path,
    structure: str,
    client_ca: tuple[Path, ...],
    closed: tuple[str, ...],
    absent: tuple[str, ...],
    error: str,
    times: int,
    delay: float,
) -> None:
    """The DMP: HTTPS with mutual TLS, taking ITI-41, ITI-57 and ITI-18, and checking everything.

    Prints the settings to use with routes/dmp.yaml, then a line a request: transaction, submission set, documents, and
    `done` or the codes it was refused with.
    """
    try:
        from pfiflow.dmp import answers
        from pfiflow.simulators.dmp import DmpSimulator, Received
        from pfiflow.simulators.dmp_registry import Registry
    except ModuleNotFoundError as missing:
        raise _not_installed(missing) from None

    folder = folder.resolve()  # a route file reads paths from where it lies
    folder.mkdir(parents=True, exist_ok=True)
    registry = Registry(journal=folder / "registry.jsonl", keep_documents=False)
    simulator = DmpSimulator(
        folder, structure=structure, registry=registry, clients=client_ca, host=listen.host, port=listen.port
    )
    for patient in closed:
        registry.close(patient)
    for patient in absent:
        registry.forget(patient)
    if error:
        simulator.script("RECEIVED", answers.refused(error), times=times, delay=delay)
    if delay:
        simulator.script("RECEIVED", delay=delay)

    def show(received: Received) -> None:
        done = received.processed
        if done is None:
            click.echo(f"{received.path.rpartition('/')[2]} {error}")
        else:
            what = f"{done.context.transaction or '?'} {done.submission or '-'} {' '.join(done.documents) or '-'}"
            click.echo(f"{what}: {' '.join(done.codes) or 'done'}")

    simulator.on_request = show

    def announce() -> None:
        click.echo(f"PFI_DMP_URL={simulator.url}")
        click.echo(f"PFI_DMP_CA={simulator.authority.certificate}")
        if not client_ca:
            click.echo(f"PFI_TLS_CERTIFICATE={simulator.client.certificate}")
            click.echo(f"PFI_TLS_KEY={simulator.client.key}")
        click.echo(f"PFI_SEAL_CERTIFICATE={simulator.seal.certificate}")
        click.echo(f"PFI_SEAL_KEY={simulator.seal.key}")

    _until_signal(simulator, "https", listen, announce)


def _pairs(values: tuple[str, ...], option: str, example: str) -> Iterator[tuple[str, str]]:
    """Address and value of each `ADDRESS=VALUE`."""
    for value in values:
        address, equals, rest = value.partition("=")
        if not equals or "@" not in address or not rest:
            raise click.BadParameter(f"such as {example}", param_hint=option)
        yield address, rest


def _until_signal(
    simulator: _Simulator, scheme: str, listen: Address, announce: Callable[[], None] = lambda: None
) -> None:
    """Start, say what there is to say, wait for SIGINT or SIGTERM, stop."""
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    try:
        simulator.start()
    except OSError as error:
        raise ConfigError(f"cannot listen on {listen}: {error.strerror}") from error
    try:
        announce()
        address = Address(listen.host, simulator.port)
        click.echo(f"listening on {scheme}://{address}")
        done.wait()
    finally:
        simulator.stop()


def _certificates(folder: Path, listen: Address) -> TlsOptions:
    """An authority and two certificates, made in `folder`; prints the client's settings."""
    from pfiflow.endpoints.tls import TlsOptions

    try:
        from pfiflow.simulators.certificates import Authority
    except ModuleNotFoundError as error:
        raise _not_installed(error) from None
    authority = Authority(folder.resolve())  # a route file reads paths from where it lies
    server = authority.issue("localhost", listen.host, stem="server")
    client = authority.issue("client.localhost", stem="client")
    click.echo(f"PFI_TLS_CA={authority.certificate}")
    click.echo(f"PFI_TLS_CERTIFICATE={client.certificate}")
    click.echo(f"PFI_TLS_KEY={client.key}")
    return TlsOptions(ca=(authority.certificate,), certificate=server.certificate, key=server.key)


def _not_installed(error: ModuleNotFoundError) -> click.ClickException:
    return click.ClickException(f"{error.name} is not installed; run `pip install 'pfiflow[simulators]'`")
