"""What can be broken in a watchdog, one promise at a time, to see that the referee notices.

Nothing of this is in the program: a watchdog of a run is started with a `sitecustomize` that calls `apply`. What is
broken stays in its place and is only wrong, so that nobody can tell by counting.
"""

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from exporter.deadline import Deadline
from exporter.jobs import Claim
from healers import gathering, guards, rules
from healers.acting import Acting, Work
from healers.candidates import Candidate
from healers.guards import quarantine, rate
from healers.outcomes import Concluded, Outcome
from healers.reasons import Liveness, Reason
from healers.resets import locks
from healers.resets.compare_and_set import SqlReset
from healers.resets.reconciliation import conclude
from healers.resets.rows import RowSql
from healers.rules import Case, Question, Ruling
from queuemedic.app import App

NEVER_SECONDS: Final = 1e6
LOOK_SECONDS: Final = 0.05


def apply(name: str) -> None:
    """Break this."""
    BREAKAGES[name]()


def _judge_living_dead() -> None:
    def inverted(case: Case) -> Ruling | None:
        is_alive = case.has_ticks_of_worker and case.process is not None and not case.process.is_zombie
        return (Liveness.DEAD, Reason.NO_PROCESS) if is_alive else None

    _replace_rule("_enrolled_and_there", inverted)


def _compare_no_start_times() -> None:
    same = property(lambda case: case.enrolment is not None and case.is_present)
    setattr(Case, "has_ticks_of_worker", same)  # noqa: B010  it is no field


def _compare_no_boots() -> None:
    _replace_rule("_host_rebooted", lambda _: None)


def _forget_children() -> None:
    _replace_rule("_child_running", lambda _: None)


def _judge_silence_dead() -> None:
    def silent(question: Question) -> Ruling | None:
        return (Liveness.DEAD, Reason.NO_PROCESS) if question.doubt is not None else None

    changed = [silent if rule.__name__ == "_no_usable_answer" else rule for rule in rules.QUESTION_RULES]
    setattr(rules, "QUESTION_RULES", tuple(changed))  # noqa: B010  it is final


def _replace_rule(name: str, rule: Callable[[Case], Ruling | None]) -> None:
    assert name in {one.__name__ for one in rules.ANSWER_RULES}
    changed = [rule if one.__name__ == name else one for one in rules.ANSWER_RULES]
    setattr(rules, "ANSWER_RULES", tuple(changed))  # noqa: B010  it is final


def _confirm_at_once() -> None:
    setattr(gathering, "is_confirmed", lambda suspect, _: suspect is not None)  # noqa: B010


def _hold_no_lock() -> None:
    for lock in (locks.MysqlLock, locks.PostgresqlLock):
        for method in ("take", "is_held"):
            setattr(lock, method, lambda *_: True)
        setattr(lock, "release", lambda *_: None)  # noqa: B010


def _intend_late() -> None:
    """Put back, and write down only then that it is to be done; else as `Acting._put_one_back`."""

    def put_back(self: Acting, candidate: Candidate, work: Work) -> Concluded:
        claim, journal = candidate.attempt.claim, self._get_ledger().journal
        row = self._reset.reread([claim.key]).get(claim.key)
        if row is None or not row.is_started or row.claim != claim:
            return self._conclude(work, conclude(claim, row, may_be_written=False))
        concluded = self._conclude(work, self._reset.reset(claim))
        intent = journal.intend(self._recorder.intent(candidate, row, at=self._read_moment().at))
        journal.conclude(intent, concluded, at=self._read_moment().at)
        return concluded

    setattr(Acting, "_put_one_back", put_back)  # noqa: B010


def _settle_nothing() -> None:
    setattr(Acting, "_settle", lambda *_: None)  # noqa: B010


def _take_a_lost_reply_for_a_failure() -> None:
    def give_up(_: SqlReset, rows: RowSql, claim: Claim, *, because: str, may_be_written: bool) -> Concluded:  # noqa: ARG001
        return Concluded(key=claim.key, outcome=Outcome.FAILED, detail=because)

    setattr(SqlReset, "_find_out", give_up)  # noqa: B010


def _scrape_only_what_is_up() -> None:
    find = App.find_page

    def wait_and_find(self: App, *wanted: Any) -> bytes | None:
        while not all(poller.status.is_up for poller in self.pollers):
            time.sleep(LOOK_SECONDS)
        return find(self, *wanted)

    setattr(App, "find_page", wait_and_find)  # noqa: B010


def _keep_no_budget() -> None:
    nothing: Callable[..., None] = lambda *_: None  # noqa: E731
    changed = [nothing if guard in (quarantine.refuse, rate.refuse) else guard for guard in guards.GUARDS]
    setattr(guards, "GUARDS", tuple(changed))  # noqa: B010


def _wait_for_ever() -> None:
    setattr(Deadline, "_seconds_left", lambda _: NEVER_SECONDS)  # noqa: B010


BREAKAGES: Final[Mapping[str, Callable[[], None]]] = MappingProxyType(
    {
        "the living are judged dead": _judge_living_dead,
        "silence is judged death": _judge_silence_dead,
        "start times are not compared": _compare_no_start_times,
        "boots are not compared": _compare_no_boots,
        "children do not count": _forget_children,
        "one proof is enough": _confirm_at_once,
        "no lock is held": _hold_no_lock,
        "the intent comes late": _intend_late,
        "no intent is settled": _settle_nothing,
        "a lost reply is a failure": _take_a_lost_reply_for_a_failure,
        "scrapes wait for databases": _scrape_only_what_is_up,
        "no budget is kept": _keep_no_budget,
        "nothing has a deadline": _wait_for_ever,
    }
)
