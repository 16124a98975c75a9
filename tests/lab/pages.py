"""Documents as a reader follows them: their blocks in order, and a walk that does what each of them says.

A walk takes a page from top to bottom in one folder and one environment: shell blocks run in bash, one after the other,
SQL goes to whoever is given as administrator, and YAML into the file that the sentence before it names. What the page
calls by an example's name (`db01`, `/etc/queuemedic`) is replaced, as a reader would; nothing else is.
"""

import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from .waiting import wait_until

ROOT: Final = Path(__file__).parents[2]
FENCE: Final = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
FILE_NAME: Final = re.compile(r"`([\w./-]+\.yml)`")
SHELL: Final = frozenset({"sh", "bash", "shell", "console"})
ENDLESS: Final = re.compile(r"queuemedic(?: --config \S+)? (?:serve|demo)\b[^|&;]*$")
END_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block: its language, its text, the text of the page before it, and the line it begins on."""

    language: str
    text: str
    before: str
    line: int

    @property
    def is_shell(self) -> bool:
        """Whether a shell runs it."""
        return self.language in SHELL

    @property
    def commands(self) -> list[str]:
        """The commands of a shell block: lines, joined where they go on, without comments and empty ones."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def read_blocks(page: Path) -> Iterator[Block]:
    """Yield every fenced block of a page."""
    text, end = page.read_text("utf-8"), 0
    for found in FENCE.finditer(text):
        indent, language, inside = found.groups()
        lines = (line.removeprefix(indent) for line in inside.splitlines(keepends=True))
        number = text.count("\n", 0, found.start()) + 1
        yield Block(language=language, text="".join(lines), before=text[end : found.start()], line=number)
        end = found.end()


class Walk:
    """A walk through one page.

    `replace` is what the page calls by an example's name, and `add` what goes into a file beside what the page says, by
    the file's name. `codes` are the exit codes that a command may end with. Afterwards `output` has what each command
    printed, and `took` the seconds of each.
    """

    def __init__(
        self,
        folder: Path,
        *,
        replace: Mapping[str, str],
        path: str,
        run_sql: Callable[[str], object] = lambda _: None,
        add: Mapping[str, str] = MappingProxyType({}),
        is_skipped: Callable[[str], bool] = lambda _: False,
        codes: frozenset[int] = frozenset({0, 1}),
    ) -> None:
        self._folder = folder
        self._replace = replace
        self._run_sql = run_sql
        self._add = add
        self._is_skipped = is_skipped
        self._codes = codes
        self._environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"}
        self._here = folder
        self._served: list[subprocess.Popen[bytes]] = []
        self.output: dict[str, str] = {}
        self.took: dict[str, float] = {}

    def follow(self, page: Path) -> None:
        """Do what the page says, from top to bottom."""
        for block in read_blocks(page):
            if block.is_shell:
                for command in block.commands:
                    self._run(command)
            elif block.language == "sql":
                self._run_sql(self._filled(block.text))
            elif block.language == "yaml" and (names := FILE_NAME.findall(block.before)):
                file = self._here / self._filled(names[-1])
                before = file.read_text() if file.exists() else self._add.get(file.name, "")
                file.write_text(before + self._filled(block.text))

    def close(self) -> None:
        """End what the page has left running."""
        for process in self._served:
            process.terminate()
            process.wait(END_SECONDS)

    def _filled(self, text: str) -> str:
        for name, value in self._replace.items():
            text = text.replace(name, value)
        return text

    def _run(self, command: str) -> None:
        if self._is_skipped(command):
            return
        filled, began = self._filled(command), time.monotonic()
        if ENDLESS.search(filled):
            self._serve(filled)
        else:
            self._run_in_bash(command, filled)
        self.took[command] = time.monotonic() - began

    def _run_in_bash(self, command: str, filled: str) -> None:
        """Run a command, and take over where it has gone to and what it has exported."""
        state = self._folder / "state"
        script = f"set -o pipefail\n{filled}\ncode=$?\n{{ pwd; env -0; }} > {shlex.quote(str(state))}\nexit $code\n"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self._here,
            env=self._environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=END_SECONDS,
        )
        assert done.returncode in self._codes, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        here, _, variables = state.read_text().partition("\n")
        self._here = Path(here)
        self._environment = dict(one.split("=", 1) for one in variables.split("\0") if "=" in one)
        self.output[command] = done.stdout

    def _serve(self, filled: str) -> None:
        log = self._folder / "serve.log"
        with log.open("wb") as output:
            argv = ["bash", "-c", f"exec {filled}"]
            process = subprocess.Popen(
                argv, cwd=self._here, env=self._environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self._served.append(process)
        wait_until(lambda: "queue.reached" in log.read_text(), within=END_SECONDS, what="it serves what it has read")


@contextmanager
def walking(folder: Path, **options: Any) -> Iterator[Walk]:
    """Walk, and end what is left running."""
    walk = Walk(folder, **options)
    try:
        yield walk
    finally:
        walk.close()
