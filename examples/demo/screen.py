"""What the demo shows: one table of the messages, what the DMP holds, and what to look at afterwards."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from examples.demo.story import Story
from pfiflow.simulators.dmp import DmpSimulator

__all__ = ["dmp_table", "messages_table"]

_CAPTION = (
    "hospital A's software ─ MLLP ─► its PFI ─ SMTP ─► operator ─ IMAP ─► hospital B's PFI ─ MLLP ─► its software\n"
    "back: the DMP's answer (Z01), the operator's delivery report (DSN: Z02), hospital B's reading report (MDN: Z03)"
)


def messages_table(stories: Sequence[Story]) -> Table:
    """What hospital A's software sends, is answered, what becomes of it, and what it is told."""
    shown = Table(
        title="pfiflow between two hospitals, their MSSanté operator and the DMP", caption=_CAPTION, show_lines=True
    )
    shown.add_column("")
    shown.add_column("hospital A's software sends", max_width=36)
    shown.add_column("ACK")
    shown.add_column("what becomes of it", overflow="fold")
    shown.add_column("what hospital A's software is told (ZAM)", overflow="fold")
    for number, story in enumerate(stories, 1):
        shown.add_row(str(number), escape(story.sent.shows), _answer(story), _events(story), _told(story))
    return shown


def _answer(story: Story) -> str:
    if story.answer is None:
        return ""
    return f"[{'green' if story.answer.code == 'AA' else 'red'}]{story.answer.code}[/]"


def _events(story: Story) -> str:
    if story.repeated:
        return "known already: acknowledged again, sent once"
    lines = list(story.events)
    if story.answer is not None and story.answer.code != "AA":
        lines = [
            f"[red]{escape(problem.location)}: {escape(_first_clause(problem.message))}[/]"
            for problem in story.answer.errors
        ]
    if story.delivered:
        color = "green" if story.delivered.endswith("AA") else "red"
        lines.append(f"[{color}]hospital B: {story.delivered}[/]{' ─► MDN' if story.notified else ''}")
    return "\n".join(lines)


def _first_clause(message: str) -> str:
    """Without the source of the rule."""
    return message.partition(" [")[0]


def _told(story: Story) -> str:
    return "\n".join(f"[{'red' if ' NOT ' in each else 'green'}]{escape(each)}[/]" for each in story.told)


def dmp_table(dmp: DmpSimulator) -> Table:
    """The documents that the DMP holds."""
    held = Table(title="in the DMP")
    for heading in ("document", "type", "status"):
        held.add_column(heading, overflow="fold")
    for entry in dmp.registry.entries():
        held.add_row(entry.unique_id, entry.metadata.type_code.display, entry.status)
    return held
