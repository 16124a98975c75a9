"""What one poll costs the database, beside the bare aggregate in the `mariadb` client and the peers' four queries.

All look at the same table on the same server, each by an account of its own; the figures are the server's for that
account. Peers publish four figures, a poll of Queuemedic these and all others of its page but the breakdown, which has
a pace of its own and is measured for itself.
"""

import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import timedelta

from sqlalchemy import make_url

from exporter.jobs import Cursor, QueueName
from exporter.queues.matomo import MatomoOptions, MatomoQueue
from tests.lab.programs import NotInstalled, program
from tests.lab.waiting import wait_until

from .ground import BARE, INDEX, Ground, seeded
from .lines import Budget, Table
from .part import Scale
from .peers import justwatch as debian
from .peers import query_exporter as nearest
from .peers.figures import PLAIN, TUNED
from .rounds import Figures, interleave

POLL, BREAKDOWN, BARELY = "Queuemedic", "Queuemedic with breakdown", "bare GROUP BY status, period"
NEAREST, TUNED_NEAREST = "query-exporter, four queries", "query-exporter, four tuned queries"
DEBIAN = "prometheus-sql-exporter, four queries"
FULL = 1_000_000
JUDGED = {"database ms": "database time", "processor ms": "the database's processor time"}


def promises(what: str) -> dict[tuple[str, str], Budget]:
    """Return the budgets of one figure."""
    return {
        (POLL, BARELY): Budget(limit="≤ 1.5", promise=f"a poll of 1,000,000 rows, to the bare aggregate: {what}"),
        (POLL, NEAREST): Budget(limit="≤ 0.5", promise=f"a poll of 1,000,000 rows, to query-exporter's: {what}"),
    }


def measure(scale: Scale) -> Table:
    """Measure on the table as Matomo makes it, and with the index that the documentation names."""
    table = Table()
    with seeded(scale.rows) as ground:
        for case, statement in (("as Matomo makes it", None), ("with the documented index", INDEX)):
            if statement:
                ground.change(statement)
            name = f"{scale.rows:,} rows, {case}"
            with ExitStack() as stack:
                subjects, notes = _subjects(ground, stack, scale)
                measured = interleave(subjects, scale.rounds)
            for figure, by_subject in measured.items():
                is_judged = figure in JUDGED and statement is None and scale.rows == FULL
                budgets = scale.budgets(promises(JUDGED[figure])) if is_judged else None
                table.add(name, figure, by_subject, against=(BARELY, NEAREST), budgets=budgets)
            for subject, note in notes.items():
                table.say(name, subject, note)
    return table


def _subjects(
    ground: Ground, stack: ExitStack, scale: Scale
) -> tuple[dict[str, Callable[[], Figures]], Mapping[str, str]]:
    subjects = {
        POLL: _poll(ground, stack, breakdown_every=timedelta(days=1)),
        BARELY: _bare(ground),
        BREAKDOWN: _poll(ground, stack, breakdown_every=timedelta(microseconds=1)),
    }
    notes = {"sql_exporter": "not measured: the Go module proxy refuses github.com/burningalchemist/sql_exporter"}
    for name, figures in ((NEAREST, PLAIN), (TUNED_NEAREST, TUNED)):
        try:
            scale.want_peers()
            url = ground.account()
            exporter = stack.enter_context(nearest.query_exporter(url, figures))
        except NotInstalled as missing:
            notes[name] = f"not measured: {missing}"
            continue
        subjects[name] = lambda url=url, exporter=exporter: ground.cost_of(exporter.scrape, url)  # type: ignore[misc]
    try:
        scale.want_peers()
        debian.program()
        subjects[DEBIAN] = _debian(ground)
    except NotInstalled as missing:
        notes[DEBIAN] = f"not measured: {missing}"
    return subjects, notes


def _poll(ground: Ground, stack: ExitStack, *, breakdown_every: timedelta) -> Callable[[], Figures]:
    url = ground.account()
    queue = MatomoQueue(
        QueueName("bench"), MatomoOptions.model_validate({"url": url, "breakdown_every": breakdown_every})
    )
    stack.callback(queue.close)
    cursors: list[Cursor | None] = [None]

    def poll() -> None:
        cursors[0] = queue.read(cursors[0]).cursor

    return lambda: ground.cost_of(poll, url)


def _bare(ground: Ground) -> Callable[[], Figures]:
    url = ground.account()
    parts = make_url(url)
    client = [
        program("mariadb", package="mariadb-client"),
        "--no-defaults",
        "--protocol=TCP",
        f"--host={parts.host}",
        f"--port={parts.port}",
        f"--user={parts.username}",
        f"--password={parts.password}",
        f"--execute={BARE}",
        str(parts.database),
    ]
    return lambda: ground.cost_of(lambda: subprocess.run(client, check=True, capture_output=True), url)


def _debian(ground: Ground) -> Callable[[], Figures]:
    """Start it anew for each round, since it asks by a clock of its own, the first time at its start."""
    url = ground.account()

    def ask() -> None:
        with debian.justwatch(url, PLAIN, every_seconds=3600) as exporter:
            wait_until(lambda: _is_whole(exporter.scrape()), within=60, what="all four figures are there")

    return lambda: ground.cost_of(ask, url)


def _is_whole(page: str) -> bool:
    return all(f"{figure.name}{{" in page for figure in PLAIN)
