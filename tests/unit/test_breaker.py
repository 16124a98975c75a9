"""When workers seem to die on many hosts at once, the observer is suspect, and healing stops."""

from collections.abc import Iterable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.jobs import AttemptKey, QueueName
from healers.breaker import BreakerState, Tally, is_enrolled, resume, step, tally
from healers.candidates import Candidate
from healers.options import BreakerOptions
from healers.sightings import AttemptSighting, Enrolment, Sightings
from healers.verdicts import Reason
from tests.builders import NOON, a_candidate, an_attempt

OPTIONS = BreakerOptions()
MINUTE = timedelta(minutes=1)


def on(host: str, reason: Reason = Reason.NO_PROCESS, *, number: int = 1, is_enrolled: bool = False) -> Candidate:
    """Return an attempt on a host that answered."""
    attempt = an_attempt(f"{host}-{number}", host=host)
    return a_candidate(attempt, reason=reason, hosts=[host], is_enrolled=is_enrolled)


def alive(*hosts: str) -> list[Candidate]:
    """Return one alive attempt on each host."""
    return [on(host, Reason.RUNNING, number=2) for host in hosts]


def dead(*hosts: str) -> list[Candidate]:
    """Return one attempt on each host whose worker was never seen alive, and is absent."""
    return [on(host) for host in hosts]


def after(
    *passes: Iterable[Candidate], state: BreakerState | None = None, options: BreakerOptions = OPTIONS
) -> BreakerState:
    """Return the breaker after one pass a minute."""
    state = state or BreakerState()
    for number, candidates in enumerate(passes):
        state = step(state, tally(candidates), options=options, now=NOON + number * MINUTE)
    return state


@pytest.mark.parametrize(
    ("candidates", "is_open"),
    [
        ([], False),
        # one host, two hosts: a ratio says nothing
        (dead("a"), False),
        (dead("a", "b"), False),
        # three hosts
        (dead("a") + alive("b", "c"), False),
        (dead("a", "b") + alive("c"), True),
        (dead("a", "b", "c"), True),
        # exactly half is not more than half
        (dead("a", "b") + alive("c", "d"), False),
        (dead("a", "b", "c") + alive("d", "e"), True),
        # hosts are counted, not jobs
        ([on("a", number=number) for number in range(10)] + alive("b", "c"), False),
        # a host with deaths answered, and a worker alive on it changes nothing
        (dead("a", "b") + alive("a", "b", "c"), True),
        # enrolled deaths are exact: a deploy's SIGTERM orphans rows everywhere
        ([on(host, is_enrolled=True) for host in "abc"], False),
        ([on("a", is_enrolled=True), *dead("b", "c")], True),
        # rebooted and retired hosts do not count, neither above nor below the line
        ([on(host, Reason.HOST_REBOOTED) for host in "abc"], False),
        ([*dead("a", "b"), on("c", Reason.HOST_REBOOTED)], False),
        ([*dead("a", "b"), *alive("c"), on("d", Reason.HOST_REBOOTED), on("e", Reason.HOST_REBOOTED)], True),
        # unknown is not dead; a host that answered so counts below the line, one that did not answer does not
        ([on(host, Reason.NOT_IDENTIFIABLE) for host in "abc"], False),
        (dead("a", "b") + [on(host, Reason.NOT_IDENTIFIABLE) for host in "cd"], False),
        ([*dead("a", "b"), a_candidate(an_attempt("x"), reason=Reason.UNREACHABLE, hosts=[])], False),
    ],
)
def test_the_breaker_opens_above_the_ratio(candidates: list[Candidate], is_open: bool) -> None:
    """Hosts with deaths that count, of the hosts that answered and have started attempts; three of these at least."""
    assert after(candidates).is_open is is_open


@pytest.mark.parametrize(("min_hosts", "is_open"), [(1, True), (2, True), (3, False)])
def test_fewer_hosts_can_be_enough(min_hosts: int, is_open: bool) -> None:
    """An operator of two hosts who wants to be asked says so."""
    assert after(dead("a", "b"), options=BreakerOptions(min_hosts=min_hosts)).is_open is is_open


@pytest.mark.parametrize(("runs", "is_open"), [(1, False), (2, True), (5, True)])
def test_a_death_that_may_be_on_any_of_several_hosts_is_on_one_of_them(runs: int, is_open: bool) -> None:
    """Meltano records no host: one dead run of three hosts is no reason to stop, two may be on two of them."""
    candidates = [
        a_candidate(an_attempt(str(run), host=None, pid=None), reason=Reason.HEARTBEAT_LOST, hosts="abc")
        for run in range(runs)
    ]
    state = after(candidates)
    assert (state.is_open, state.dead_hosts, state.hosts) == (is_open, min(runs, 3), 3)


def test_a_host_with_a_death_of_its_own_is_counted_once() -> None:
    """Beside it, a death that may be on any of three hosts is on one more at most."""
    anywhere = a_candidate(an_attempt("x", host=None, pid=None), reason=Reason.HEARTBEAT_LOST, hosts="abc")
    assert after([*dead("a"), anywhere]).dead_hosts == 2


def test_an_open_breaker_keeps_when_it_opened_and_how_bad_it_is() -> None:
    """For the person who reads why nothing is healed."""
    state = after(dead("a", "b", "c"), dead("a", "b", "c") + alive("d"))
    assert (state.open_since, state.suspect_at) == (NOON, NOON + MINUTE)
    assert (state.dead_hosts, state.hosts) == (3, 4)


def test_cool_down_closes_only_once_the_ratio_has_fallen() -> None:
    """As long as it is above, time alone closes nothing."""
    assert after(*[dead("a", "b", "c")] * 60).is_open


