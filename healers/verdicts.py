"""Judge attempts by what their host said; pure. The first line of the table that matches wins (docs/decisions/0011).

In: what was heard of one round, and what is remembered. Out: a verdict on each attempt that the round asked about, and
what was learned. Dead takes a whole answer of the right machine that could see everything, or a person's word.
What this round teaches counts from the next one on, so that no verdict hangs on the order of the rows. Raises nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from exporter.jobs import AttemptKey, DetailValue

from .machines import Doubt, boot_of, boots_under, find_doubt, follow_boots
from .probes.protocol import HostAnswer, NoAnswer, ProcessAnswer, Silence
from .reasons import Liveness, Reason
from .rounds import Asked, Heard, Host
from .rules import Case, Question, find_child, is_web_worker, is_worker, rule_on_case, rule_on_question
from .sightings import AttemptSighting, Boot, Enrolment, Learned, Retired, Sightings, name_boot

__all__ = ["Judgement", "Liveness", "Reason", "Verdict", "judge", "not_asked"]

# An age is taken from two times with a resolution of a second, so it may read a second too long; and a worker may take
# a job within a second of its birth. Younger than the attempt by more than this, it cannot have begun it.
ENROLMENT_MARGIN: Final = timedelta(seconds=2)
BOOTS_REMEMBERED: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is held of one attempt's worker, why, and what it rests on; `evidence` is for people and for the journal."""

    key: AttemptKey
    value: Liveness
    reason: Reason
    seen_at: datetime
    evidence: Mapping[str, DetailValue] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a round comes to: a verdict on each attempt that names its host, and what is to be remembered."""

    verdicts: tuple[Verdict, ...]
    learned: Learned


def judge(heard: Heard, sightings: Sightings, *, duplicates: frozenset[str] = frozenset()) -> Judgement:
    """Judge every attempt of a round that names its host; runs, which name none, are for `healers.runs`.

    `duplicates` are the hosts that cannot be told from another (`rounds.find_duplicates`). Attempts that are newer than
    the round get no verdict: see `not_asked`.
    """
    host, answer = heard.round.host, heard.answer
    doubt = doubt_of(heard, duplicates)
    if host is None or isinstance(answer, NoAnswer) or doubt is not None:
        silent = (
            _judge_question(asked, heard, sightings, sighting=sightings.attempts.get(key), doubt=doubt)
            for key, asked in heard.round.attempts.items()
        )
        return Judgement(
            verdicts=tuple(verdict for verdict in silent if verdict is not None),
            learned=Learned(returned=_returned(heard, sightings)),
        )
    boots = follow_boots(boots_under(host, sightings.boots), heard, answer)
    verdicts: list[Verdict] = []
    changed: dict[AttemptKey, AttemptSighting] = {}
    said = describe(answer)
    for key, asked in heard.round.attempts.items():
        before = sightings.attempts.get(key)
        known = _remember(before, heard.at, answer)
        verdict = _judge_question(asked, heard, sightings, sighting=before, doubt=None)
        if verdict is None:
            case = _make_case(asked, heard, answer, known, boots=boots, is_proven=_is_proven(key, heard, sightings))
            verdict = _judge_case(case, key, said)
            known = _enrol(case, asked, heard, known, verdict=verdict)
        verdicts.append(verdict)
        if known != before:
            changed[key] = known
    learned = _learn(changed, boots={host.name: boots}, returned=_returned(heard, sightings))
    return Judgement(verdicts=tuple(verdicts), learned=learned)


def not_asked(key: AttemptKey, *, at: datetime) -> Verdict:
    """Return the verdict on an attempt that is newer than the last round of its host."""
    return Verdict(key=key, value=Liveness.UNKNOWN, reason=Reason.NOT_ASKED, seen_at=at)


def doubt_of(heard: Heard, duplicates: frozenset[str]) -> Silence | Doubt | None:
    """Return why a host gave no usable answer, or None where it did."""
    host, answer = heard.round.host, heard.answer
    if isinstance(answer, NoAnswer):
        return answer.silence
    if host is None:
        return Silence.NOT_CONFIGURED
    return find_doubt(answer, host, is_duplicate=host.name in duplicates)


def describe(answer: HostAnswer | NoAnswer) -> dict[str, DetailValue]:
    """Return what a verdict rests on of an answer as a whole, for people and for the journal."""
    if isinstance(answer, NoAnswer):
        return {"silence": str(answer.silence), "detail": answer.detail}
    return {
        "hostname": answer.hostname,
        "machine_id": answer.machine_id,
        "boot_id": answer.boot_id,
        "uptime_seconds": int(answer.uptime.total_seconds()),
        "pid_namespace": answer.pid_namespace,
        "user": answer.user,
        "host_key": answer.host_key,
    }


def _judge_question(
    asked: Asked,
    heard: Heard,
    sightings: Sightings,
    *,
    sighting: AttemptSighting | None,
    doubt: Silence | Doubt | None,
) -> Verdict | None:
    """Judge by the lines that need no usable answer."""
    key = asked.attempt.key
    retired = _retired(asked, heard.round.host, sightings)
    ruling = rule_on_question(Question(attempt=asked.attempt, sighting=sighting, doubt=doubt, retired=retired))
    if ruling is None:
        return None
    value, reason = ruling
    evidence = describe(heard.answer)
    if retired is not None and reason is Reason.HOST_RETIRED:
        evidence |= {"retired_at": retired.at.isoformat(), "why": retired.why, "actor": retired.actor}
    return Verdict(key=key, value=value, reason=reason, seen_at=heard.at, evidence=MappingProxyType(evidence))


def _retired(asked: Asked, host: Host | None, sightings: Sightings) -> Retired | None:
    """Return how the attempt's host was retired, unless it has answered since."""
    names = [name for name in (asked.attempt.host, host.name if host else None) if name is not None]
    retired = next((sightings.retired[name] for name in names if name in sightings.retired), None)
    boots = sightings.boots.get(host.name, ()) if host else ()
    has_answered = retired is not None and any(boot.last_at > retired.at for boot in boots)
    return None if has_answered else retired


