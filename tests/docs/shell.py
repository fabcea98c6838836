"""One page's shell: `bash` in a folder of its own, with terminals beside it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from attrs import define, field

from tests.docs import alone
from tests.docs.pages import Block, Command, matches
from tests.system.service import ROOT, until

__all__ = ["Shell", "own_network"]

_ALONE = Path(alone.__file__)
_TURN = Path("/tmp/pfiflow-docs.turn")  # one page at a time over all checkouts of this machine, where ports are shared
_PLAIN = " ".join(f'{name}="${name}"' for name in ("PATH", "HOME", "LANG", "COLUMNS", "NO_COLOR", "TERM"))
_DEADLINE = 100.0  # seconds for a command; below the timeout of a test


def own_network() -> bool:
    """Whether a page can have a network of its own here."""
    return subprocess.run([sys.executable, _ALONE, "true"], capture_output=True, check=False).returncode == 0


@define(eq=False)
class Shell:
    """Runs the blocks of one page. What it was told to run and what came of it is in `transcript`."""

    folder: Path
    transcript: list[str] = field(factory=list)
    _bash: subprocess.Popen[bytes] | None = None
    _answers: int = -1
    _count: int = 0
    _terminals: dict[str, tuple[int, Path]] = field(factory=dict)
    _before: dict[str, list[str]] = field(factory=dict)
    _turn: IO[bytes] | None = None

    def __enter__(self) -> Self:
        alone_or_not: list[str | Path] = [sys.executable, _ALONE]
        if not own_network():
            alone_or_not = []
            self._turn = _TURN.open("wb")
            fcntl.flock(self._turn, fcntl.LOCK_EX)
        for name in ("routes", "examples"):
            shutil.copytree(ROOT / name, self.folder / "work" / name, ignore=shutil.ignore_patterns("__pycache__"))
        self._answers, theirs = os.pipe()
        with (self.folder / "bash.log").open("wb") as log:
            self._bash = subprocess.Popen(
                [*alone_or_not, "bash", "--noprofile", "--norc"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.folder / "work",
                env=self._environment(),
                pass_fds=[theirs],
                start_new_session=True,
            )
        self._say(f"exec 9>&{theirs} {theirs}>&-")
        os.close(theirs)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            for name in list(self._terminals):
                self.interrupt(name)
        finally:
            for process, _ in self._terminals.values():
                _signal(process, signal.SIGKILL)
            assert self._bash is not None
            assert self._bash.stdin is not None
            _signal(self._bash.pid, signal.SIGKILL)  # and what it has left in the background
            self._bash.wait()
            self._bash.stdin.close()
            os.close(self._answers)
            if self._turn is not None:
                self._turn.close()

    def _environment(self) -> dict[str, str]:
        home = self.folder / "home"
        home.mkdir()
        return {
            "PATH": os.pathsep.join(
                [str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin"]
            ),
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "COLUMNS": "120",
            "NO_COLOR": "1",
            "TERM": "dumb",
        }

    # -- blocks ----------------------------------------------------------------------------------------------------

    def do(self, block: Block) -> None:
        """Carry a block out. Raises AssertionError with the transcript when it does not do what the page says."""
        if block.skip:
            return
        if block.kind == "file":
            path = self._here() / block.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.content)
        elif block.kind == "interrupt":
            self.interrupt(block.name)
        elif block.terminal:
            self._open(block)
        else:
            for number, command in enumerate(block.commands, 1):
                last = number == len(block.commands)
                self._run(command, block.status if last else 0, again=last and block.until)

    def _run(self, command: Command, status: int, *, again: bool = False) -> None:
        deadline = time.monotonic() + _DEADLINE
        while True:
            script, output = self._script(command.text)
            self._say(f". {script} >{output} 2>&1 </dev/null; echo $? >&9")
            got = self._answer(command.text, output)
            printed = output.read_text(errors="replace")
            if not again or matches(command.output or "", printed) or time.monotonic() > deadline:
                break
            time.sleep(0.3)
        self.transcript += [f"$ {command.text}", printed]
        assert got == str(status), self._told(f"exit status {got}, not {status}")
        if command.output is not None and not matches(command.output, printed):
            raise AssertionError(self._told(f"the page shows\n{command.output}"))

    def _open(self, block: Block) -> None:
        texts = [command.text for command in block.commands]
        script, output = self._script("\n".join([*self._before.get(block.terminal, []), *texts]))
        self._before.setdefault(block.terminal, []).extend(texts[:-1])  # what it has, as a terminal that stays open
        terminal = shlex.join([sys.executable, str(_ALONE), "--terminal", "bash", "--noprofile", "--norc", str(script)])
        self._say(f"env -i {_PLAIN} {terminal} >{output} 2>&1 </dev/null 9>&- & echo $! >&9")
        process = int(self._answer(terminal, output))
        self._terminals[block.terminal] = (process, output)
        expected = "\n".join(command.output or "" for command in block.commands).strip("\n")
        assert expected, f"line {block.line}: a terminal shows what to wait for"

        def printed() -> bool:
            return matches(expected, output.read_text(errors="replace"), begins=True)

        try:
            until(printed, timeout=_DEADLINE)
        except AssertionError:
            self.transcript += [f"({block.terminal}) $ {script.read_text()}", output.read_text(errors="replace")]
            raise AssertionError(self._told(f"the page shows\n{expected}")) from None

    def interrupt(self, name: str) -> None:
        """Ctrl-C in a terminal; wait until what runs there has ended."""
        process, output = self._terminals.pop(name)
        _signal(process, signal.SIGINT)
        try:
            until(lambda: not Path(f"/proc/{process}").exists() or _is_zombie(process), timeout=30)
        except AssertionError:
            _signal(process, signal.SIGKILL)
            raise AssertionError(f"{name} does not end after Ctrl-C: {output.read_text()[-2000:]}") from None
        assert "Traceback" not in output.read_text(errors="replace"), output.read_text()[-3000:]

    # -- bash ------------------------------------------------------------------------------------------------------

    def _script(self, text: str) -> tuple[Path, Path]:
        self._count += 1
        script, output = self.folder / f"{self._count:03}.sh", self.folder / f"{self._count:03}.txt"
        script.write_text(f"{text}\n")
        output.touch()
        return script, output

    def _say(self, line: str) -> None:
        assert self._bash is not None
        assert self._bash.stdin is not None
        self._bash.stdin.write(f"{line}\n".encode())
        self._bash.stdin.flush()

    def _answer(self, command: str, output: Path) -> str:
        deadline, said = time.monotonic() + _DEADLINE, b""
        while not said.endswith(b"\n"):
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            more = os.read(self._answers, 100) if ready else b""
            if not more:
                self.transcript += [f"$ {command}", output.read_text(errors="replace")]
                raise AssertionError(self._told(f"no end within {_DEADLINE:g} s" if not ready else "bash has ended"))
            said += more
        return said.decode().strip()

    def _here(self) -> Path:
        self._say("pwd >&9")
        return Path(self._answer("pwd", self.folder / "bash.log"))

    def _told(self, what: str) -> str:
        logs = "".join(f"\n({name})\n{output.read_text()[-3000:]}" for name, (_, output) in self._terminals.items())
        return f"{what}\n\n" + "\n".join(self.transcript)[-6000:] + logs


def _signal(process: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, number)


def _is_zombie(process: int) -> bool:
    with contextlib.suppress(OSError):
        return re.search(r"^State:\s+Z", Path(f"/proc/{process}/status").read_text(), re.MULTILINE) is not None
    return True
