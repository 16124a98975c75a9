"""How long `--help` takes, and how soon after its start an exporter has a whole page, as whole processes."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.lab.programs import NotInstalled
from tests.lab.waiting import wait_until

from .ground import seeded
from .lines import Budget, Table
from .part import Scale
from .peers import query_exporter as nearest
from .peers.exporter import Exporter
from .peers.figures import PLAIN
from .program import NAME, PROGRAM, matomo_queue, queuemedic
from .rounds import Figures, interleave, timed

INTERPRETER = "python -c pass"
ROWS = 10_000
PROMISES = {(NAME, ""): Budget(limit="≤ 0.3", promise="`queuemedic --help`: seconds")}


def measure(scale: Scale) -> Table:
    """Measure both."""
    table = Table()
    helps = {NAME: _help(PROGRAM, "--help"), INTERPRETER: _help(Path(sys.executable), "-c", "pass")}
    notes = {}
    try:
        scale.want_peers()
        helps[nearest.NAME] = _help(nearest.program(), "--help")
    except NotInstalled as missing:
        notes[nearest.NAME] = f"not measured: {missing}"
    for figure, measured in interleave(helps, 2 * scale.rounds).items():
        table.add("--help", figure, measured, against=(INTERPRETER,), budgets=scale.budgets(PROMISES))
    with seeded(min(ROWS, scale.rows)) as ground:
        url = ground.account()
        pages: dict[str, Callable[[], Figures]] = {
            NAME: lambda: _page(queuemedic({"bench": matomo_queue(url)}), "queuemedic_jobs{")
        }
        if nearest.NAME in helps:
            pages[nearest.NAME] = lambda: _page(
                nearest.query_exporter(url, PLAIN, every_seconds=15), "oldest_waiting_age_seconds{"
            )
        for figure, measured in interleave(pages, scale.rounds).items():
            table.add("from the start", figure, measured, against=(nearest.NAME,))
    for subject, note in notes.items():
        table.say("from the start", subject, note)
    return table


def _help(program: Path, *arguments: str) -> Callable[[], Figures]:
    command = [str(program), *arguments]
    return lambda: {"s": timed(lambda: subprocess.run(command, check=True, capture_output=True))}


def _page(exporter: Exporter, last: str) -> Figures:
    def start() -> None:
        exporter.start()
        wait_until(lambda: last in exporter.scrape(), within=60, what="the figures of the queue are there")

    try:
        whole = timed(start)
        return {"s to the first answer": exporter.started_seconds, "s to the queue's figures": whole}
    finally:
        exporter.close()
