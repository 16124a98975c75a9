"""The table of verdicts, a rule for each of its lines; pure. The first rule that matches wins (docs/decisions/0011).

A rule returns its ruling where its line matches, and None where it does not. `QUESTION_RULES` need no answer that can
be used; `ANSWER_RULES` have one: of the right machine, in the right PID namespace, by an account that sees everything.
What a process is called only ever speaks for its life, never for its death. Raises nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias
from urllib.parse import parse_qsl

from exporter.jobs import Attempt, WorkerSigns

from .machines import Doubt, are_reboots, may_be_elsewhere
from .probes.protocol import HostAnswer, Presence, ProcessAnswer, Relative, Silence, Tie
from .reasons import Liveness, Reason
from .sightings import AttemptSighting, Boot, Enrolment, Retired

Ruling: TypeAlias = tuple[Liveness, Reason]

# A host that speaks is not gone for good, whatever it says.
GONE_QUIET: Final = frozenset({Silence.NOT_CONFIGURED, Silence.UNREACHABLE, Silence.TIMEOUT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One attempt, before anything is made of what its host said.

    `doubt` is why the host gave no usable answer, None where it did. `retired`: a person gave the host up, and it has
    not answered since.
    """

    attempt: Attempt
    sighting: AttemptSighting | None
    doubt: Silence | Doubt | None
    retired: Retired | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One attempt with a pid, before an answer that can be used; `process` is None where that leaves the pid out.

    `boots` are the host's, and `asked_boots` the names of those that were asked about this attempt, in turn; the last
    of both answers now. `is_proven`: a worker of this queue was once enrolled on this machine, or a person pinned it.
    `begun_for`: since when the attempt goes on, at least.
    """

    attempt: Attempt
    signs: WorkerSigns
    pid: int
    answer: HostAnswer
    at: datetime
    process: ProcessAnswer | None
    enrolment: Enrolment | None
    boots: tuple[Boot, ...]
    asked_boots: tuple[str, ...]
    is_proven: bool
    begun_for: timedelta | None

    @property
    def is_present(self) -> bool:
        """Whether there is a process under this pid, seen whole."""
        process = self.process
        return process is not None and process.presence is Presence.PRESENT and process.start_ticks is not None

    @property
    def is_absent(self) -> bool:
        """Whether there is none, by `/proc` and by `kill -0`, and nothing in the answer speaks against that."""
        process = self.process
        if process is None or process.presence is not Presence.ABSENT:
            return False
        return process.start_ticks is None and not process.states

    @property
    def is_zombie(self) -> bool:
        """Whether all threads of the process have ended."""
        return self.is_present and self.process is not None and self.process.is_zombie

    @property
    def has_ticks_of_worker(self) -> bool:
        """Whether the process under this pid began when the enrolled worker did."""
        if self.enrolment is None or self.process is None or self.process.start_ticks is None:
            return False
        return self.process.start_ticks == self.enrolment.start_ticks

    @property
    def has_other_ticks(self) -> bool:
        """Whether the worker is enrolled, and the process under its pid began at another time."""
        return self.enrolment is not None and self.is_present and not self.has_ticks_of_worker

    @property
    def has_rebooted(self) -> bool:
        """Whether other boots of the same machine were asked about the attempt before, and no other machine."""
        names = self.asked_boots
        return len(names) > 1 and len(set(names)) == len(names) and are_reboots(self.boots, since=names[0])

    @property
    def may_be_claimed_anew(self) -> bool:
        """Whether a later worker of the same pid cannot be told from the one that was asked about before."""
        return self.enrolment is None and not self.attempt.has_start_time

    @property
    def may_be_elsewhere(self) -> bool:
        """Whether nobody saw the worker, and it may have begun on a machine that had this name before."""
        return self.enrolment is None and may_be_elsewhere(self.boots, at=self.at, begun_for=self.begun_for)

    @property
    def has_ended(self) -> bool:
        """Whether the worker itself has: nothing here tells of its children."""
        return self.is_absent or self.is_zombie or self.has_other_ticks


def _no_worker(question: Question) -> Ruling | None:
    attempt = question.attempt
    return None if attempt.host and attempt.pid_text else (Liveness.UNKNOWN, Reason.NO_WORKER)


def _not_a_pid(question: Question) -> Ruling | None:
    return (Liveness.UNKNOWN, Reason.NOT_A_PID) if question.attempt.pid is None else None


def _nonsense_age(question: Question) -> Ruling | None:
    attempt = question.attempt
    return (Liveness.UNKNOWN, Reason.CLOCK) if attempt.has_start_time and attempt.age is None else None


def _host_retired(question: Question) -> Ruling | None:
    """A person's word ends the doubt about a host that is silent, for attempts that were there when it was given."""
    if question.retired is None or question.sighting is None or question.doubt not in GONE_QUIET:
        return None
    is_older = question.sighting.first_seen_at < question.retired.at
    return (Liveness.DEAD, Reason.HOST_RETIRED) if is_older else None


