"""Record what a pass intends, rehearses and refuses, and tell people: in the journal, and as events.

A ledger that fails keeps nobody from being told: the event of its failure comes once, until it works again.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Final

import structlog

from exporter.errors import LedgerError
from exporter.jobs import DriverValue

from .candidates import Candidate
from .ledger import Intent, Ledger, Mode, RecordedRefusal
from .outcomes import Concluded, OriginalRow, Outcome
from .refusals import Refusal
from .tallying import Came, HealStatus, new_refusals, new_rehearsals

log = structlog.get_logger()

NO_ROW: Final[Mapping[str, DriverValue]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """Who heals: `serve` or a person; `instance` is `hostname:pid`, `config_digest` stands for what is in force."""

    actor: str
    instance: str
    config_digest: str


class Recorder:
    """Writes one queue's part of the journal, in the name of whoever heals."""

    def __init__(self, who: Who, *, get_ledger: Callable[[], Ledger]) -> None:
        self._who = who
        self._get_ledger = get_ledger
        self._fault = ""

    def use(self, config_digest: str) -> None:
        """Record from now on that this configuration is in force."""
        self._who = replace(self._who, config_digest=config_digest)

    def intent(self, candidate: Candidate, row: OriginalRow, *, at: datetime) -> Intent:
        """Return what is about to be tried."""
        return self._intent(candidate, row.values, mode="reset", at=at, changing=row.changing)

    def tell(self, came: Came, before: HealStatus, *, at: datetime, fault: str) -> None:
        """Tell what is new since `before`, and keep it; `fault` is what ended the pass, if anything did."""
        rehearsals = new_rehearsals(before, came.plan)
        refusals = new_refusals(before, came.refusals)
        _tell_breaker(before, came)
        for concluded in came.concluded:
            _tell_concluded(concluded, came.candidates.get(concluded.key))
        for candidate in rehearsals:
            key, why = candidate.attempt.key, candidate.verdict.reason.value
            log.info("heal.rehearsed", queue=key.queue, job=key.job_id, host=key.host, pid=key.pid_text, why=why)
        for refused in refusals:
            about = {
                "queue": refused.key.queue,
                "job": refused.key.job_id,
                "reason": refused.reason.value,
                "detail": refused.detail,
            }
            log.info("heal.refused", **about)
        try:
            self._keep(came, rehearsals, at)
        except LedgerError as error:
            fault = str(error)
        if fault and fault != self._fault:
            log.error("heal.hindered", queue=before.queue, error=fault)
        self._fault = fault

    def _keep(self, came: Came, rehearsals: Iterable[Candidate], at: datetime) -> None:
        """Keep all refusals that stand, since the journal knows which of them it has."""
        refusals = [self._refusal(one, came.candidates[one.key], at) for one in came.refusals]
        intents = [self._intent(one, NO_ROW, mode="dry_run", at=at) for one in rehearsals]
        if refusals or intents:
            journal = self._get_ledger().journal
            journal.refuse(refusals)
            journal.rehearse(intents)

    def _intent(
        self,
        candidate: Candidate,
        row: Mapping[str, DriverValue],
        *,
        mode: Mode,
        at: datetime,
        changing: Mapping[str, DriverValue] = NO_ROW,
    ) -> Intent:
        first, last = candidate.first_verdict, candidate.verdict
        return Intent(
            claim=candidate.attempt.claim,
            natural_key=candidate.attempt.natural_key,
            kind=candidate.attempt.kind,
            row=row,
            proofs=(last,) if first is None or first == last else (first, last),
            first_dead_at=candidate.dead_at,
            actor=self._who.actor,
            instance=self._who.instance,
            mode=mode,
            config_digest=self._who.config_digest,
            at=at,
            changing=changing,
        )

    def _refusal(self, refused: Refusal, candidate: Candidate, at: datetime) -> RecordedRefusal:
        return RecordedRefusal(
            key=refused.key,
            natural_key=candidate.attempt.natural_key,
            kind=candidate.attempt.kind,
            reason=refused.reason.value,
            detail=refused.detail,
            actor=self._who.actor,
            instance=self._who.instance,
            at=at,
            evidence=candidate.verdict.evidence,
        )


def _tell_breaker(before: HealStatus, came: Came) -> None:
    breaker = came.breaker
    if breaker is None or breaker.is_open is before.is_breaker_open:
        return
    if not breaker.is_open:
        log.info("breaker.closed", queue=before.queue)
        return
    advice = "look whether those workers are really gone; then `queuemedic resume`"
    dead, hosts = breaker.dead_hosts, breaker.hosts
    log.error("breaker.opened", queue=before.queue, dead_hosts=dead, hosts=hosts, advice=advice)


def _tell_concluded(concluded: Concluded, candidate: Candidate | None) -> None:
    key, outcome = concluded.key, concluded.outcome.value
    about = {"queue": key.queue, "job": key.job_id, "host": key.host, "pid": key.pid_text}
    match concluded.outcome:
        case Outcome.RESET:
            about["why"] = candidate.verdict.reason.value if candidate else None
            log.info("job.reset", **about)
        case Outcome.FAILED | Outcome.UNKNOWN:
            log.error("heal.failed", queue=key.queue, job=key.job_id, outcome=outcome, error=concluded.detail)
        case _:
            log.info("heal.superseded", queue=key.queue, job=key.job_id, outcome=outcome)
