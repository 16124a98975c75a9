"""Write a request as the lines that `probe.sh` reads; pure but for the nonce.

Only what the whitelist holds is ever sent, and nothing of it is code on the other side: words are compared, never run.
"""

import re
import secrets
from collections.abc import Iterable, Iterator
from typing import Final

from .protocol import Request

MOST_BYTES: Final = 60_000
HIGHEST_PID: Final = 4_194_304
WORD: Final = re.compile(r"[A-Za-z0-9_./:=@%+,-]{1,400}", re.ASCII)
RUN: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


def make_nonce() -> str:
    """Return 32 hexadecimal digits that no earlier answer can hold."""
    return secrets.token_hex(16)


def write_request(request: Request, nonce: str) -> bytes:
    """Return what goes on the standard input of `probe.sh`; raises ValueError for what cannot be asked."""
    lines = [f"v1 {nonce}", *_lines(request), "end"]
    written = "".join(f"{line}\n" for line in lines).encode("ascii")
    if len(written) > MOST_BYTES:
        raise ValueError(f"{len(request.pids)} processes are too many for one request; it may have {MOST_BYTES} bytes")
    return written


def _lines(request: Request) -> Iterator[str]:
    parts = {
        "pids": [_pid(pid, ticks) for pid, ticks in sorted(request.pids.items())],
        "workers": _words(request.worker_marks),
        "children": _words(request.child_marks),
        "runs": sorted(request.runs),
        "folders": [folder.rstrip("/") for folder in _words(request.folders)],
    }
    for run in parts["runs"]:
        if not RUN.fullmatch(run):
            raise ValueError(f"{run!r} is no id of a run; it is a UUID with dashes")
    for folder in parts["folders"]:
        if not folder.startswith("/"):
            raise ValueError(f"{folder!r} is no folder that a host can be asked about; write a path from the root")
    for name, words in parts.items():
        if words:
            yield f"{name} {' '.join(words)}"


def _pid(pid: int, ticks: Iterable[int]) -> str:
    known = sorted(ticks)
    if not 0 < pid <= HIGHEST_PID or any(tick < 0 for tick in known):
        raise ValueError(f"{pid} is no process id; it is a number from 1 to {HIGHEST_PID}")
    return f"{pid}:{','.join(map(str, known)) or '-'}"


def _words(words: Iterable[str]) -> list[str]:
    for word in words:
        if not WORD.fullmatch(word):
            raise ValueError(f"{word!r} cannot be sent to a host; only letters, digits and _ . / : = @ % + , - can")
    return sorted(words)
