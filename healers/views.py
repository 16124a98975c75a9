"""Make what judging adds to the views of a queue, and the views of what is healed; pure."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime

from exporter.jobs import AttemptKey, DriverValue, JobId
from exporter.views import AttemptView, HealingView, HealView, HostView, QueueView

from .beliefs import QueueBeliefs
from .candidates import Candidate
from .ledger import RecordedRefusal, RecordedReset
from .machines import Doubt
from .metrics import HostStatus
from .outcomes import Concluded
from .plan import Plan
from .probes.protocol import NoAnswer
from .reasons import Liveness, Reason
from .refusals import Refusal
from .tallying import HealStatus
from .verdicts import Verdict


def show_verdicts(view: QueueView, held: QueueBeliefs | None) -> QueueView:
    """Return the view with what is held of each started job's worker."""
    if held is None:
        return view
    verdicts = {key.job_id: verdict for key, verdict in held.verdicts.items()}
    attempts = tuple(show_verdict(attempt, verdicts.get(JobId(attempt.job_id))) for attempt in view.attempts)
    stuck_alive = sum(one.stuck_reason is not None and one.verdict == Liveness.ALIVE for one in attempts)
    counts = count_verdicts(held) | {"stuck_alive": stuck_alive}
    return view.model_copy(update={"attempts": attempts, **counts})


def count_verdicts(held: QueueBeliefs) -> dict[str, int]:
    """Count the orphaned jobs of a queue, and those of which nobody can tell, by the names of a view's fields."""
    counted = Counter(verdict.value for verdict in held.verdicts.values() if verdict.reason is not Reason.NOT_ASKED)
    return {"orphaned": counted[Liveness.DEAD], "unjudged": counted[Liveness.UNKNOWN]}


def show_verdict(attempt: AttemptView, verdict: Verdict | None) -> AttemptView:
    """Return the view of a started job with what is held of its worker."""
    if verdict is None:
        return attempt
    return attempt.model_copy(
        update={
            "verdict": verdict.value.value,
            "verdict_reason": verdict.reason.value,
            "evidence": dict(verdict.evidence),
        }
    )


def show_healing(status: HealStatus) -> HealingView:
    """Show what healing does with one queue."""
    return HealingView(
        mode=status.mode,
        breaker_open=status.is_breaker_open,
        quarantined=status.quarantined,
        blocked={reason: number for reason, number in status.blocked.items() if number},
        passed_at=status.passed_at,
    )


DOUBTS = {
    Doubt.HIDDEN_PROCESSES: "its /proc hides other accounts' processes; let the account see them (hidepid=, gid=)",
    Doubt.WRONG_NAMESPACE: "the probe has a PID namespace of its own; write pid_namespace: own if the workers share it",
    Doubt.WRONG_HOST: "the machine has another name or machine-id; correct the name, add an alias, or the machine_id",
    Doubt.DUPLICATE_HOST_KEY: "it cannot be told from another host: same host key, machine-id or boot",
}


def show_host(status: HostStatus, silence: NoAnswer | None, doubt: Doubt | None) -> HostView:
    """Show one host as it answered last; an answer that proves nothing is none that can be used."""
    reason = silence.silence.value if silence else doubt.value if doubt else None
    return HostView(
        host=status.name,
        up=status.is_up and doubt is None,
        reason=reason,
        error=silence.detail if silence else DOUBTS[doubt] if doubt else None,
        load_average=status.load_average,
        processors=status.processors,
        answered_at=status.answered_at,
        worker_memory_bytes=status.worker_memory_bytes,
        worker_memory_limit_bytes=status.memory_limit_bytes,
    )


def show_pass(
    plan: Plan, concluded: tuple[Concluded, ...], candidates: Mapping[AttemptKey, Candidate], *, now: datetime
) -> Iterator[HealView]:
    """Show what a pass came to: each planned job with its outcome where there is one, then each refusal."""
    outcomes = {one.key: one for one in concluded}
    refused = {one.key for one in plan.refusals}
    for candidate in plan.resets:
        key = candidate.attempt.key
        if key in outcomes or key not in refused:
            done = outcomes.get(key)
            result = "planned" if done is None else done.outcome.value
            yield _show_candidate(candidate, now, result=result, detail="" if done is None else done.detail)
    for refusal in plan.refusals:
        if refusal.key not in outcomes:
            yield _show_candidate(candidates[refusal.key], now, result="refused", refusal=refusal)


def show_recorded(recorded: RecordedReset | RecordedRefusal) -> HealView:
    """Show an entry of the journal."""
    if isinstance(recorded, RecordedRefusal):
        key = recorded.key
        return HealView(
            queue=key.queue,
            job_id=key.job_id,
            kind=recorded.kind,
            host=key.host,
            pid_text=key.pid_text,
            result="refused",
            refusal=recorded.reason,
            detail=recorded.detail,
            verdict=None,
            verdict_reason=None,
            evidence=dict(recorded.evidence),
            age_seconds=None,
            first_dead_at=None,
            at=recorded.at,
            actor=recorded.actor,
            instance=recorded.instance,
            row=None,
        )
    intent, key = recorded.intent, recorded.intent.key
    proof = intent.proofs[-1]
    return HealView(
        queue=key.queue,
        job_id=key.job_id,
        kind=intent.kind,
        host=key.host,
        pid_text=key.pid_text,
        result=recorded.outcome.value if recorded.outcome else None,
        refusal=None,
        detail=recorded.detail,
        verdict=proof.value.value,
        verdict_reason=proof.reason.value,
        evidence=dict(proof.evidence),
        age_seconds=None,
        first_dead_at=intent.first_dead_at,
        at=recorded.concluded_at or intent.at,
        actor=intent.actor,
        instance=intent.instance,
        row={name: _plain(value) for name, value in intent.row.items()},
    )


def _plain(value: DriverValue) -> str | int | float | bool | None:
    """Return a value of a row as JSON can say it; instants and bytes as text."""
    if value is None or isinstance(value, str | int | float):
        return value
    return value.hex() if isinstance(value, bytes) else str(value)


def _show_candidate(
    candidate: Candidate, now: datetime, *, result: str, detail: str = "", refusal: Refusal | None = None
) -> HealView:
    attempt, verdict, age = candidate.attempt, candidate.verdict, candidate.age(now)
    return HealView(
        queue=attempt.key.queue,
        job_id=attempt.job_id,
        kind=attempt.kind,
        host=attempt.host,
        pid_text=attempt.pid_text,
        result=result,
        refusal=refusal.reason.value if refusal else None,
        detail=refusal.detail if refusal else detail,
        verdict=verdict.value.value,
        verdict_reason=verdict.reason.value,
        evidence=dict(verdict.evidence),
        age_seconds=age.total_seconds() if age is not None else None,
        first_dead_at=candidate.dead_at,
        at=None,
        actor=None,
        instance=None,
        row=None,
    )
