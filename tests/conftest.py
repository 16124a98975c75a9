"""Fixtures: servers shared by all tests of a run, servers of a test's own, and the check that nothing is left.

A missing program skips the tests that need it; where CI is in the environment it fails them.
"""

import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import structlog

from tests.lab import matomo, proxy, run
from tests.lab.hosts import Hosts, NotAllowed
from tests.lab.mariadb import MariaDb
from tests.lab.meltano import Project
from tests.lab.postgres import Postgres
from tests.lab.programs import NotInstalled

RUN = pytest.StashKey[Path]()

# How long one example takes is the machine's business, which other tests share.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


def pytest_configure(config: pytest.Config) -> None:
    """Begin the run, in the process that was started by hand: its environment tells the workers of xdist.

    A shell that starts it in the background has it ignore SIGINT, which whatever it starts would inherit.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        config.stash[RUN] = path = run.begin()
        config.add_cleanup(lambda: run.end(path))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, object, object]:
    """Fail the run if a process it has started is still there after all fixtures and workers are gone."""
    result = yield
    path = session.config.stash.get(RUN, None)
    left = run.kill_left(path) if path is not None else []
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        session.config.get_terminal_writer().line("\nleft running, now killed:\n" + "\n".join(left), red=True)
    return result


def pytest_runtest_teardown() -> None:
    """Undo what a command that a test ran in this process has set about events: most show no others than errors."""
    structlog.reset_defaults()


@pytest.fixture(scope="session", autouse=True)
def no_threads_left() -> Iterator[None]:
    """Fail the last test of a worker if a thread of the lab outlives it."""
    yield
    left = [thread for thread in threading.enumerate() if thread.name == proxy.THREADS]
    assert left == []


@contextmanager
def installed() -> Iterator[None]:
    """Skip if a program is missing, or fail where CI has to install it."""
    try:
        yield
    except NotInstalled as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))


@contextmanager
def lab_hosts() -> Iterator[Hosts]:
    """Make hosts that can be asked over SSH; skip where none can be made."""
    with installed():
        try:
            made = Hosts()
        except NotAllowed as reason:
            pytest.skip(str(reason))
    with made:
        yield made


def _start_mariadb() -> MariaDb:
    with ExitStack() as undo:
        server = undo.enter_context(MariaDb())
        server.load_time_zones()
        undo.pop_all()
        return server


def _start_postgres() -> Postgres:
    server = Postgres()
    server.start()
    return server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDb]:
    """The run's MariaDB, in UTC, knowing three zones by name: for tests that leave the server itself alone."""
    with installed(), run.shared("mariadb", start=_start_mariadb, attach=MariaDb.attach) as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The run's PostgreSQL, in UTC: for tests that leave the server itself alone."""
    with installed(), run.shared("postgres", start=_start_postgres, attach=Postgres.attach) as server:
        yield server


@pytest.fixture
def matomo_database(mariadb: MariaDb) -> Iterator[str]:
    """A new database on the run's MariaDB with the tables of Matomo 5.3, empty but for three sites."""
    with mariadb.database() as database:
        matomo.create_tables(mariadb, database)
        yield database


@pytest.fixture
def private_mariadb() -> Iterator[Callable[..., MariaDb]]:
    """A maker of servers that belong to the test alone, to be stopped, killed, frozen or set up otherwise.

    It takes what `MariaDb` takes and returns a server that answers, within 0.3 s.
    """
    with ExitStack() as servers:

        def make(**options: Any) -> MariaDb:
            with installed():
                return servers.enter_context(MariaDb(**options))

        yield make


@pytest.fixture
def meltano_project() -> Iterator[Callable[..., Project]]:
    """A maker of Meltano projects, which takes what `meltano.Project` takes; the first of a release installs it."""
    with ExitStack() as projects:

        def make(*arguments: str, **options: Any) -> Project:
            with installed():
                project = Project(*arguments, **options)
            projects.callback(project.close)
            return project

        yield make