def _no_usable_answer(question: Question) -> Ruling | None:
    return (Liveness.UNKNOWN, Reason(question.doubt.value)) if question.doubt is not None else None


def _beyond_pid_max(case: Case) -> Ruling | None:
    return (Liveness.UNKNOWN, Reason.NOT_A_PID) if case.pid > case.answer.pid_max else None


def _pid_left_out(case: Case) -> Ruling | None:
    return (Liveness.UNKNOWN, Reason.BAD_ANSWER) if case.process is None else None


def _host_rebooted(case: Case) -> Ruling | None:
    """Whatever ran in an earlier boot of this machine ended with it.

    Not where the worker's own process still seems to be there: then it is the boot_id that is wrong. And only where the
    worker is known to have run on this machine, or others of its queue are. Without a start time the job may have been
    taken anew, by whoever has that pid in this boot: it is judged as if there had been no other.
    """
    if not case.has_rebooted or case.has_ticks_of_worker or case.may_be_claimed_anew:
        return None
    if case.enrolment is None and not case.is_proven:
        return Liveness.UNKNOWN, Reason.HOST_UNPROVEN
    if case.may_be_elsewhere:
        return Liveness.UNKNOWN, Reason.TWO_MACHINES
    return Liveness.DEAD, Reason.HOST_REBOOTED


def _two_machines(case: Case) -> Ruling | None:
    """Other boots answered about this attempt, and were no reboots, or one came back: who knows which one it is on."""
    is_elsewhere = case.enrolment is not None and case.enrolment.boot != case.asked_boots[-1]
    has_changed = len(case.asked_boots) > 1 and not (case.has_rebooted and case.may_be_claimed_anew)
    return (Liveness.UNKNOWN, Reason.TWO_MACHINES) if is_elsewhere or has_changed else None


def _enrolled_and_there(case: Case) -> Ruling | None:
    return _alive(case.process) if case.process and case.has_ticks_of_worker and not case.process.is_zombie else None


def _seen_in_part(case: Case) -> Ruling | None:
    """`/proc` and `kill -0` disagree, or the process could not be read: it may well be there."""
    return None if case.is_present or case.is_absent else (Liveness.UNKNOWN, Reason.HIDDEN_PROCESSES)


def _child_running(case: Case) -> Ruling | None:
    if case.has_ended and find_child(case) is not None:
        return Liveness.ALIVE, Reason.CHILD_RUNNING
    return None


def _not_looked_through(case: Case) -> Ruling | None:
    """Without a look at all processes nobody knows of children or namespaces."""
    return (Liveness.UNKNOWN, Reason.BAD_ANSWER) if case.has_ended and not case.answer.has_looked_through else None


def _in_namespace(case: Case) -> Ruling | None:
    """The pid may be one that was given out inside a container, where it means another process.

    Then whoever was enrolled, and has ended, had the same pid outside, and was not the worker.
    """
    is_inner = any(
        one.tie is Tie.NAMESPACE and one.asked_pid == case.pid and one.pid != case.pid for one in case.answer.relatives
    )
    return (Liveness.UNKNOWN, Reason.PID_NAMESPACE) if is_inner else None


def _enrolled_and_ended(case: Case) -> Ruling | None:
    if case.enrolment is None or not case.has_ended:
        return None
    return Liveness.DEAD, Reason.PID_REUSED if case.has_other_ticks else Reason.NO_PROCESS


def _host_unproven(case: Case) -> Ruling | None:
    is_unproven = case.enrolment is None and case.is_absent and not case.is_proven
    return (Liveness.UNKNOWN, Reason.HOST_UNPROVEN) if is_unproven else None


