"""`pfiflow send`: message files to an MLLP listener, as a hospital's software would send them."""

from __future__ import annotations

import secrets
import ssl
import sys
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from pfiflow.endpoints.mllp_client import MllpClient
from pfiflow.endpoints.tls import TlsOptions
from pfiflow.errors import ProtocolError
from pfiflow.flow.options import Address
from pfiflow.hl7 import ack, er7

__all__ = ["send"]


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--to", "target", required=True, metavar="mllp://HOST:PORT", help="mllps:// for TLS.")
@click.option("--ca", type=click.Path(exists=True, path_type=Path), help="TLS: certificate authority of the listener.")
@click.option("--cert", type=click.Path(exists=True, path_type=Path), help="TLS: client certificate.")
@click.option("--key", type=click.Path(exists=True, path_type=Path), help="TLS: its key.")
@click.option("--new-control-id", is_flag=True, help="Give each message a new MSH-10 (examples often share one).")
@click.option("--repeat", default=1, show_default=True, help="Send the files that many times.")
@click.option("--timeout", default=30.0, show_default=True, help="Seconds to wait for each acknowledgement.")
def send(
    files: tuple[Path, ...],
    target: str,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    repeat: int,
    timeout: float,
    *,
    new_control_id: bool,
) -> None:
    """Send message FILES over MLLP and print the acknowledgements.

    Segments that end with LF or CR LF are sent with CR. Exit status 0 when all were answered AA, 1 otherwise, 5 when
    the listener cannot be reached or does not answer.
    """
    address, context = _target(target, ca, cert, key)
    client = MllpClient(address, context, ack_timeout=timeout)
    accepted = anyio.run(_send_all, client, files * repeat, new_control_id)
    sys.exit(0 if accepted else 1)


def _target(target: str, ca: Path | None, cert: Path | None, key: Path | None) -> tuple[Address, ssl.SSLContext | None]:
    parts = urlsplit(target)
    try:
        port = parts.port
    except ValueError:  # no number, or none that a port can have
        port = None
    if parts.scheme not in {"mllp", "mllps"} or not parts.hostname or not port:
        raise click.BadParameter("expected mllp://host:port or mllps://host:port", param_hint="--to")
    context = None
    if parts.scheme == "mllps":
        if ca is None:
            raise click.BadParameter("mllps:// needs --ca", param_hint="--to")
        context = TlsOptions(ca=(ca,), certificate=cert, key=key).client_context()
    return Address(parts.hostname, port), context


async def _send_all(client: MllpClient, files: tuple[Path, ...], new_control_id: bool) -> bool:
    console = Console(highlight=False, emoji=False)
    table = Table("file", "control id", "answer", "errors", box=None)
    accepted = 0
    try:
        with Progress(console=console, transient=True) as progress:
            for path in progress.track(files, description="sending"):
                message = _read(path, new_control_id=new_control_id)
                answer = ack.parse_ack(await client.exchange(message.raw))
                accepted += answer.code == "AA"
                problems = "\n".join(str(problem) for problem in answer.errors)
                table.add_row(path.name, answer.control_id, answer.code, problems.replace("[", r"\["))
    finally:
        await client.aclose()
        console.print(table)
    console.print(f"{accepted} of {len(files)} accepted")
    return accepted == len(files)


def _read(path: Path, *, new_control_id: bool) -> er7.Message:
    data = path.read_bytes().removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\r").replace(b"\n", b"\r")
    try:
        message = er7.parse(data)
    except ProtocolError as error:
        raise ProtocolError(f"{path}: {error}") from error
    if not new_control_id:
        return message
    header, _, rest = data.partition(b"\r")
    fields = header.split(message.separators.field)
    if len(fields) < 10:
        raise ProtocolError(f"{path}: MSH has no MSH-10")
    fields[9] = secrets.token_hex(8).encode()
    return er7.parse(message.separators.field.join(fields) + b"\r" + rest)
