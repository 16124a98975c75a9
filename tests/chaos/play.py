"""Play a schedule on a ground of its own: the faults in turn, then calm, until all orphans are back or time is up."""

import heapq
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from exporter.jobs import QueueName
from healers.ledger import Ledger, RecordedReset
from tests.contracts.ledgers import address_of

from .faults import begin
from .ground import ARCHIVERS, CONFIRM_AFTER, EVERY, HEAL_AFTER, MATOMO, MELTANO, PER_JOB, PIPELINES, Ground
from .history import Change, read_history
from .referee import Evidence, Finding, QueueEvidence, Row, Rules, judge, resets
from .schedule import Fault
from .truth import Truth, join, read_truth

FEED_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 0.5
EARLIER_SECONDS: Final = 8.0
"""How much earlier pipelines end than archivers: what is left of them has to be silent for long."""
SLACK_SECONDS: Final = 40.0
"""For a busy machine, and for the rest that a healer takes where its account to write did not answer: 15 s, or 30."""
SILENT_SECONDS: Final = 30.0
"""How long a run of Meltano's has to be silent (healers/runs.py)."""
Due = tuple[float, int, Callable[[], object]]
PROMISED: Final = HEAL_AFTER + CONFIRM_AFTER + 2 * EVERY


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run came to. `calm_seconds`: how long after the last fault all was put back."""

    seed: int
    faults: tuple[Fault, ...]
    findings: tuple[Finding, ...]
    truth: Truth
    delays: tuple[float, ...]
    resets: Counter[str]
    refusals: Counter[str]
    scrapes: int
    slowest_scrape: float
    seconds: float
    calm_seconds: float

    @property
    def broken(self) -> tuple[Finding, ...]:
        """The promises that were broken."""
        return tuple(one for one in self.findings if one.broken)


def play(
    faults: Sequence[Fault],
    *,
    seed: int,
    seconds: float,
    broken: str | None = None,
    per_hour: int = 10_000,
    heirs_stay: bool = False,
    keeps: str = "sqlite",
    say: Callable[[str], object] = lambda _: None,
    keep: Path | None = None,
) -> Outcome:
    """Make these faults, and judge what came of them; `seconds` is how long workers work among them.

    What the workers and the watchdogs wrote is copied to `keep`.
    """
    began = time.monotonic()
    with Ground(seed, broken=broken, per_hour=per_hour, heirs_stay=heirs_stay, keeps=keeps) as ground:
        ground.start()
        say(f"ready after {time.monotonic() - began:.1f} s")
        clock_set = _make_all(faults, ground, seconds=seconds, say=say)
        calm = _calm_down(ground)
        say(f"calm for {calm:.1f} s")
        for dog in ground.dogs.values():
            (ground.folder / f"{dog.name}.page").write_text(dog.page())
        ends = _end(ground)
        if keep is not None:
            _keep(ground, keep)
        evidence, refusals = _gather(ground, clock_set=clock_set, ends=ends)
        made = list(resets(evidence))
        return Outcome(
            seed=seed,
            faults=tuple(faults),
            findings=judge(evidence),
            truth=evidence.truth,
            delays=tuple(sorted(one.change.at - one.life.over_at for one in made if one.life)),
            resets=Counter(one.queue for one in made),
            refusals=refusals,
            scrapes=sum(dog.scrapes.made for dog in ground.dogs.values()),
            slowest_scrape=max(dog.scrapes.slowest_seconds for dog in ground.dogs.values()),
            seconds=time.monotonic() - began,
            calm_seconds=calm,
        )


def _make_all(
    faults: Sequence[Fault], ground: Ground, *, seconds: float, say: Callable[[str], object]
) -> list[tuple[float, float]]:
    """Begin and end every fault at its time; return the spans in which a database's clock was off."""
    began = time.monotonic()
    due: list[Due] = []
    spans: list[tuple[float, float]] = []

    def make(fault: Fault, number: int) -> None:
        say(str(fault))
        at = time.time()
        end = begin(fault, ground)
        if fault.kind == "server's clock set":
            spans.append((at - 1, at + fault.lasts + 2))
        due.append((max(time.monotonic() - began, fault.at + fault.lasts), number, end))
        heapq.heapify(due)

    due += [(fault.at, number, partial(make, fault, number)) for number, fault in enumerate(faults)]
    due.append((max(0.0, seconds - EARLIER_SECONDS), len(faults), lambda: _drain(ground, PIPELINES)))
    heapq.heapify(due)
    fed = 0.0
    while due or time.monotonic() < began + seconds:
        now = time.monotonic() - began
        if due and due[0][0] <= now:
            heapq.heappop(due)[2]()
        elif now >= fed + FEED_SECONDS:
            fed = now
            _feed(ground)
        else:
            time.sleep(max(0.0, min(0.1, due[0][0] - now if due else 0.1)))
    return spans