def _machine_changed(case: Case) -> Ruling | None:
    """Of an attempt that nobody asked about before the machine changed, nobody knows on which of the two it began."""
    is_open = case.is_absent and case.may_be_elsewhere
    return (Liveness.UNKNOWN, Reason.TWO_MACHINES) if is_open else None


def _never_enrolled_and_absent(case: Case) -> Ruling | None:
    return (Liveness.DEAD, Reason.NO_PROCESS) if case.enrolment is None and case.is_absent else None


def _looks_like_worker(case: Case) -> Ruling | None:
    process = case.process
    if case.enrolment is not None or process is None or process.is_zombie or not is_worker(process, case.signs):
        return None
    return _alive(process)


def _not_identifiable(_case: Case) -> Ruling:
    """A web worker outlives its jobs; anything else may be the worker under a name that nobody told us."""
    return Liveness.UNKNOWN, Reason.NOT_IDENTIFIABLE


QUESTION_RULES: Final[tuple[Callable[[Question], Ruling | None], ...]] = (
    _no_worker,
    _not_a_pid,
    _nonsense_age,
    _host_retired,
    _no_usable_answer,
)
ANSWER_RULES: Final[tuple[Callable[[Case], Ruling | None], ...]] = (
    _beyond_pid_max,
    _pid_left_out,
    _host_rebooted,
    _two_machines,
    _enrolled_and_there,
    _seen_in_part,
    _child_running,
    _not_looked_through,
    _in_namespace,
    _enrolled_and_ended,
    _host_unproven,
    _machine_changed,
    _never_enrolled_and_absent,
    _looks_like_worker,
)


def rule_on_question(question: Question) -> Ruling | None:
    """Return the ruling that needs no answer, or None where only the answer can tell."""
    return next((ruling for rule in QUESTION_RULES if (ruling := rule(question))), None)


def rule_on_case(case: Case) -> Ruling:
    """Return the ruling by the answer."""
    return next((ruling for rule in ANSWER_RULES if (ruling := rule(case))), _not_identifiable(case))


def is_worker(process: ProcessAnswer, signs: WorkerSigns) -> bool:
    """Tell whether the process has a worker's command; a queue without signs has no workers."""
    argv = process.argv or ()
    return any(words and all(_holds(argv, word) for word in words) for words in signs.commands)


def is_web_worker(process: ProcessAnswer, signs: WorkerSigns) -> bool:
    """Tell whether the process is one that outlives its jobs."""
    return any(name and process.name.startswith(name) for name in signs.web_workers)


def find_child(case: Case) -> Relative | None:
    """Return a process that is still at work for the attempt, if there is one."""
    return next((one for one in case.answer.relatives if one.pid != case.pid and _is_child(one, case)), None)


def _alive(process: ProcessAnswer) -> Ruling:
    return Liveness.ALIVE, Reason.FROZEN if process.is_stopped else Reason.RUNNING


def _holds(argv: tuple[str, ...], word: str) -> bool:
    ending = word.removeprefix("*")
    if ending == word:
        return word in argv
    return bool(ending) and any(one.endswith(ending) for one in argv)


def _is_child(relative: Relative, case: Case) -> bool:
    if relative.tie in (Tie.GROUP, Tie.SESSION):
        return relative.asked_pid == case.pid
    return relative.tie is Tie.MARK and _bears_mark(relative, case)


def _bears_mark(relative: Relative, case: Case) -> bool:
    """Tell whether marked work is this attempt's: by its owner, else by its job; what it does not say speaks for it.

    A long command line comes cut, perhaps before the mark (that of a Java program is behind its class path), or in the
    middle of the owner's pid, which then is the beginning of one.
    """
    signs = case.signs
    if not signs.child_marks:
        return False
    is_told = bool(relative.argv) and not relative.is_cut
    if is_told and not any(mark in word for mark in signs.child_marks for word in relative.argv):
        return False
    said = [pair for word in relative.argv for pair in parse_qsl(word)]
    owners = [value for name, value in said if name == signs.child_owner]
    if owners:
        return any(str(case.pid).startswith(owner) for owner in owners)
    job = {"kind": case.attempt.kind, **case.attempt.detail}
    return all(
        _agrees([value for name, value in said if name == parameter], job.get(of)) for parameter, of in signs.child_job
    )


def _agrees(values: list[str], expected: str | int | None) -> bool:
    """Tell whether one of `values` is the expected one, or a span of dates that begins with it; none contradicts."""
    return not values or any(value.split(",")[0] == str(expected) for value in values)