def _returned(heard: Heard, sightings: Sightings) -> frozenset[str]:
    """Name the retired hosts that answered, whatever they said."""
    host = heard.round.host
    if host is None or isinstance(heard.answer, NoAnswer):
        return frozenset()
    return host.names & sightings.retired.keys()


def _is_proven(key: AttemptKey, heard: Heard, sightings: Sightings) -> bool:
    """Tell whether workers of this queue are known to be seen on the machine that answers, under their own pids."""
    host, answer = heard.round.host, heard.answer
    if host is None or isinstance(answer, NoAnswer) or not answer.machine_id:
        return False
    return host.machine_id == answer.machine_id or (key.queue, answer.machine_id) in sightings.proven


def _remember(known: AttemptSighting | None, at: datetime, answer: HostAnswer) -> AttemptSighting:
    """Return the sighting of an attempt with the boot that answers now; of many, the first and the last few stay."""
    known = known or AttemptSighting(first_seen_at=at)
    boot = name_boot(answer.machine_id, boot_of(answer))
    boots = known.boots
    if known.asked_at is not None and boots[-1:] == (boot,) and len(boots) <= BOOTS_REMEMBERED:
        return known
    if known.enrolment is not None and known.enrolment.boot not in boots:
        boots = (known.enrolment.boot, *boots)
    if not boots or boots[-1] != boot:
        boots = (*boots, boot)
    if len(boots) > BOOTS_REMEMBERED:
        boots = (boots[0], *boots[1 - BOOTS_REMEMBERED :])
    return replace(known, asked_at=known.asked_at or at, boots=boots)


