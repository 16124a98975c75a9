"""What is asked of a host, and of whom nobody can be asked."""

from exporter.jobs import WorkerSigns
from exporter.queues.matomo.queue import SIGNS
from healers.rounds import Host, Placement, Watched, plan_round, run_id_of
from healers.sightings import AttemptSighting, Enrolment, Learned, Retired, Sightings, notice
from tests.builders import BOOTED_FOR, MACHINE, NOON, WEB1, a_round, an_attempt

RUN = "01a20202-9c33-7a20-80e4-6f4c3c8e411f"
SAYS_RUN = {"run_id": RUN, "state_id": "dev:tap-a-to-target-b"}
RAKE = WorkerSigns(commands=(("rake", "jobs:work"),), child_marks=("jobs:child",))


def an_enrolment(ticks: int) -> AttemptSighting:
    """Return an attempt whose worker was enrolled."""
    enrolment = Enrolment(machine_id=MACHINE, boot_id="boot-1", pid=100, start_ticks=ticks, seen_at=NOON)
    return AttemptSighting(first_seen_at=NOON, enrolment=enrolment)


def test_a_host_is_asked_about_every_attempt_that_names_it() -> None:
    """Under its name or an alias, exactly, of all queues at once; of pids that are none nothing is asked."""
    host = Host(name="web1", aliases=frozenset({"web1.lan"}))
    ours = [an_attempt("1"), an_attempt("2", host="web1.lan", pid="200"), an_attempt("3", pid="nonsense")]
    theirs = [
        an_attempt("4", host="web2"),
        an_attempt("5", host="Web1"),
        an_attempt("6", host="web1 "),
        an_attempt("7", host=None),
    ]
    other_queue = Watched(started=(an_attempt("8", pid="300"),), signs=RAKE, read_seconds=BOOTED_FOR)
    one = plan_round(host, [Watched(started=(*ours, *theirs), signs=SIGNS, read_seconds=1.0), other_queue], Sightings())
    assert sorted(asked.attempt.job_id for asked in one.attempts.values()) == ["1", "2", "3", "8"]
    assert one.request.pids == {100: frozenset(), 200: frozenset(), 300: frozenset()}
    assert one.attempts[ours[0].key].read_seconds == 1.0
    assert one.claims() == {asked.attempt.key: asked.attempt.claim for asked in one.attempts.values()}


def test_a_pid_is_asked_about_with_the_ticks_of_every_worker_enrolled_under_it() -> None:
    """Two rows of one archiver, and an older row of another that had the same pid."""
    attempts = an_attempt("1"), an_attempt("2"), an_attempt("3")
    known = Sightings(attempts={attempts[0].key: an_enrolment(7), attempts[2].key: an_enrolment(9)})
    assert a_round(*attempts, sightings=known).request.pids == {100: frozenset({7, 9})}


def test_marks_are_those_of_the_queues_that_are_asked_about() -> None:
    """One word of each command is enough to know it by; the command lines of others are none of our business."""
    request = a_round(an_attempt()).request
    assert request.worker_marks == {"core:archive", "archive.php"}
    assert request.child_marks == {"climulti:request"}
    empty = a_round(an_attempt(host="web2")).request
    assert (empty.pids, empty.worker_marks, empty.child_marks, empty.runs) == (
        {},
        frozenset(),
        frozenset(),
        frozenset(),
    )
    assert a_round(an_attempt(), signs=WorkerSigns(commands=((), ("*",)))).request.worker_marks == frozenset()


def test_runs_are_asked_of_every_host_that_may_run_them() -> None:
    """Their rows name no host; the configuration does, and says which folder to look at."""
    placement = Placement(workers_on=("web1",), workers_user="meltano", project="/srv/meltano")
    run = an_attempt("1", host=None, pid=None, detail=SAYS_RUN)
    one = a_round(run, placement=placement)
    assert one.request.runs == {RUN}
    assert one.request.folders == {"/srv/meltano"}
    assert list(one.runs) == [run.key]
    assert not one.attempts
    other = a_round(run, placement=placement, host=Host(name="web2"))
    assert not any((other.request.runs, other.request.folders, other.runs))
    elsewhere = Placement(workers_on=("web2",), project="/srv/other")
    both = [Watched(started=(run,), signs=SIGNS, read_seconds=0.0, placement=one) for one in (placement, elsewhere)]
    assert plan_round(WEB1, both, Sightings()).request.folders == {"/srv/meltano"}
    idle = a_round(placement=placement)
    assert idle.request.folders == frozenset()


def test_only_an_id_is_sent_as_one() -> None:
    """Whatever the row holds: a request has a whitelist."""
    for text in ("", "x; rm -rf /", RUN.upper(), f"{RUN}\n", f" {RUN}", RUN.replace("-", ""), None, 7):
        run = an_attempt("1", host=None, pid=None, detail={"run_id": text})
        assert run_id_of(run) is None
        assert a_round(run, placement=Placement(workers_on=("web1",))).request.runs == frozenset()


def test_a_poll_notices_new_attempts_and_forgets_those_that_are_gone() -> None:
    """What is known of the others, and of other queues, stays; an incomplete poll proves nobody gone."""
    old, gone, new = an_attempt("1"), an_attempt("2"), an_attempt("3")
    known = Sightings(attempts={old.key: an_enrolment(7), gone.key: an_enrolment(8)})
    learned = notice([old, new], known, queue=old.key.queue, at=NOON, is_complete=True)
    assert learned == Learned(attempts={new.key: AttemptSighting(first_seen_at=NOON)}, gone=frozenset({gone.key}))
    after = known.learn(learned).attempts
    assert set(after) == {old.key, new.key}
    assert after[old.key].enrolment is not None
    assert notice([old], known, queue=old.key.queue, at=NOON, is_complete=False).gone == frozenset()
    other = notice([], known, queue=type(old.key.queue)("other"), at=NOON, is_complete=True)
    assert other == Learned()


def test_a_host_that_returned_is_retired_no_more() -> None:
    """The others stay retired."""
    retired = {name: Retired(at=NOON, why="scrapped", actor="ann") for name in ("web1", "web2")}
    assert set(Sightings(retired=retired).learn(Learned(returned=frozenset({"web1"}))).retired) == {"web2"}


def test_the_host_of_a_round_is_there_although_nothing_is_asked() -> None:
    """It is still asked how it is."""
    assert a_round().host == WEB1
