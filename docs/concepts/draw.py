"""Draws the pictures of the concepts: `python docs/concepts/draw.py` writes pictures/*.svg. A test keeps them fresh.

Each picture is data: boxes on a grid, arrows between them. Colours follow the reader's preference (light or dark); the
paper is drawn, so that a picture is legible on a page of the other colour too.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Literal

from attrs import frozen

__all__ = ["PICTURES", "svg"]

Kind = Literal["box", "store", "outside", "bad", "plain"]

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 150, 52, 40, 34, 18
_STYLE = """\
.paper{fill:#ffffff}text{font:14px system-ui,'Segoe UI','DejaVu Sans',sans-serif;fill:#1c2330;text-anchor:middle}
.small{font-size:12px;fill:#4a5568}.label{font-size:12px;fill:#1c2330}.left{text-anchor:start}
.box rect{fill:#e8f0fe;stroke:#3b5ea8}.store rect{fill:#e6f4ea;stroke:#2f7d4f}.outside rect{fill:#f3f3f3;stroke:#6b7280}
.bad rect{fill:#fdecea;stroke:#b3402f}.plain rect{fill:none;stroke:none}
.arrow{stroke:#4a5568;fill:none;stroke-width:1.6}.head{fill:#4a5568}
.group{fill:none;stroke:#8a94a6;stroke-dasharray:5 4}
@media (prefers-color-scheme:dark){.paper{fill:#171a20}text,.label{fill:#e8eaf0}.small{fill:#b4bccb}
.box rect{fill:#1f2f52;stroke:#8fb0f5}.store rect{fill:#173524;stroke:#6fce96}.outside rect{fill:#2a2d34;stroke:#a0a7b4}
.bad rect{fill:#43211d;stroke:#ee8b7c}.arrow{stroke:#b4bccb}.head{fill:#b4bccb}.group{stroke:#7d8797}}"""


@frozen
class Box:
    """A box in column `x`, row `y` (may be fractions), `wide` columns wide."""

    name: str
    x: float
    y: float
    text: str
    small: str = ""
    kind: Kind = "box"
    wide: float = 1


@frozen
class Arrow:
    """From one box to another: along the row, along the column, or slanting. `back` has a head at its begin as well."""

    start: str
    end: str
    label: str = ""
    dashed: bool = False
    shift: float = 0  # of the label, in pixels downwards
    down: bool = False  # from the bottom of the one to the top of the other, wherever they stand


@frozen
class Picture:
    """What is drawn, in the order: groups (dashed frames around boxes, with a title), boxes, arrows."""

    title: str
    boxes: Sequence[Box]
    arrows: Sequence[Arrow]
    groups: Sequence[tuple[str, Sequence[str]]] = ()


def svg(picture: Picture) -> str:
    """The picture as SVG, without anything that would be fetched."""
    boxes = {box.name: box for box in picture.boxes}
    right = max(_left(box) + _wide(box) for box in boxes.values()) + _MARGIN
    bottom = max(_top(box) + _HEIGHT for box in boxes.values()) + _MARGIN
    title = escape(picture.title)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {right:g} {bottom:g}" width="{right:g}" role="img">',
        f"<title>{title}</title>",
        f"<style>{_STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">',
        '<path class="head" d="M0 0 10 5 0 10z"/></marker></defs>',
        f'<rect class="paper" width="{right:g}" height="{bottom:g}" rx="8"/>',
    ]
    for words, names in picture.groups:
        lines += _group(words, [boxes[name] for name in names])
    for box in boxes.values():
        lines += _box(box)
    for arrow in picture.arrows:
        lines += _arrow(arrow, boxes[arrow.start], boxes[arrow.end])
    return "\n".join([*lines, "</svg>", ""])


def _left(box: Box) -> float:
    return _MARGIN + box.x * (_WIDTH + _GAP_X)


def _top(box: Box) -> float:
    return _MARGIN + box.y * (_HEIGHT + _GAP_Y)


def _wide(box: Box) -> float:
    return box.wide * (_WIDTH + _GAP_X) - _GAP_X


def _group(words: str, boxes: Sequence[Box]) -> list[str]:
    left, top = min(map(_left, boxes)) - 10, min(map(_top, boxes)) - 24
    right, bottom = max(_left(box) + _wide(box) for box in boxes) + 10, max(map(_top, boxes)) + _HEIGHT + 10
    return [
        f'<rect class="group" x="{left:g}" y="{top:g}" width="{right - left:g}" height="{bottom - top:g}" rx="8"/>',
        f'<text class="small left" x="{left + 8:g}" y="{top + 15:g}">{escape(words)}</text>',
    ]


def _box(box: Box) -> list[str]:
    left, top, wide = _left(box), _top(box), _wide(box)
    middle, centre = left + wide / 2, top + _HEIGHT / 2
    lines = [
        f'<g class="{box.kind}"><rect x="{left:g}" y="{top:g}" width="{wide:g}" height="{_HEIGHT}" rx="6"/>',
        f'<text x="{middle:g}" y="{centre + (-3 if box.small else 5):g}">{escape(box.text)}</text>',
    ]
    if box.small:
        lines.append(f'<text class="small" x="{middle:g}" y="{centre + 14:g}">{escape(box.small)}</text>')
    return [*lines, "</g>"]


def _arrow(arrow: Arrow, start: Box, end: Box) -> list[str]:
    (x1, y1), (x2, y2) = _down(start, end) if arrow.down else _ends(start, end)
    dashes = ' stroke-dasharray="5 4"' if arrow.dashed else ""
    lines = [f'<path class="arrow" d="M{x1:g} {y1:g} {x2:g} {y2:g}" marker-end="url(#head)"{dashes}/>']
    if arrow.label:
        upright = abs(y2 - y1) > abs(x2 - x1)
        x, y = (x1 + x2) / 2 + (8 if upright else 0), (y1 + y2) / 2 + (4 if upright else -6) + arrow.shift
        lines.append(
            f'<text class="label{" left" if upright else ""}" x="{x:g}" y="{y:g}">{escape(arrow.label)}</text>'
        )
    return lines


def _ends(start: Box, end: Box) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where an arrow leaves and where it arrives: sides that face each other, else top and bottom."""
    left, right = (start, end) if _left(start) <= _left(end) else (end, start)
    if _left(left) + _wide(left) <= _left(right) - 4:
        first = (_left(left) + _wide(left), _top(left) + _HEIGHT / 2)
        second = (_left(right), _top(right) + _HEIGHT / 2)
        return (first, second) if left is start else (second, first)
    overlap = max(_left(start), _left(end)), min(_left(start) + _wide(start), _left(end) + _wide(end))
    x = sum(overlap) / 2
    if _top(start) < _top(end):
        return (x, _top(start) + _HEIGHT), (x, _top(end))
    return (x, _top(start)), (x, _top(end) + _HEIGHT)


def _down(start: Box, end: Box) -> tuple[tuple[float, float], tuple[float, float]]:
    """A third of the way in from the side that is nearer to the other box, so that crossing arrows stay apart."""
    toward = 1 if _left(end) > _left(start) else -1 if _left(end) < _left(start) else 0
    first = _left(start) + _wide(start) * (0.5 + 0.3 * toward)
    second = _left(end) + _wide(end) * (0.5 - 0.3 * toward)
    return (first, _top(start) + _HEIGHT), (second, _top(end))


PICTURES = {
    "routes": Picture(
        "A source gives exchanges to the steps of a route; a channel hands them to the next, which ends in a sink",
        [
            Box("dpi", 0, 0.4, "DPI", "MDM, ORU", kind="outside"),
            Box("in", 1, 0.4, "mllp-in", "source"),
            Box("read", 2, 0.4, "read-transmission", "step"),
            Box("choice", 3, 0.4, "choice", "step"),
            Box("channel", 3, 2.0, "channel mail", "durable, on disk", kind="store"),
            Box("pack", 2, 2.0, "xdm-pack", "step"),
            Box("mail", 1, 2.0, "mss-mail", "step"),
            Box("out", 0, 2.0, "smtp-out", "sink"),
            Box("operator", 0, 3.2, "MSSanté", "operator", kind="outside"),
        ],
        [
            Arrow("dpi", "in"),
            Arrow("in", "read"),
            Arrow("read", "choice"),
            Arrow("choice", "channel"),
            Arrow("channel", "pack"),
            Arrow("pack", "mail"),
            Arrow("mail", "out"),
            Arrow("out", "operator"),
        ],
        [("route transmission", ["in", "read", "choice"]), ("route mssante", ["out", "mail", "pack"])],
    ),
    "channels": Picture(
        "The messages of a channel stand in lanes, one for each patient; each lane gives its oldest message first",
        [
            Box("a3", 0, 0.4, "patient A, no. 7", "delete", kind="store"),
            Box("a2", 1, 0.4, "patient A, no. 4", "replace", kind="store"),
            Box("a1", 2, 0.4, "patient A, no. 1", "tried again at 10:05", kind="bad"),
            Box("b2", 1, 1.5, "patient B, no. 5", "new", kind="store"),
            Box("b1", 2, 1.5, "patient B, no. 2", "new", kind="store"),
            Box("c1", 2, 2.6, "patient C, no. 3", "new", kind="store"),
            Box("wa", 3, 0.4, "waits", "A's lane alone", kind="plain"),
            Box("wb", 3, 1.5, "worker 1", "steps of the route"),
            Box("wc", 3, 2.6, "worker 2", "steps of the route"),
        ],
        [Arrow("a1", "wa", dashed=True), Arrow("b1", "wb"), Arrow("c1", "wc")],
        [("channel mail, key: body.patient.key", ["a3", "a1", "b1", "c1"])],
    ),
    "acknowledgement": Picture(
        "A message is committed to the disk with all that follows from it before it is acknowledged",
        [
            Box("dpi", 0, 0.4, "DPI", kind="outside"),
            Box("read", 1.2, 0.4, "read and check", "steps, in memory"),
            Box("unit", 2.4, 0.4, "unit of work", "outputs, keys, journal"),
            Box("disk", 2.4, 1.7, "commit, fsync", "one transaction", kind="store"),
            Box("aa", 1.2, 1.7, "AA", "only now"),
            Box("dpi2", 0, 1.7, "DPI", "may forget it", kind="outside"),
            Box("ae", 1.2, 2.9, "AE: refused, every reason", "AR: later; nothing was kept", kind="bad", wide=1.35),
        ],
        [
            Arrow("dpi", "read", "MDM"),
            Arrow("read", "unit"),
            Arrow("unit", "disk"),
            Arrow("disk", "aa"),
            Arrow("aa", "dpi2"),
        ],
    ),
    "failures": Picture(
        "What a failed attempt becomes: what is refused is a dead letter, what is temporary waits in its lane",
        [
            Box("try", 0, 1.4, "attempt", "steps and sink"),
            Box("done", 1.4, 0.2, "done", "journal", kind="store", wide=1.1),
            Box("deferred", 1.4, 1.4, "Deferred", "network, 4xx, AR, busy", wide=1.1),
            Box("rejected", 1.4, 2.6, "Rejected", "5xx, AE, a rule broken", kind="bad", wide=1.1),
            Box("wait", 3, 0.9, "its lane waits", "10 s, 20 s … 15 min"),
            Box("told", 3, 2.6, "on-rejected", "its sender is told"),
            Box("dead", 4.2, 2.6, "dead letter", "an operator looks", kind="bad"),
        ],
        [
            Arrow("try", "done"),
            Arrow("try", "deferred"),
            Arrow("try", "rejected"),
            Arrow("deferred", "wait"),
            Arrow("rejected", "told"),
            Arrow("told", "dead"),
            Arrow("wait", "told", "given up"),
        ],
    ),
    "identity": Picture(
        "Every id sent outside derives from the exchange: a repeated attempt carries the same, and the peer can tell",
        [
            Box("exchange", 0, 1.2, "exchange", "id 01a2216186f…", kind="store"),
            Box("mail", 1.3, 0, "Message-ID", "mail, DSN, MDN", wide=1.1),
            Box("submission", 1.3, 1.2, "submission set id", "uniqueId: XDM, DMP", wide=1.1),
            Box("msh", 1.3, 2.4, "MSH-10", "receipts, MDM", wide=1.1),
            Box("first", 2.9, 0.5, "attempt 1", "answer lost", kind="bad"),
            Box("second", 2.9, 1.9, "attempt 2", "the same ids"),
            Box("peer", 4.2, 1.2, "peer", "knows it already", kind="outside"),
        ],
        [
            Arrow("exchange", "mail"),
            Arrow("exchange", "submission"),
            Arrow("exchange", "msh"),
            Arrow("submission", "first"),
            Arrow("submission", "second"),
            Arrow("first", "peer"),
            Arrow("second", "peer"),
        ],
    ),
    "destinations": Picture(
        "Three destinations, three gates: professionals need no INS; the patient and the DMP need a qualified one",
        [
            Box("message", 0, 1.2, "transmission", "DESTDMP, DESTMSS…", kind="outside"),
            Box("same", 1.2, 1.2, "one patient?", "PID and CDA agree"),
            Box("ps", 2.6, 0, "professionals", "no INS needed"),
            Box("patient", 2.6, 1.2, "patient", "qualified INS"),
            Box("dmp", 2.6, 2.4, "DMP", "qualified INS, author"),
            Box("mss", 3.9, 0.6, "MSSanté", "a mail each", kind="outside"),
            Box("dmpout", 3.9, 2.4, "DMP", "ITI-41, ITI-57", kind="outside"),
            Box("no", 1.2, 2.4, "AE", "doubt is a refusal", kind="bad"),
        ],
        [
            Arrow("message", "same"),
            Arrow("same", "ps"),
            Arrow("same", "patient"),
            Arrow("same", "dmp"),
            Arrow("same", "no", "no"),
            Arrow("ps", "mss"),
            Arrow("patient", "mss"),
            Arrow("dmp", "dmpout"),
        ],
    ),
    "outcomes": Picture(
        "Who is told what: the acknowledgement at once, receipts when the document has left, been delivered, been read",
        [
            Box("dpi", 0, 1.2, "DPI", "who sent it", kind="outside"),
            Box("pfi", 1.8, 1.2, "pfiflow", "", kind="store"),
            Box("dmp", 3.6, 0, "DMP", kind="outside"),
            Box("mss", 3.6, 1.2, "MSSanté operator", kind="outside"),
            Box("reader", 3.6, 2.4, "recipient", kind="outside"),
            Box("aa", 0, 0, "AA, AE, AR", "at once", kind="plain"),
            Box("z", 0, 2.4, "ZAM Z01 Z02 Z03", "when it is known", kind="plain"),
        ],
        [
            Arrow("dpi", "pfi", "MDM, ORU"),
            Arrow("pfi", "aa", "kept, or why not", shift=-8),
            Arrow("pfi", "z", "receipts", shift=18),
            Arrow("dmp", "pfi", "answer: Z01", shift=-8),
            Arrow("mss", "pfi", "DSN: Z02"),
            Arrow("reader", "pfi", "MDN: Z03", shift=18),
        ],
    ),
    "layers": Picture(
        "Health code and engine know nothing of each other; endpoints and processors join them",
        [
            Box("cli", 0, 0, "cli, simulators, testing", "tools", wide=3),
            Box("endpoints", 0, 1.1, "endpoints", "mllp, smtp, imap, dmp", wide=1.5),
            Box("processors", 1.5, 1.1, "processors", "one family a module", wide=1.5),
            Box("domain", 0, 2.5, "hl7 cda xds xdm segur", "mssante dmp terminology", kind="store", wide=1.5),
            Box("flow", 1.5, 2.5, "flow store routefile", "the engine", kind="store", wide=1.5),
        ],
        [
            Arrow("cli", "endpoints"),
            Arrow("cli", "processors"),
            Arrow("endpoints", "domain", down=True),
            Arrow("endpoints", "flow", down=True),
            Arrow("processors", "domain", down=True),
            Arrow("processors", "flow", down=True),
        ],
    ),
}


if __name__ == "__main__":
    folder = Path(__file__).parent / "pictures"
    folder.mkdir(exist_ok=True)
    for name, picture in PICTURES.items():
        (folder / f"{name}.svg").write_text(svg(picture))
