"""Evidence that is not about this very worker: what was seen of another process, boot, namespace or machine.

Each worker here is alive, and its job stays its own, however dead what was taken for it may be.
"""

from pathlib import Path

import pytest

from exporter.jobs import JobId
from healers.probes.protocol import Relative, Tie
from healers.verdicts import Liveness, Reason
from tests.builders import a_process
from tests.lab.watchdog import PlayedHost, Watchdog, let_confirm, machine_id_of

from .healing_benches import DEAD_PID, HOST, HealingBench, on_sqlite, played_host

PID = 300
NAMESPACE = 4_026_532_200
TICKS = 1_000


@pytest.fixture
def bench(tmp_path: Path) -> HealingBench:
    """A table on SQLite, with a worker that lives."""
    return on_sqlite(tmp_path)


def no_start_time(bench: HealingBench, pid: int = PID) -> str:
    """Add a job that a worker has taken without saying when."""
    job = bench.start(pid=str(pid))
    bench.table.sql("UPDATE jobs SET begun = NULL WHERE id = ?", int(job))
    return job


def test_a_job_without_start_time_may_be_claimed_by_the_next_boot(bench: HealingBench) -> None:
    """Its worker has the pid that the last boot's had, as on hosts where the same is begun each time.

    Nothing tells the two claims apart; that the earlier worker is dead says nothing of this one.
    """
    job, host = no_start_time(bench), played_host()
    gone = no_start_time(bench, DEAD_PID)
    host.processes[PID] = a_process(PID)
    config = bench.write_config(heal_after="1s")
    with Watchdog(config, {HOST: host}) as dog:
        dog.look()
        assert dog.verdicts("q")[JobId(job)] == (Liveness.ALIVE, Reason.RUNNING)
    host.boot_id, host.uptime = "00000000-0000-0000-0000-000000000002", "0s"
    host.processes[PID] = a_process(PID, ticks=TICKS)
    with Watchdog(config, {HOST: host}) as dog:
        dog.look_twice()
        assert dog.verdicts("q")[JobId(job)] == (Liveness.ALIVE, Reason.RUNNING)
    assert not bench.resets()[job]
    assert bench.resets()[gone] == 1


def test_a_probe_that_moves_to_another_pid_namespace_sees_other_processes(bench: HealingBench) -> None:
    """A container is replaced by one of the same image and name, and the first one still ends its work."""
    job, host = bench.start(pid=str(PID)), played_host()
    host.processes[PID], host.pid_namespace = a_process(PID), NAMESPACE
    options = {"via": "local", "machine_id": machine_id_of(HOST), "pid_namespace": "own"}
    with Watchdog(bench.write_config(more_hosts={HOST: options}), {HOST: host}) as dog:
        dog.look()
        assert dog.verdicts("q")[JobId(job)] == (Liveness.ALIVE, Reason.RUNNING)
        host.processes, host.pid_namespace = {}, NAMESPACE + 1
        dog.look_twice()
        assert dog.verdicts("q")[JobId(job)] == (Liveness.UNKNOWN, Reason.TWO_MACHINES)
    assert not bench.resets()


def test_a_worker_in_a_container_is_not_its_namesake_outside(bench: HealingBench) -> None:
    """A host's own archiver had the same pid as the one inside, was taken for it, and has ended."""
    job, host = bench.start(pid=str(PID)), played_host()
    host.processes[PID] = a_process(PID)
    with Watchdog(bench.write_config(), {HOST: host}) as dog:
        dog.look()
        del host.processes[PID]
        host.relatives = (Relative(pid=9_000, tie=Tie.NAMESPACE, asked_pid=PID),)
        dog.look_twice()
        assert dog.verdicts("q")[JobId(job)] == (Liveness.UNKNOWN, Reason.PID_NAMESPACE)
        assert not bench.resets()
        host.relatives = ()
        dog.look_twice()
    assert bench.resets() == {job: 1}


def test_a_host_that_turns_out_to_have_a_twin_proves_nothing(bench: HealingBench) -> None:
    """Both proofs were there when the other one answered first: which of them the worker is on, nobody knows."""
    (job,) = bench.kill()
    host, twin = played_host(), PlayedHost("web2")
    twin.machine_id = host.machine_id
    config = bench.write_config(mode="dry_run", more_hosts={"web2": {"via": "local"}})
    with Watchdog(config, {HOST: host, "web2": twin}) as dog:
        first, second = dog.app.askers
        for poller in dog.app.pollers:
            poller.poll()
        first.ask()
        let_confirm()
        first.ask()
        assert dog.verdicts("q")[JobId(job)] == (Liveness.DEAD, Reason.NO_PROCESS)
        second.ask()
        assert dog.verdicts("q")[JobId(job)] == (Liveness.UNKNOWN, Reason.NOT_ASKED)
        held = dog.app.believe(dog.app.pollers[0].name)
        assert held is not None
        assert not held.suspects
        first.ask()
        assert dog.verdicts("q")[JobId(job)] == (Liveness.UNKNOWN, Reason.DUPLICATE_HOST_KEY)
