"""The lab waits without luck, shares what is shared, and leaves nothing behind."""

import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import installed
from tests.lab import processes, run
from tests.lab.daemon import Daemon
from tests.lab.programs import program
from tests.lab.waiting import wait_until


def test_waiting_returns_the_first_truthy_value() -> None:
    """The value is handed on, and exceptions before it do not matter."""
    answers: Iterator[int | Exception] = iter([0, ZeroDivisionError(), 7])

    def condition() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert wait_until(condition, within=5, what="seven") == 7


def test_waiting_in_vain_says_for_what_and_what_was_seen() -> None:
    """Without this a failed wait is a riddle."""
    with pytest.raises(AssertionError, match=r"the moon: not within 0 s; last seen: \[\]"):
        wait_until(list, within=0, what="the moon")
    with pytest.raises(AssertionError, match=r"last seen: ZeroDivisionError"):
        wait_until(lambda: 1 // 0, within=0, what="the moon")


def test_a_disowned_server_goes_on_and_is_stopped_by_another(tmp_path: Path) -> None:
    """By whom else knows its pid, and without a warning that nobody waited for it."""
    starter, stopper = (Daemon(["sleep", "600"], log=tmp_path / "log") for _ in range(2))
    starter.start(ready=lambda: True)
    starter.disown()
    stopper.adopt(starter.details())
    del starter
    gc.collect()
    assert stopper.is_running
    stopper.stop()
    assert processes.look(stopper.pid) is None
    os.waitpid(stopper.pid, 0)


class Tent:
    """A server that is none, to see when it is put up and taken down."""

    def __init__(self) -> None:
        self.ends: list[str] = []

    def details(self) -> run.Details:
        """Nothing to tell."""
        return {"pid": 0}

    def disown(self) -> None:
        """Left standing."""
        self.ends.append("left")

    def close(self) -> None:
        """Taken down."""
        self.ends.append("closed")


def test_a_shared_server_is_stopped_by_the_last_who_needs_it() -> None:
    """Whoever started it; and one that is needed again is started again."""
    first, second, third = Tent(), Tent(), Tent()
    with run.shared("tent", start=lambda: first, attach=lambda _: third) as one:
        with run.shared("tent", start=lambda: third, attach=lambda _: second) as other:
            assert (one, other) == (first, second)
        assert second.ends == ["left"]
    assert first.ends == ["closed"]
    with run.shared("tent", start=lambda: third, attach=lambda _: first) as again:
        assert again is third


def test_a_worker_that_has_crashed_holds_no_server() -> None:
    """Else the server of a run with a crash would never be stopped."""
    crashed = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True)
    register = run.folder() / "camp.json"
    register.write_text(json.dumps({"details": {"pid": 0}, "holders": [int(crashed.stdout)]}))
    tent = Tent()
    with run.shared("camp", start=Tent, attach=lambda _: tent):
        pass
    assert tent.ends == ["closed"]


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_a_missing_program_skips_but_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    """CI can install it, so nothing may be left out there."""
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no-such-server is not installed: apt-get install it"), installed():
        program("no-such-server", package="it")


LEFT_BEHIND = """
import subprocess
def test_leaves_a_process():
    subprocess.Popen(["sleep", "60"]).returncode = 0
"""


def test_a_run_that_leaves_a_process_fails(tmp_path: Path) -> None:
    """The process is named and killed, and all tests having passed does not help."""
    (tmp_path / "test_left.py").write_text(LEFT_BEHIND)
    root = Path(__file__).parents[2]
    options = ["-p", "tests.conftest", "-p", "no:cacheprovider", "-n", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=root,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in done.stdout
    assert ": sleep 60" in done.stdout
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
