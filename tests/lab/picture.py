"""Draw docs/images/check.svg: what `check` and `heal` show of a queue whose worker was killed, on a real terminal.

`python -m tests.lab.picture` makes a queue on SQLite, lets `serve` see two workers alive, kills one, runs the commands
in a terminal of 80 columns and writes what they drew. As root it gives this machine the name `web02` meanwhile, in a
UTS namespace of its own. Nothing in the picture is written by hand; process ids differ from run to run.
"""

import io
import os
import re
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from . import queuemedic, run
from .terminal import Terminal

PICTURE: Final = Path(__file__).parents[2] / "docs" / "images" / "check.svg"
COMMANDS: Final = (("check",), ("heal",))
COLUMNS: Final = 80
FONT_FACE: Final = re.compile(r"@font-face \{\{.*?\}\}\n", re.DOTALL)
FONTS: Final = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
DARK, GREY, RED, GREEN, YELLOW = (22, 27, 34), (201, 209, 217), (255, 123, 114), (63, 185, 80), (210, 153, 34)
THEME: Final = TerminalTheme(DARK, GREY, [DARK, RED, GREEN, YELLOW, GREY, GREY, GREY, GREY])
ERASED: Final = "\x1b[2K"
UP: Final = "\x1b[1A"
CURSOR: Final = re.compile(r"\x1b\[\?25[lh]|\r")
SCHEMA: Final = "CREATE TABLE jobs (id INTEGER PRIMARY KEY, kind TEXT, made TEXT, begun TEXT, host TEXT, pid TEXT)"
WAITING: Final = (("mail", 274, "-2 hours", "-10 minutes"), ("report", 30, "-26 hours", "-5 minutes"))
STARTED: Final = "INSERT INTO jobs (kind, made, begun, host, pid) VALUES (?, '2026-01-01', datetime('now', ?), ?, ?)"


def main() -> int:
    """Write the picture; the exit code."""
    if os.geteuid() == 0 and socket.gethostname() != "web02":
        again = 'hostname web02 && exec "$0" -m tests.lab.picture'
        os.execvp("unshare", ["unshare", "--uts", "sh", "-c", again, sys.executable])  # noqa: S606
    path = run.begin()
    try:
        PICTURE.write_text(draw(take()), "utf-8")
    finally:
        run.kill_left(path)
        run.end(path)
    return 0


def take() -> str:
    """Return what the commands draw, one after the other, each behind its own command line."""
    with tempfile.TemporaryDirectory() as name, working() as alive, working() as killed:
        folder, host = Path(name), socket.gethostname()
        config = prepare(folder, host)
        with closing(sqlite3.connect(folder / "jobs.db")) as jobs, jobs:
            rows = [("mail", "-1 second", host, alive.pid), ("report", "-1 second", host, killed.pid)]
            jobs.executemany(STARTED, [*rows, ("report", "-192 minutes", "web09", 4711)])
        with queuemedic.serving(config, folder) as served:
            labels = {"queue": "mails", "host": host, "verdict": "alive", "reason": "running"}
            served.scrape_until("worker_verdicts", 2, within=60, **labels)
            killed.kill()
            killed.wait()
            served.scrape_until("heals_total", 1, queue="mails", outcome="dry_run", within=60)
            served.stop()
        return "\n".join(f"$ queuemedic {' '.join(words)}\n{_show(config, *words)}" for words in COMMANDS)


def prepare(folder: Path, host: str) -> Path:
    """Make the table, with what waits, and the configuration."""
    with closing(sqlite3.connect(folder / "jobs.db")) as jobs, jobs:
        jobs.execute("PRAGMA journal_mode = WAL")
        jobs.execute(SCHEMA)
        for kind, number, oldest, others in WAITING:
            made = [(kind, oldest)] + [(kind, others)] * (number - 1)
            jobs.executemany("INSERT INTO jobs (kind, made) VALUES (?, datetime('now', ?))", made)
    columns = {"id": "id", "kind": "kind", "enqueued_at": "made", "started_at": "begun", "host": "host", "pid": "pid"}
    queue = {
        "system": "table",
        "url": f"sqlite:///{folder}/jobs.db",
        "from": "jobs",
        "columns": columns,
        "waiting_when": "begun IS NULL",
        "started_when": "begun IS NOT NULL",
        "poll_every": "1s",
        "worker": {"command": ["mail-worker"]},
        "healing": {
            "mode": "dry_run",
            "heal_after": "1s",
            "confirm_after": "1s",
            "reset": {"begun": None, "host": None, "pid": None},
        },
    }
    hosts = {host: {"via": "local", "pid_namespace": "own", "ask_every": "1s"}}
    return queuemedic.write_config(folder, {"mails": queue}, hosts=hosts, ledger=f"sqlite:///{folder}/ledger.db")


@contextmanager
def working() -> Iterator["subprocess.Popen[bytes]"]:
    """Have a process that looks like a worker, and waits."""
    with subprocess.Popen(["sh", "-c", "read -r end", "mail-worker"], stdin=subprocess.PIPE) as worker:
        try:
            yield worker
        finally:
            worker.kill()


def _show(config: Path, *words: str) -> str:
    with Terminal([queuemedic.QUEUEMEDIC, "--config", config, *words], columns=COLUMNS) as terminal:
        _, drawn = terminal.read_all()
    kept: list[str] = []
    for line in drawn.replace("\r\n", "\n").split("\n"):
        if UP in line:
            kept.pop()
        kept.append(line.rpartition(ERASED)[2])
    return CURSOR.sub("", "\n".join(kept)).strip("\n") + "\n"


def draw(shown: str) -> str:
    """Draw it in fonts that the reader has: nothing is loaded from elsewhere."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(shown))
    form = FONT_FACE.sub("", CONSOLE_SVG_FORMAT).replace("Fira Code, monospace", FONTS)
    return console.export_svg(title="queuemedic", theme=THEME, code_format=form, unique_id="check")


if __name__ == "__main__":
    sys.exit(main())