def test_it_closes_when_the_ratio_was_low_for_the_whole_of_cool_down() -> None:
    """A single good pass among bad ones is not enough."""
    bad, good = dead("a", "b", "c"), alive("a", "b", "c")
    assert after(bad, *[good] * 9).is_open
    assert not after(bad, *[good] * 10).is_open
    assert after(bad, *[good] * 9, bad, good, good).is_open
    assert not after(bad, *[good] * 9, bad, *[good] * 10).is_open


def test_silence_closes_nothing() -> None:
    """While no host with started attempts answers, nothing shows that the ratio has fallen."""
    silent = [a_candidate(an_attempt("x"), reason=Reason.UNREACHABLE, hosts=[])]
    bad = dead("a", "b", "c")
    assert after(bad, *[silent] * 60).is_open
    assert after(bad, *[[]] * 60).is_open
    assert not after(bad, *[silent] * 60, alive("a")).is_open


def test_fewer_hosts_than_the_least_close_nothing_while_the_ratio_is_above() -> None:
    """That most hosts have gone silent since makes the observer no less suspect."""
    assert after(dead("a", "b", "c"), *[dead("a", "b")] * 60).is_open
    assert not after(dead("a", "b", "c"), *[dead("a") + alive("b")] * 60).is_open


def test_resume_acknowledges_the_deaths_then_present_and_no_others() -> None:
    """They count no more; new ones do."""
    state = resume(after(dead("a", "b", "c")))
    assert not state.is_open
    assert not after(dead("a", "b", "c"), state=state).is_open
    assert not after(dead("a", "b", "c") + alive("d", "e"), state=state).is_open
    new = [on(host, number=9) for host in "ab"]
    assert after([*dead("a", "b", "c"), *new], state=state).is_open


def test_an_acknowledged_death_stays_acknowledged_while_its_host_is_silent() -> None:
    """Unknown for a pass, then dead again: a person has looked at it. One that has left the table is forgotten."""
    state = resume(after(dead("a", "b", "c")))
    silent = [a_candidate(on(host).attempt, reason=Reason.TIMEOUT, hosts=[]) for host in "abc"]
    state = after(silent, dead("a", "b", "c"), state=state)
    assert not state.is_open
    assert len(state.acknowledged) == 3
    assert after(alive("a"), state=state).acknowledged == frozenset()


def test_resume_acknowledges_before_the_breaker_opens_too() -> None:
    """A person who looked at two of four hosts is not asked about them again when a third follows."""
    state = resume(after(dead("a", "b") + alive("c", "d")))
    assert not after(dead("a", "b", "c") + alive("d"), state=state).is_open


ENROLLED = Enrolment(machine_id="m", boot_id="b", pid=100, start_ticks=1, seen_at=NOON)


@pytest.mark.parametrize(
    ("host", "pid", "sightings", "expected"),
    [
        ("web1", "100", Sightings(), False),
        ("web1", "100", Sightings(workers=frozenset({(QueueName("q"), "web1", 100)})), True),
        ("web1", "101", Sightings(workers=frozenset({(QueueName("q"), "web1", 100)})), False),
        ("web2", "100", Sightings(workers=frozenset({(QueueName("q"), "web1", 100)})), False),
        ("web1", "100", Sightings(workers=frozenset({(QueueName("p"), "web1", 100)})), False),
        (None, None, Sightings(workers=frozenset({(QueueName("q"), "web1", 100)})), False),
    ],
)
def test_an_attempt_counts_as_enrolled_if_an_earlier_one_of_its_worker_was(
    host: str | None, pid: str | None, sightings: Sightings, expected: bool
) -> None:
    """One archiver works on many rows: to have seen it at work on one is to have seen it."""
    assert is_enrolled(an_attempt(host=host, pid=pid), sightings) is expected


def test_an_attempt_that_was_itself_enrolled_counts_so() -> None:
    """Seen, but not enrolled, does not."""
    attempt = an_attempt()
    seen = AttemptSighting(first_seen_at=NOON)
    enrolled = AttemptSighting(first_seen_at=NOON, enrolment=ENROLLED)
    assert not is_enrolled(attempt, Sightings(attempts={attempt.key: seen}))
    assert is_enrolled(attempt, Sightings(attempts={attempt.key: enrolled}))


KEYS = [an_attempt(str(number)).key for number in range(6)]
DEATHS = st.dictionaries(st.sampled_from(KEYS), st.frozensets(st.sampled_from("abcdef"), max_size=3), max_size=6)


@st.composite
def tallies(draw: st.DrawFn) -> Tally:
    """Make what a pass may see: hosts with deaths have answered."""
    deaths: dict[AttemptKey, frozenset[str]] = draw(DEATHS)
    others = draw(st.frozensets(st.sampled_from("abcdef")))
    return Tally(started=frozenset(KEYS), answered=others.union(*deaths.values()), deaths=deaths)


@given(passes=st.lists(tallies(), max_size=30), minutes=st.integers(1, 30))
def test_the_breaker_is_never_closed_by_a_pass_above_the_ratio(passes: list[Tally], minutes: int) -> None:
    """Whatever came before; and it says since when it is open for just as long as it is."""
    options = BreakerOptions(cool_down=timedelta(minutes=5))
    state = BreakerState()
    for number, seen in enumerate(passes):
        before, state = state, step(state, seen, options=options, now=NOON + number * minutes * MINUTE)
        is_above = state.hosts > 0 and state.dead_hosts / state.hosts > options.max_dead_ratio
        assert state.dead_hosts <= state.hosts
        assert (state.open_since is None) is (state.suspect_at is None)
        if is_above and (before.is_open or state.hosts >= options.min_hosts):
            assert state.is_open
        if not before.is_open and state.is_open:
            assert is_above
        if before.is_open and not state.is_open:
            assert not is_above
            assert state.hosts > 0
