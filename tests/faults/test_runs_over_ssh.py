"""Runs of Meltano on a host that is asked over SSH, as the account that runs them."""

from contextlib import closing

import pytest

from healers.options import HostOptions
from healers.probes.local import SCRIPT
from healers.probes.protocol import HostAnswer, Request, Trace
from healers.probes.ssh import SshProbe
from tests.lab.hosts import ACCOUNTS, Host
from tests.lab.waiting import wait_until

from .afflictions import PYTHON
from .healed_queue import NEVER

ACCOUNT = "worker"
RUN = "5f0c9a52-6b2f-4f5e-9f6c-3d1f5a3d7a11"
LOG = f"/etc/{RUN}/elt.log"
SECRETIVE = (
    f"import os, signal; os.setresuid({ACCOUNTS[ACCOUNT]}, {ACCOUNTS[ACCOUNT]}, {ACCOUNTS[ACCOUNT]}); signal.pause()"
)
"""Becomes the account without being started anew as it, so that the kernel lets nobody look into it."""

ADOPTED = f"""
import ctypes, os, pathlib, signal
pathlib.Path("/proc/self/comm").write_text("sshd")
if not os.fork():
    pathlib.Path("/proc/self/comm").write_text("meltano")
    os.setresuid({ACCOUNTS[ACCOUNT]}, {ACCOUNTS[ACCOUNT]}, {ACCOUNTS[ACCOUNT]})
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
signal.pause()
"""
"""The same, as a child of root's sshd: that may be the first process of a container, to which all orphans go."""


@pytest.fixture
def host(web: Host) -> Host:
    """A host on which the account of the workers may run the probe."""
    web.write("/etc/probe.sh", SCRIPT.read_text())
    web.call(["sh", "-c", f"test -p {NEVER} || mkfifo --mode=644 {NEVER}"])
    web.write(f"/etc/ssh/lab_keys/{ACCOUNT}", f'restrict,command="sh /etc/probe.sh" {web._public_key}\n')
    return web


def ask(probe: SshProbe, *, fresh: bool) -> HostAnswer:
    """Ask about the run."""
    answer = probe.ask(Request(runs=frozenset({RUN})), fresh=fresh)
    assert isinstance(answer, HostAnswer), answer
    return answer


def test_the_account_of_the_workers_sees_its_runs_over_ssh(host: Host) -> None:
    """Also while another is logged in as it; what runs of the account and cannot be looked into hides the runs."""
    host.call(["mkdir", "--parents", "--mode=777", LOG.rpartition("/")[0]])
    pid = host.spawn(["sh", "-c", f"exec 9>{LOG}; read line <{NEVER}"], user=ACCOUNT)
    wait_until(lambda: host.call(["cat", LOG]) == "", within=20, what="the run has its log")
    options = HostOptions(**host.options(user=ACCOUNT, timeout="20s", pid_namespace="own"))
    with closing(SshProbe(options)) as probe, closing(SshProbe(options)) as other:
        for fresh in (False, True):
            assert ask(other, fresh=False).runs_visible
            answer = ask(probe, fresh=fresh)
            assert answer.runs_visible
            assert (pid, Trace.LOG) in {(one.pid, one.trace) for one in answer.traces}
        secretive = host.spawn([PYTHON, "-I", "-S", "-c", SECRETIVE])
        wait_until(lambda: not ask(probe, fresh=False).runs_visible, within=20, what="it cannot be looked into")
        host.kill(secretive)
        assert ask(probe, fresh=False).runs_visible
    host.kill(pid)


def test_only_what_is_sshd_itself_is_its_part_of_a_login(host: Host) -> None:
    """Whose child it is says nothing of what it is."""
    options = HostOptions(**host.options(user=ACCOUNT, timeout="20s", pid_namespace="own"))
    with closing(SshProbe(options)) as probe:
        assert ask(probe, fresh=False).runs_visible
        parent = host.spawn([PYTHON, "-I", "-S", "-c", ADOPTED])
        wait_until(lambda: not ask(probe, fresh=False).runs_visible, within=20, what="it cannot be looked into")
        host.kill(parent)
        wait_until(lambda: ask(probe, fresh=False).runs_visible, within=20, what="it is gone with its parent")