def _make_case(
    asked: Asked,
    heard: Heard,
    answer: HostAnswer,
    sighting: AttemptSighting,
    *,
    boots: tuple[Boot, ...],
    is_proven: bool,
) -> Case:
    pid = asked.attempt.pid or 0
    return Case(
        attempt=asked.attempt,
        signs=asked.signs,
        pid=pid,
        answer=answer,
        at=heard.at,
        process=answer.processes.get(pid),
        enrolment=sighting.enrolment,
        boots=boots,
        asked_boots=sighting.boots,
        is_proven=is_proven,
        begun_for=_begun_for(asked, heard, sighting),
    )


def _judge_case(case: Case, key: AttemptKey, said: Mapping[str, DetailValue]) -> Verdict:
    value, reason = rule_on_case(case)
    evidence = {**said, "pid": case.pid}
    if case.process is not None:
        evidence |= _describe_process(case.process)
        if is_web_worker(case.process, case.signs):
            evidence["is_web_worker"] = 1
    if case.enrolment is not None:
        evidence |= {"enrolled_boot_id": case.enrolment.boot_id, "enrolled_ticks": case.enrolment.start_ticks}
    if reason is Reason.CHILD_RUNNING and (child := find_child(case)) is not None:
        evidence |= {"child_pid": child.pid, "child_tie": str(child.tie)}
    if len(case.asked_boots) > 1:
        evidence["boots"] = " ".join(case.asked_boots)
    return Verdict(key=key, value=value, reason=reason, seen_at=case.at, evidence=MappingProxyType(evidence))


def _describe_process(process: ProcessAnswer) -> dict[str, DetailValue]:
    return {
        "presence": str(process.presence),
        "start_ticks": process.start_ticks,
        "states": process.states,
        "process": process.name,
    }


def _enrol(case: Case, asked: Asked, heard: Heard, sighting: AttemptSighting, *, verdict: Verdict) -> AttemptSighting:
    """Return the sighting with the worker in it, where one is seen alive that is older than its attempt."""
    process = case.process
    if sighting.enrolment is not None or verdict.value is not Liveness.ALIVE or process is None:
        return sighting
    if not (case.is_present and is_worker(process, asked.signs) and _is_older(case)):
        return sighting
    enrolment = Enrolment(
        machine_id=case.answer.machine_id or "",
        boot_id=boot_of(case.answer),
        pid=case.pid,
        start_ticks=process.start_ticks or 0,
        seen_at=heard.at,
    )
    return replace(sighting, enrolment=enrolment)


def _is_older(case: Case) -> bool:
    """Tell whether the process began before its attempt did; its age is of the host's own clock."""
    process = case.process
    if process is None or process.start_ticks is None or case.begun_for is None or case.answer.clock_ticks <= 0:
        return False
    age = case.answer.uptime - timedelta(seconds=process.start_ticks / case.answer.clock_ticks)
    return age + ENROLMENT_MARGIN >= case.begun_for


def _begun_for(asked: Asked, heard: Heard, sighting: AttemptSighting) -> timedelta | None:
    """Return since when an attempt goes on, at least; None where that is not known.

    Its age is of the database's clock, brought up to now by this machine's boot clock. It may read too young in the
    hour that comes twice, but not younger than the time for which the attempt is known. The asking counts as its time
    too, so that it looks older, if anything.
    """
    age = asked.attempt.age
    if age is None:
        return None
    since_read = timedelta(seconds=max(0.0, heard.ended_seconds - asked.read_seconds))
    return max(age + since_read, heard.at - sighting.first_seen_at)


def _learn(
    changed: Mapping[AttemptKey, AttemptSighting], *, boots: Mapping[str, tuple[Boot, ...]], returned: frozenset[str]
) -> Learned:
    """Return what is new: sightings that changed, with the machines and workers of those that are enrolled."""
    enrolled = [(key, one.enrolment) for key, one in changed.items() if one.enrolment is not None]
    return Learned(
        attempts=MappingProxyType(changed),
        boots=MappingProxyType(boots),
        proven=frozenset((key.queue, one.machine_id) for key, one in enrolled if one.machine_id),
        workers=frozenset((key.queue, key.host or "", one.pid) for key, one in enrolled),
        returned=returned,
    )
