"""The commands of a page, in order, and what the page says they print.

Fences that count: `console` (a line that begins with `$ ` is a command; it goes on while it ends with a backslash or a
here-document is open; what follows is what it prints) and `sh` (all of it is run, nothing is compared). In what is
printed, `…` stands for any text, a line `…` for any number of lines; runs of spaces count as one.

An HTML comment right before a fence says more, as words after `test:`

    <!-- test: file=routes/second.yaml -->   the fence (of any language) is written into that file
    <!-- test: terminal=routes -->           another terminal: it goes on while the page does, which waits until it has
                                             printed what is shown
    <!-- test: interrupt=routes -->          (without a fence) Ctrl-C in that terminal
    <!-- test: setup=pfi -->                 (without a fence) setups/pfi.sh is run: what the page assumes
    <!-- test: status=1 -->                  exit status of the last command of the fence
    <!-- test: until -->                     the last command is run again until it prints what is shown
    <!-- test: skip=REASON -->               not run; REASON is one of `REASONS`
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from attrs import frozen

__all__ = ["REASONS", "Block", "Command", "blocks_of", "inline_commands", "matches", "unfenced_commands"]

REASONS = {
    "docker": "needs a container engine",
    "install": "installs from a package registry or a forge",
    "root": "changes the machine (users, systemd, /etc)",
    "servers": "needs the hospital's or the operator's own servers",
    "suite": "is the test suite, or the demo that another test runs",
}

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>```+|~~~+) *(?P<language>[\w-]*)")
_SETUPS = Path(__file__).with_name("setups")
_COMMENT = re.compile(r"^ *<!-- test: (?P<words>.+?) -->$")
_HERE = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")
_COMMANDS = re.compile(r"^(\$ )?(pfiflow|make|python -m|docker|systemctl|pip) ")

Kind = Literal["run", "file", "interrupt", "setup"]


@frozen
class Command:
    """One command, and what it prints; `output` is None where nothing is shown."""

    text: str
    output: str | None = None


@frozen
class Block:
    """What one fence, or one comment without a fence, asks for. `line` counts from 1."""

    line: int
    kind: Kind
    commands: tuple[Command, ...] = ()
    name: str = ""
    content: str = ""
    terminal: str = ""
    until: bool = False
    status: int = 0
    skip: str = ""


@frozen
class _Fence:
    line: int
    language: str
    words: dict[str, str]
    lines: tuple[str, ...]


def blocks_of(page: Path) -> Iterator[Block]:
    """What a page asks for, from its top to its end. Raises ValueError for a comment that says nothing known."""
    for fence in _fences(page.read_text().splitlines()):
        words = fence.words
        unknown = words.keys() - {"file", "terminal", "interrupt", "setup", "until", "status", "skip"}
        if unknown or words.get("skip", "suite") not in REASONS:
            raise ValueError(f"{page}:{fence.line}: {words}: see {__file__}")
        if "interrupt" in words:
            yield Block(fence.line, "interrupt", name=words["interrupt"])
        elif "setup" in words:
            yield Block(fence.line, "setup", (Command((_SETUPS / f"{words['setup']}.sh").read_text()),))
        elif "file" in words:
            yield Block(fence.line, "file", name=words["file"], content="\n".join([*fence.lines, ""]))
        elif fence.language in {"console", "sh"}:
            commands: tuple[Command, ...]
            if fence.language == "sh":
                commands = (Command("\n".join(fence.lines)),)
            else:
                commands = tuple(_console(fence.lines, f"{page}:{fence.line}"))
            yield Block(
                fence.line,
                "run",
                commands,
                terminal=words.get("terminal", ""),
                until="until" in words,
                status=int(words.get("status", "0")),
                skip=words.get("skip", ""),
            )


def _fences(lines: list[str]) -> Iterator[_Fence]:
    words: dict[str, str] = {}
    opened: re.Match[str] | None = None
    start, inside = 0, list[str]()
    for number, line in enumerate(lines, 1):
        if opened is not None:
            indent = len(opened["indent"])
            if line.strip().startswith(opened["fence"]) and not line.strip().strip(opened["fence"][0]):
                yield _Fence(start, opened["language"], words, tuple(inside))
                opened, words, inside = None, {}, []
            else:
                inside.append(line[indent:] if not line[:indent].strip() else line)
        elif found := _FENCE.match(line):
            opened, start = found, number
        elif found := _COMMENT.match(line):
            words = dict(word.partition("=")[::2] for word in found["words"].split())
            if words.keys() & {"interrupt", "setup"}:
                yield _Fence(number, "", words, ())
                words = {}
        elif line.strip():
            words = {}


def _console(lines: tuple[str, ...], where: str) -> Iterator[Command]:
    """The commands of a console fence. Raises ValueError when it does not begin with one."""
    rest = list(lines)
    if not rest or not rest[0].startswith("$ "):
        raise ValueError(f"{where}: a console block begins with `$ `")
    while rest:
        command = [rest.pop(0).removeprefix("$ ")]
        while rest and command[-1].endswith("\\"):
            command.append(rest.pop(0))
        if here := _HERE.search(command[-1]):
            while rest and command[-1] != here[2]:
                command.append(rest.pop(0))
        output = list[str]()
        while rest and not rest[0].startswith("$ "):
            output.append(rest.pop(0))
        yield Command("\n".join(command), "\n".join(output) if output else None)


def matches(expected: str, printed: str, *, begins: bool = False) -> bool:
    """Whether what was printed is what the page shows, however wide its columns; with `begins`, more may follow."""
    pattern = "".join(_ANY_LINES if line == "…" else f"{_line_pattern(line)}\n" for line in _lines(expected))
    text = "".join(f"{line}\n" for line in _lines(printed))
    found = re.match(pattern, text) if begins else re.fullmatch(pattern, text)
    return found is not None


_ANY_LINES = r"(?:.*\n)*?"


def _lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.strip("\n").splitlines()]


def _line_pattern(line: str) -> str:
    return re.escape(line).replace(r"\ …", r"(?:\ .*)?").replace("…", ".*")


def unfenced_commands(page: Path) -> list[str]:
    """Commands in code that is not run: indented, or in a fence of another language; `page:line: text`."""
    found, language, fence = list[str](), "", ""
    skipped = {block.line for block in blocks_of(page)}
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if opened := _FENCE.match(line):
            if not fence:
                fence, language = opened["fence"], "run" if number in skipped else opened["language"] or "text"
            elif line.strip() == fence:
                fence = language = ""
            continue
        code = line.strip() if fence and language in {"text", "bash", "shell"} else ""
        if not fence and line.startswith("    "):
            code = line.strip()
        if _COMMANDS.match(code):
            found.append(f"{page}:{number}: {code}")
    return found


def inline_commands(page: Path) -> Iterator[tuple[int, str]]:
    """`pfiflow …` between backticks in the text, with its line: not run, but looked up."""
    fenced = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            for found in re.finditer(r"`(pfiflow [^`]+)`", line):
                yield number, found[1]
