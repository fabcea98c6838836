"""Every command of the docs is run, page by page, as it is written."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from pfiflow.cli import main
from tests.docs.pages import Block, blocks_of, inline_commands, matches, unfenced_commands
from tests.docs.shell import Shell
from tests.system.service import ROOT

PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "pfiflow" / "cli" / "project" / "README.md"]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def _runs(page: Path) -> bool:
    return any(block.kind == "run" and not block.skip for block in blocks_of(page))


RUN = [(page, name) for page, name in zip(PAGES, NAMES, strict=True) if _runs(page)]


@pytest.mark.timeout(400)  # a page waits for simulators, services and retries
@pytest.mark.parametrize("page", [page for page, _ in RUN], ids=[name for _, name in RUN])
def test_the_commands_of_a_page_do_what_it_says(page: Path, tmp_path: Path) -> None:
    with Shell(tmp_path) as shell:
        for block in blocks_of(page):
            try:
                shell.do(block)
            except AssertionError as error:
                raise AssertionError(f"{page}:{block.line}: {error}") from None


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_no_command_is_written_where_none_is_run(page: Path) -> None:
    assert unfenced_commands(page) == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_named_in_the_text_exist(page: Path) -> None:
    wrong = [f"{page}:{line}: {text}: {why}" for line, text in inline_commands(page) if (why := _unknown(text))]
    assert wrong == []


def test_every_command_is_in_the_list_of_commands() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text()
    rows = [line.partition("|")[2].partition("|")[0] for line in text.splitlines() if line.startswith("| `pfiflow ")]
    assert [name for name in main.commands if not any(re.search(rf"\b{name}\b", row) for row in rows)] == []


_FILE = re.compile(r"`((?:pfiflow|tests|routes|docs|examples|schemas|benchmarks)/[\w./*-]*\w(?:\.\w+)?)(?:::(\w+))?`")


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_files_named_in_the_text_exist(page: Path) -> None:
    made = {block.name for block in blocks_of(page) if block.kind == "file"}
    named = [(name, function) for name, function in _FILE.findall(page.read_text()) if name not in made]
    assert [name for name, _ in named if not list(ROOT.glob(name))] == []
    for name, function in named:
        assert not function or f"def {function}(" in (ROOT / name).read_text(), f"{name}::{function}"


def _unknown(text: str) -> str:
    """What a `pfiflow …` of the text names that is not there."""
    command: click.Command = main
    options = {name for parameter in main.params for name in parameter.opts} | {"-h", "--help"}
    for word in text.replace("|", " ").split()[1:]:
        if isinstance(command, click.Group) and word.isalpha() and word.islower():
            found = command.commands.get(word)
            if found is None:
                return f"no command {word}"
            command = found
            options |= {name for parameter in command.params for name in parameter.opts}
        elif word.startswith("--") and word.rstrip("…").partition("=")[0] not in options:
            return f"no option {word}"
    return ""


# -- the harness itself: it must be able to fail -----------------------------------------------------------------------


def _page(tmp_path: Path, text: str) -> list[Block]:
    page = tmp_path / "page.md"
    page.write_text(text)
    return list(blocks_of(page))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("```console\n$ echo one\ntwo\n```", "the page shows"),
        ("```console\n$ false\n```", "exit status 1"),
        ("<!-- test: status=3 -->\n```console\n$ true\n```", "exit status 0, not 3"),
        ("```sh\necho begin\nfalse\n```", "exit status 1"),
        ("<!-- test: terminal=a -->\n```console\n$ echo other\nthis\n```", "the page shows"),
    ],
)
def test_a_wrong_page_fails(text: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.docs.shell._DEADLINE", 2.0 if "terminal" in text else 60.0)
    (block,) = _page(tmp_path, text)
    with Shell(tmp_path) as shell, pytest.raises(AssertionError, match=why):
        shell.do(block)


def test_a_page_is_one_session_with_terminals(tmp_path: Path) -> None:
    text = """
<!-- test: file=new/hello.txt -->
```text
hello
```
<!-- test: terminal=server -->
```console
$ cd new
$ python3 -u -m http.server --bind 127.0.0.1 2575
Serving HTTP on …
```
```console
$ cd new && word=$(cat hello.txt)
$ cat > here.txt <<END
$word
END
$ until python3 -c 'import urllib.request as u; print(u.urlopen("http://127.0.0.1:2575/here.txt").read().decode())'; \\
    do sleep 0.1; done 2>/dev/null
hello

```
<!-- test: interrupt=server -->
<!-- test: skip=root -->
```sh
exit 1
```
"""
    blocks = _page(tmp_path, text)
    assert [block.kind for block in blocks] == ["file", "run", "run", "interrupt", "run"]
    with Shell(tmp_path) as shell:
        for block in blocks:
            shell.do(block)


def test_what_counts_as_the_same_output() -> None:
    assert matches("a … c", "a b c  \n")
    assert matches("first\n…\nlast", "first\nany\nnumber\nlast\n")
    assert matches("first\n…\nlast", "first\nlast\n")
    assert matches("first", "first\nmore\n", begins=True)
    assert matches(" a …\n …", "a\nmore")
    assert matches("wide   table …", " wide table   x")
    assert not matches("first", "first\nmore\n")
    assert not matches("a.c", "abc")


def test_a_comment_that_says_nothing_known_is_an_error(tmp_path: Path) -> None:
    for words in ("skp=root", "skip=lazy"):
        with pytest.raises(ValueError, match=words.partition("=")[0]):
            _page(tmp_path, f"<!-- test: {words} -->\n```sh\nexit 1\n```\n")


def test_a_command_outside_of_a_fence_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Do:\n\n    pfiflow lint x.yaml\n\n```text\n$ make test now\n```\n```sh\nmake x\n```\n")
    assert [line.rpartition(":")[2].strip() for line in unfenced_commands(page)] == [
        "pfiflow lint x.yaml",
        "$ make test now",
    ]
    page.write_text("`pfiflow nothing` and `pfiflow lint --strict` and `pfiflow sim mail --wrong X`\n")
    assert [bool(_unknown(text)) for _, text in inline_commands(page)] == [True, False, True]


def test_without_a_network_of_its_own_pages_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.docs.shell.own_network", lambda: False)
    (block,) = _page(tmp_path, "```console\n$ echo $((1 + 1))\n2\n```")
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    with Shell(tmp_path / "first") as shell:
        shell.do(block)
    with Shell(tmp_path / "second") as shell:
        shell.do(block)