def _feed(ground: Ground) -> None:
    if ground.mariadb.is_up:
        with suppress(Exception):  # it is being frozen or restarted; what was to be added is known
            ground.feed()


def _drain(ground: Ground, hosts: Sequence[str]) -> None:
    for host in hosts:
        ground.crews[host].drain()


def _calm_down(ground: Ground) -> float:
    """Let all workers end, and wait until nothing is left started that has to be put back."""
    _drain(ground, ARCHIVERS)
    for crew in ground.crews.values():
        crew.await_drained()
    for dog in ground.dogs.values():
        dog.await_up()
    began = time.monotonic()
    limits = {MATOMO: PROMISED + SLACK_SECONDS, MELTANO: PROMISED + SILENT_SECONDS + SLACK_SECONDS}
    while True:
        seconds = time.monotonic() - began
        left = [name for name, limit in limits.items() if seconds < limit and _started(ground, name)]
        if not left:
            return seconds
        time.sleep(LOOK_SECONDS)


def _started(ground: Ground, queue: str) -> list[str]:
    """Name the jobs that are started and not in quarantine."""
    changes, rows = _read(ground, queue)
    spent = Counter(one.name for one in changes if one.what == "reset" and one.account in ground.healers)
    if spent.total() >= ground.per_hour:
        return []
    return [row.name for row in rows if row.is_started and spent[row.name] < PER_JOB]


def _read(ground: Ground, queue: str) -> tuple[list[Change], list[Row]]:
    if queue == MATOMO:
        changes = read_history(ground.mariadb, ground.site.database)
        found = ground.mariadb.sql(
            "SELECT idinvalidation, name, status FROM matomo_archive_invalidations", database=ground.site.database
        )
        return changes, [Row(job=str(job), name=name, is_started=status == 1) for job, name, status in found]
    changes = read_history(ground.postgres, ground.runs)
    found = ground.postgres.sql("SELECT id, run_id::text, state FROM runs", database=ground.runs)
    return changes, [
        Row(job=str(job), name=name, is_started=state == "RUNNING", is_finished=state == "SUCCESS")
        for job, name, state in found
    ]


def _end(ground: Ground) -> list[str]:
    """End the watchdogs in good order, and say what of them was not."""
    wrong = []
    for dog in ground.dogs.values():
        wrong += dog.ended_by_itself
        try:
            code = dog.stop()
            if code != 0:
                wrong.append(f"{dog.name} ended with {code}")
        except Exception as error:  # noqa: BLE001  it is told
            wrong.append(f"{dog.name} did not end: {error!r}")
        if "Traceback" in dog.log:
            wrong.append(f"{dog.name}: {dog.log[dog.log.index('Traceback') :][:2000]}")
    wrong += [f"the crew of {crew.name} has ended" for crew in ground.crews.values() if not crew.is_whole()]
    return wrong


def _keep(ground: Ground, folder: Path) -> None:
    """Copy what was written to files."""
    folder.mkdir(parents=True, exist_ok=True)
    for dog in ground.dogs.values():
        shutil.copy(dog.log_file, folder / f"{dog.name}.log")
        shutil.copy(ground.folder / f"{dog.name}.page", folder)
    for crew in ground.crews.values():
        shutil.copy(crew.log, folder / f"{crew.name}.log")
    for file in ground.disk.glob("ledger.db*"):
        shutil.copy(file, folder)


def _gather(
    ground: Ground, *, clock_set: Sequence[tuple[float, float]], ends: Sequence[str]
) -> tuple[Evidence, Counter[str]]:
    truth = join(read_truth(crew.log.read_text().splitlines()) for crew in ground.crews.values())
    queues, refusals = {}, Counter[str]()
    with closing(Ledger.open(address_of(ground.ledger))) as ledger:
        for name in (MATOMO, MELTANO):
            changes, rows = _read(ground, name)
            history = list(ledger.journal.history(queue=QueueName(name)))
            refusals.update(one.reason for one in history if not isinstance(one, RecordedReset))
            queues[name] = QueueEvidence(
                changes=changes,
                rows=rows,
                recorded=[one for one in history if isinstance(one, RecordedReset)],
                open_intents=len(ledger.journal.open_intents(QueueName(name))),
                added=frozenset(ground.fed_for_sure) if name == MATOMO else frozenset(),
            )
        chain_fault = ledger.journal.verify()
    evidence = Evidence(
        truth=truth,
        queues=queues,
        healers=frozenset(str(name) for name in ground.healers),
        rules=Rules(heal_after=HEAL_AFTER, confirm_after=CONFIRM_AFTER, per_job=PER_JOB, per_hour=ground.per_hour),
        offsets={pid: frozenset(dog.offsets) for dog in ground.dogs.values() for pid in dog.pids},
        clock_set=clock_set,
        chain_fault=chain_fault,
        scrapes_failed=[fault for dog in ground.dogs.values() for fault in dog.scrapes.failed],
        watchdogs_failed=ends,
    )
    return evidence, refusals
