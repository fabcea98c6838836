from __future__ import annotations

from pathlib import Path

import pytest

from pfiflow.routefile import lint
from tests.routefile.bakery import bakery
from tests.routefile.flows import Lint, codes

HELD = """\
channels:
  {before}
  a: {{hold: true}}{behind}
routes:
  - id: r
    from: {{counter: {{listen: 'x:1'}}}}
    steps: [{{to: {{channel: a}}}}]
"""


@pytest.mark.parametrize(
    ("before", "behind", "found"),
    [
        ("", "", [(3, 3, "information", "held")]),
        ("# lint: ignore[held] until the shop opens", "", []),
        ("", "  # lint: ignore[held] until the shop opens", []),
        ("#lint:ignore[held]: until the shop opens", "", []),
        ("# lint: ignore[held] until the shop opens\n  # as it does on Monday", "", []),
        ("# lint: ignore[unused, held] until the shop opens", "", []),
        # without a reason
        ("# lint: ignore[held]", "", [(2, 3, "warning", "silencer")]),
        # with a code that there is not, or none
        (
            "# lint: ignore[hold] until the shop opens",
            "",
            [(2, 3, "warning", "silencer"), (3, 3, "information", "held")],
        ),
        ("# lint: ignore it", "", [(2, 3, "warning", "silencer"), (3, 3, "information", "held")]),
        # in vain
        ("# lint: ignore[never] no idea", "", [(2, 3, "warning", "silencer"), (3, 3, "information", "held")]),
        # an error
        ("# lint: ignore[port, held] why not", "", [(2, 3, "warning", "silencer")]),
        # elsewhere
        (
            "\n  # lint: ignore[held] no\n  b:",
            "",
            [(3, 3, "warning", "silencer"), (4, 3, "warning", "unused"), (5, 3, "information", "held")],
        ),
        # in a text
        (
            "b: {description: 'a # lint: ignore[held] b'}",
            "",
            [(2, 3, "warning", "unused"), (3, 3, "information", "held")],
        ),
    ],
)
def test_comments(before: str, behind: str, found: list[tuple[int, int, str, str]], lint_text: Lint) -> None:
    assert codes(lint_text(HELD.format(before=before, behind=behind))) == found


def test_an_error_is_not_silenced(lint_text: Lint) -> None:
    text = "routes:\n  # lint: ignore[no-steps] later\n  - {id: r, from: {alarm: }, steps: []}\n"
    assert codes(lint_text(text)) == [(2, 3, "warning", "silencer"), (3, 5, "error", "no-steps")]


def test_what_other_files_settle_may_be_ignored_in_vain(tmp_path: Path) -> None:
    writer, reader = tmp_path / "writer.yaml", tmp_path / "reader.yaml"
    writer.write_text(
        "channels:\n  # lint: ignore[no-reader] reader.yaml reads it\n  a:\n"
        "routes:\n  - {id: r, from: {alarm: }, steps: [{to: {channel: a}}]}\n"
    )
    reader.write_text("include: [writer.yaml]\nroutes:\n  - {id: s, from: {channel: a}, steps: [{to: {bin: }}]}\n")
    assert lint([writer], bakery()) == ()
    assert codes(lint([reader], bakery())) == [(3, 5, "information", "tells-nobody")]


def test_what_an_override_settles_may_be_ignored_in_vain_by_the_included_file(tmp_path: Path) -> None:
    shipped, ours = tmp_path / "shipped.yaml", tmp_path / "ours.yaml"
    shipped.write_text(
        "routes:\n  # lint: ignore[dropped] for the log alone\n"
        "  - {id: r, from: {alarm: }, steps: [{id: say, log: {message: m}}]}\n"
    )
    ours.write_text(
        "include: [shipped.yaml]\noverride: {routes: {r: {steps: {say: {after: [{to: {bin: }}]}}}}}\n"
        "# lint: ignore[dropped] ours is\n"
    )
    assert lint([shipped], bakery()) == ()
    assert codes(lint([ours], bakery())) == [(3, 1, "warning", "silencer")]
    assert len(lint([ours, shipped], bakery())) == 2


def test_a_file_with_errors_is_not_told_that_it_ignores_in_vain(lint_text: Lint) -> None:
    text = "rotues: []\nchannels:\n  # lint: ignore[held] until the shop opens\n  a: {hold: true}\n"
    assert [f.code for f in lint_text(text)] == ["unknown"]
