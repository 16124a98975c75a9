"""A terminal of the test's own: a real pty, of a given width, in which a command believes that a person looks.

`with Terminal(argv, columns=80) as terminal:` starts the command; `read_until` and `type` talk with it, and `read_all`
waits for its end. What was drawn is kept as it came, with its escape sequences.
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[()][A-Za-z0-9]|[=>])")
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-7]|9[0-7]|4[0-7])(?:;\d+)*m")
LINES = 40


class Terminal:
    """One command in a terminal. `environment` is added to this process's own, None takes a variable out."""

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        columns: int = 80,
        term: str = "xterm-256color",
        folder: Path | None = None,
        environment: Mapping[str, str | None] | None = None,
    ) -> None:
        self._drawn = ""
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
        changes = {"TERM": term, "COLUMNS": None, "NO_COLOR": None, "FORCE_COLOR": None, **(environment or {})}
        variables = {**os.environ, **{name: value for name, value in changes.items() if value is not None}}
        for name in [name for name, value in changes.items() if value is None]:
            variables.pop(name, None)
        self._child = subprocess.Popen(
            argv, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=variables, start_new_session=True
        )
        os.close(theirs)

    @property
    def drawn(self) -> str:
        """All that was written to the terminal so far."""
        return self._drawn

    def read_until(self, text: str, *, within: float = 60.0) -> str:
        """Wait until this was written."""
        ends = time.monotonic() + within
        while text not in self._drawn:
            assert time.monotonic() < ends, f"{text!r} did not come:\n{self._drawn}"
            assert self._read(ends - time.monotonic()), f"it ended without {text!r}:\n{self._drawn}"
        return self._drawn

    def read_all(self, *, within: float = 60.0) -> tuple[int, str]:
        """Wait for its end; the exit code, and all that was written."""
        ends = time.monotonic() + within
        while self._read(max(0.0, ends - time.monotonic())):
            assert time.monotonic() < ends, f"it did not end:\n{self._drawn}"
        return self._child.wait(10), self._drawn

    def type(self, text: str) -> None:
        """Type, as a person does."""
        os.write(self._ours, text.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.killpg(self._child.pid, signal.SIGINT)

    def close(self) -> None:
        """End what still runs."""
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait(10)
        os.close(self._ours)

    def _read(self, within: float) -> bool:
        """Take what comes next; False at the end."""
        if not select.select([self._ours], [], [], max(0.0, within))[0]:
            return True
        with suppress(OSError):  # EIO is how a pty says that nobody holds its other side
            if data := os.read(self._ours, 65536):
                self._drawn += data.decode(errors="replace")
                return True
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def plain(text: str) -> str:
    """Return what was drawn without its escape sequences."""
    return ESCAPE.sub("", text).replace("\r\n", "\n")
