"""A person heals: the plan first, then both proofs, with limits and filters; and what was done can be read later."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from tests.lab.queuemedic import Ended, Page, Serving, run, serving, write_config
from tests.lab.waiting import wait_until

from .test_hosts import HOST, WORKER, make_queue, rows, start_job

HEALING = {"heal_after": "1s", "confirm_after": "1s", "reset": {"b": None, "host": None, "pid": None}}
PAUSED = "healing of all queues is paused, for every instance on the ledger"
Worker = subprocess.Popen[bytes]


@pytest.fixture
def hire() -> Iterator[Callable[[], Worker]]:
    """A maker of processes that wait."""
    with ExitStack() as workers:

        def make() -> Worker:
            process = subprocess.Popen(WORKER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
            workers.callback(process.communicate)
            workers.callback(process.kill)
            assert process.stdout
            process.stdout.readline()
            return process

        yield make


def see(served: Serving, verdict: str, reason: str, *, host: str = HOST, jobs: int = 1) -> Page:
    """Scrape until so many jobs of a host are judged so."""
    return served.scrape_until("worker_verdicts", jobs, queue="q", host=host, verdict=verdict, reason=reason)


class Site:
    """A job table, this machine as its only host, and a ledger."""

    def __init__(self, folder: Path, **healing: object) -> None:
        self.folder = folder
        self.file = folder / "jobs.db"
        self.ledger = folder / "ledger.db"
        queue = {**make_queue(self.file), "healing": {**HEALING, **healing}}
        hosts = {HOST: {"via": "local", "pid_namespace": "own", "ask_every": "1s"}}
        self.config = write_config(folder, {"q": queue}, hosts=hosts, ledger=f"sqlite:///{self.ledger}")

    def serving(self) -> AbstractContextManager[Serving]:
        """Run `serve` on this site."""
        return serving(self.config, self.folder)

    def run(self, *arguments: str) -> Ended:
        """Run a command on this site."""
        return run("--config", self.config, *arguments)

    def started(self) -> list[int]:
        """Return the ids of the jobs that are started."""
        return [int(str(row[0])) for row in rows(self.file) if row[2] is not None]

    def lose(self, *workers: Worker) -> None:
        """Give each worker a job, have all of them seen alive by `serve`, and kill all but the first."""
        for worker in workers:
            start_job(self.file, worker.pid)
        with self.serving() as served:
            see(served, "alive", "running", jobs=len(workers))
            wait_until(lambda: self.run("history").code == 0, within=20, what="there is a ledger")
        for worker in workers[1:]:
            worker.kill()
            worker.wait()
        wait_until(lambda: self.plan() == [*range(2, len(workers) + 1)], within=30, what="the dead are known, and old")

    def plan(self) -> list[int]:
        """Return the ids of the jobs that would be put back."""
        heals = self.run("heal", "--json").json["heals"]
        return sorted(int(one["job_id"]) for one in heals if one["result"] == "planned")


def test_heal_shows_the_plan_and_changes_nothing(tmp_path: Path, hire: Callable[[], Worker]) -> None:
    """Exit code 1: there is something to do; the ledger is only read."""
    site = Site(tmp_path)
    site.lose(hire(), hire())
    before = rows(site.file), site.ledger.read_bytes()
    shown = site.run("heal")
    assert (shown.code, shown.err) == (1, "")
    assert "q: 1 to put back" in shown.out
    assert "no_process" in shown.out
    assert (rows(site.file), site.ledger.read_bytes()) == before
    assert site.run("history").out == "nothing was put back or refused\n"


def test_apply_puts_back_what_is_dead_and_leaves_what_is_alive(tmp_path: Path, hire: Callable[[], Worker]) -> None:
    """With both proofs made on the spot; `history` then has the row as it was, the evidence, and who it was."""
    site = Site(tmp_path)
    workers = [hire(), hire(), hire()]
    site.lose(*workers)
    original = rows(site.file)[1]
    done = site.run("heal", "--apply", "--yes", "--json")
    assert done.code == 0, done
    assert [(one["job_id"], one["result"]) for one in done.json["heals"]] == [("2", "reset"), ("3", "reset")]
    assert site.started() == [1]
    [entry] = site.run("history", "--job", "2", "--json").json["heals"]
    assert (entry["result"], entry["verdict_reason"]) == ("reset", "no_process")
    assert entry["actor"].startswith("heal by ")
    assert entry["row"] == dict(zip(("id", "a", "b", "host", "pid"), original, strict=True))
    assert "row: pid: " + str(workers[1].pid) in site.run("history", "--job", "2").out


def test_filters_and_the_limit_choose(tmp_path: Path, hire: Callable[[], Worker]) -> None:
    """Each narrows; what is beyond the limit is refused with a reason, and what is filtered out is not spoken of."""
    site = Site(tmp_path)
    site.lose(hire(), hire(), hire(), hire())
    for filters, expected in (
        (["--job", "3"], {"3": "planned"}),
        (["--host", "nowhere"], {}),
        (["--kind", "job", "--job", "2", "--job", "4"], {"2": "planned", "4": "planned"}),
        (["--started-before", "2020-01-01T00:00:00Z"], {}),
        (["--started-after", "2020-01-01T00:00:00+01:00", "--job", "2"], {"2": "planned"}),
        (["--limit", "1"], {"2": "planned", "3": "refused", "4": "refused"}),
    ):
        heals = site.run("heal", "--json", *filters).json["heals"]
        assert {one["job_id"]: one["result"] for one in heals} == expected, filters
    done = site.run("heal", "--apply", "--yes", "--limit", "2", "--json")
    assert (done.code, site.started()) == (0, [1, 4])
    assert [one["refusal"] for one in done.json["heals"] if one["result"] == "refused"] == ["rate"]


def test_a_person_can_vouch_for_what_nobody_can_judge(tmp_path: Path, hire: Callable[[], Worker]) -> None:
    """Only with a filter, and never for what is alive, even if it is named."""
    site = Site(tmp_path)
    site.lose(hire(), hire())
    start_job(site.file, 4711, host="elsewhere")
    start_job(site.file, 4712, host="elsewhere")
    refused = site.run("heal", "--accept-unknown")
    assert refused.code == 2
    assert "say which jobs you vouch for" in refused.err
    wait_until(
        lambda: site.run("heal", "--host", "elsewhere", "--accept-unknown").code == 1, within=30, what="old enough"
    )
    done = site.run("heal", "--host", "elsewhere", "--host", HOST, "--accept-unknown", "--apply", "--yes", "--json")
    assert done.code == 0, done
    assert {one["job_id"]: one["verdict_reason"] for one in done.json["heals"]} == {
        "2": "no_process",
        "3": "not_configured",
        "4": "not_configured",
    }
    assert site.started() == [1]


def test_a_pause_holds_for_a_person_and_for_serve_until_it_is_ended(tmp_path: Path, hire: Callable[[], Worker]) -> None:
    """It survives restarts, says why and by whom, and the page shows it."""
    site = Site(tmp_path, mode="reset")
    site.lose(hire(), hire())
    assert site.run("pause", "--queue", "nope", "--why", "x").code == 2
    assert site.run("pause", "--why", "moving the database").out == f"{PAUSED} {site.ledger}\n"
    refused = site.run("heal", "--apply", "--yes", "--json")
    assert (refused.code, site.started()) == (4, [1, 2])
    assert [one["refusal"] for one in refused.json["heals"]] == ["paused"]
    assert "moving the database" in refused.json["heals"][0]["detail"]
    with site.serving() as served:
        page = served.scrape_until("blocked_heals", 1, queue="q", reason="paused")
        assert page.value("healing_mode", queue="q", mode="paused") == 1
        assert site.started() == [1, 2]
        ended = site.run("resume")
        assert ended.out.startswith("the pause of all queues is over; it was: moving the database (")
        page = served.scrape_until("heals_total", 1, queue="q", outcome="reset")
        assert page.value("healing_mode", queue="q", mode="reset") == 1
    assert site.started() == [1]
    assert site.run("resume").out == "nothing was paused, and no breaker open\n"


def test_serve_heals_within_its_budget_of_time(tmp_path: Path, hire: Callable[[], Worker]) -> None:
    """Judged, confirmed and put back by itself, once, and counted as healed by the tracker."""
    site = Site(tmp_path, mode="reset")
    worker = hire()
    start_job(site.file, worker.pid)
    with site.serving() as served:
        see(served, "alive", "running")
        worker.kill()
        worker.wait()
        served.scrape_until("heals_total", 1, queue="q", outcome="reset", within=30)
        page = served.scrape_until("attempts_ended_total", 1, queue="q", kind="job", outcome="healed")
        assert page.value("orphaned_jobs", queue="q", host=HOST) in (0, None)
        assert page.value("healer_leader", queue="q") == 1
        assert page.value("heal_delay_seconds_count", queue="q") == 1
        assert served.log.count("job.reset") == 1
        assert served.stop() == 0
    assert site.started() == []


def test_dry_run_says_what_it_would_do_and_writes_nothing(tmp_path: Path, hire: Callable[[], Worker]) -> None:
    """Once per attempt, in metrics, events and history; no account to write is needed."""
    site = Site(tmp_path, mode="dry_run", reset={})
    worker = hire()
    start_job(site.file, worker.pid)
    with site.serving() as served:
        see(served, "alive", "running")
        worker.kill()
        worker.wait()
        page = served.scrape_until("heals_total", 1, queue="q", outcome="dry_run", within=30)
        passed = page.value("heal_pass_timestamp_seconds", queue="q") or 0
        wait_until(
            lambda: (served.scrape().value("heal_pass_timestamp_seconds", queue="q") or 0) > passed + 2,
            within=30,
            what="further passes",
        )
        assert served.scrape().value("heals_total", queue="q", outcome="dry_run") == 1
        assert served.log.count("heal.rehearsed") == 1
    assert site.started() == [1]
    results = [one["result"] for one in site.run("history", "--json").json["heals"]]
    assert results.count("dry_run") == 1


def test_a_retired_host_gives_its_jobs_back(tmp_path: Path) -> None:
    """A person says that a host which nobody can ask is gone, after its jobs were seen."""
    site = Site(tmp_path, mode="reset")
    start_job(site.file, 4711, host="scrapped")
    with site.serving() as served:
        see(served, "unknown", "not_configured", host="scrapped")
        assert site.run("hosts", "retire", "scrapped", "--why", "sold").code == 0
        served.scrape_until("heals_total", 1, queue="q", outcome="reset", within=30)
    assert site.started() == []
    [entry] = [one for one in site.run("history", "--json").json["heals"] if one["result"] == "reset"]
    assert (entry["verdict_reason"], entry["evidence"]["why"]) == ("host_retired", "sold")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["heal", "--yes"], "--yes: it says yes to --apply, which is not given"),
        (["heal", "--apply", "--json"], "--json: a program cannot be asked; add --yes to --apply"),
        (["heal", "--started-before", "noon"], "--started-before: 'noon' is no instant"),
        (["heal", "--started-before", "2026-11-22T12:00:00"], "has no time zone"),
        (["heal", "--date-range", "2026-11-02"], "--date-range: '2026-11-02' are not two days"),
        (["heal", "--date-range", "2026-11-02,2026-11-01"], "write the first day first"),
        (["heal", "--queue", "nope"], "--queue: there is no queue 'nope'; the configuration has q"),
        (["history", "--since", "soon"], "--since: 'soon' is neither"),
    ],
)
def test_a_wrong_command_line_is_told(tmp_path: Path, arguments: list[str], message: str) -> None:
    """Exit code 2, and what would be right."""
    refused = Site(tmp_path).run(*arguments)
    assert refused.code == 2
    assert message in refused.err


def test_json_is_json_even_where_there_is_nothing(tmp_path: Path) -> None:
    """An empty list, and exit code 0."""
    site = Site(tmp_path)
    for command in (["heal", "--json"], ["history", "--json"]):
        answer = site.run(*command)
        assert (answer.code, json.loads(answer.out)) == (0, {"version": 1, "heals": []})
