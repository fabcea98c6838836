"""`python -m examples.demo`: exit status 0 when everything became what it must, 1 when not."""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

import anyio
from rich.console import Console
from rich.live import Live
from rich.markup import escape

from examples.demo.leftovers import unfold, write_messages
from examples.demo.scenario import HOSPITAL_A, HOSPITAL_B, scenario
from examples.demo.screen import dmp_table, messages_table
from examples.demo.story import Story, update
from examples.demo.world import World, world
from pfiflow.endpoints.mllp_client import MllpClient
from pfiflow.hl7 import ack

OUTPUT = Path("demo-output").absolute()


async def play(world: World, stories: Sequence[Story], live: Live, patience: float) -> None:
    """Send the scenario, and show what happens until all of it has happened, or not in time."""
    client = MllpClient(world.address)
    for story in stories:
        story.answer = ack.parse_ack(await client.exchange(story.sent.data))
        if story.answer.code == "AA":
            story.exchange = await _exchange(world, {each.exchange for each in stories})
            story.repeated = not story.exchange
        await update(stories, world)
        live.update(messages_table(stories))
    await client.aclose()
    deadline = monotonic() + patience
    while monotonic() < deadline:
        at_rest = await update(stories, world)
        live.update(messages_table(stories))
        if at_rest and not any(any(story.missing()) for story in stories):
            break
        await anyio.sleep(0.1)


async def _exchange(world: World, known: set[str]) -> str:
    """The exchange that the PFI of hospital A made of the message just acknowledged; "" when it had it before."""
    journal = await world.a.store.journal(limit=10_000)
    return next(
        (
            entry.exchange_id
            for entry in journal
            if entry.event == "received"
            and entry.facts["origin"].startswith("mllp-in")
            and entry.exchange_id not in known
        ),
        "",
    )


async def demo(console: Console, patience: float) -> bool:
    """Run it. Whether everything became what it must."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    (OUTPUT / "mails").mkdir(parents=True)
    stories = [Story(sent) for sent in scenario()]
    async with world(OUTPUT) as running:
        console.print(
            f"hospital A: {HOSPITAL_A}, MLLP on {running.address}; hospital B: {HOSPITAL_B}\n"
            f"MSSanté operator: SMTP on localhost:{running.operator.smtp.port}, IMAP on localhost:"
            f"{running.operator.imap.port} (STARTTLS, client certificate)\nDMP: {running.dmp.url}"
        )
        with Live(messages_table(stories), console=console, refresh_per_second=10) as live:
            await play(running, stories, live, patience)
        if not console.is_terminal:
            console.print()
        console.print(dmp_table(running.dmp))
        write_messages(OUTPUT / "hospital-a", running.software_a.received)
        write_messages(OUTPUT / "hospital-b", running.software_b.received)
    count = unfold(OUTPUT / "mails")
    console.print(
        f"Look at {OUTPUT.name}/: mails ({count}, archives opened), hospital-a (the receipts that its software "
        "got), hospital-b (the documents).\nAsk the stores, for instance:\n"
        f"  .venv/bin/pfiflow messages --store {OUTPUT.name}/hospital-b.db dead\n"
        f"  .venv/bin/pfiflow traces --store {OUTPUT.name}/hospital-a.db --format csv"
    )
    wrong = [f"{number}: {each}" for number, story in enumerate(stories, 1) for each in story.missing()]
    wrong += running.errors
    if wrong:
        console.print("[red]NOT as expected:[/]", *map(escape, wrong), sep="\n  ")
    else:
        console.print(f"[green]As expected, all {len(stories)} messages.[/]")
    return not wrong


def main() -> int:
    """Run the demo. Gives the exit status."""
    arguments = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    arguments.add_argument("--patience", type=float, default=25.0, help="seconds in which all must have happened")
    patience = arguments.parse_args().patience
    logging.basicConfig(level=logging.CRITICAL)  # the table tells it all
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    try:
        return 0 if anyio.run(demo, console, patience) else 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
