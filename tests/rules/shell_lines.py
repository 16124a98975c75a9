"""Read the shell lines of the runbooks, and run one as a person would type it."""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tests.lab.queuemedic import Ended

from .shipped import RUNBOOKS

BLOCK: Final = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
AS_SOMEBODY: Final = re.compile(r"^sudo (?:-u [a-z-]+ )?")
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellLine:
    """A line, and the first runbook that has it."""

    page: str
    text: str

    @property
    def program(self) -> str:
        """The first word, but for `sudo`, which is somebody's leave and not installed everywhere."""
        return self.typed.split()[0]

    @property
    def typed(self) -> str:
        """The line without `sudo` and its account."""
        return AS_SOMEBODY.sub("", self.text)


def read_lines() -> Iterator[ShellLine]:
    """Yield every line once."""
    seen = set()
    for page in sorted(RUNBOOKS.glob("*.md")):
        for line in "".join(BLOCK.findall(page.read_text())).splitlines():
            if line not in seen:
                seen.add(line)
                yield ShellLine(page=page.stem, text=line)


def type_in(line: str, *, folder: Path, path: Path | None = None, environment: Mapping[str, str] = NOTHING) -> Ended:
    """Run a line in a shell that finds programs in `path` first; whoever asks is told yes."""
    search = os.pathsep.join([*([str(path)] if path else []), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", line],
        input="y\n",
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PATH": search, **environment},
        timeout=60,
        check=False,
    )
    return Ended(code=done.returncode, out=done.stdout, err=done.stderr)
