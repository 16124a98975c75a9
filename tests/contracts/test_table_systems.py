"""Four systems' own tables, watched with the very configurations, rights and view that the guide shows.

The tables are written anew, with the names and types of the real ones:
- delayed_job_active_record 4.1.5, lib/generators/delayed_job/templates/migration.rb; what `locked_by` holds is in
  delayed_job's lib/delayed/worker.rb and command.rb;
- Solid Queue 1.3.1, lib/generators/solid_queue/install/templates/db/queue_schema.rb;
- Airflow 3.1, airflow-core/src/airflow/models/taskinstance.py;
- Procrastinate 3.10.0, procrastinate/sql/schema.sql.
Rails makes `timestamp(6)` of a datetime on PostgreSQL and `datetime(6)` on MySQL, both UTC.
"""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from exporter.jobs import Attempt, QueueName, Snapshot
from exporter.queues.table import TableOptions, TableQueue
from exporter.secrets import read_url
from queuemedic.config import load
from queuemedic.systems import OPTIONS

from .tables import Place, place_on

GUIDE = Path(__file__).parents[2] / "docs" / "howto" / "watch-any-table.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HOUR = timedelta(hours=1)

DELAYED_JOBS = """
CREATE TABLE delayed_jobs (
    id {id}, priority INT NOT NULL DEFAULT 0, attempts INT NOT NULL DEFAULT 0, handler TEXT NOT NULL, last_error TEXT,
    run_at {time} NULL, locked_at {time} NULL, failed_at {time} NULL, locked_by VARCHAR(255), queue VARCHAR(255),
    created_at {time} NULL, updated_at {time} NULL
)
"""
SOLID_QUEUE = """
CREATE TABLE solid_queue_jobs (
    id {id}, queue_name VARCHAR(255) NOT NULL, class_name VARCHAR(255) NOT NULL, arguments TEXT,
    priority INT NOT NULL DEFAULT 0, active_job_id VARCHAR(255), scheduled_at {time} NULL, finished_at {time} NULL,
    concurrency_key VARCHAR(255), created_at {time} NOT NULL, updated_at {time} NOT NULL
);
CREATE TABLE solid_queue_ready_executions (
    id {id}, job_id BIGINT NOT NULL, queue_name VARCHAR(255) NOT NULL, priority INT NOT NULL DEFAULT 0,
    created_at {time} NOT NULL
);
CREATE TABLE solid_queue_claimed_executions (
    id {id}, job_id BIGINT NOT NULL, process_id BIGINT, created_at {time} NOT NULL
);
CREATE TABLE solid_queue_processes (
    id {id}, kind VARCHAR(255) NOT NULL, last_heartbeat_at {time} NOT NULL, supervisor_id BIGINT, pid INT NOT NULL,
    hostname VARCHAR(255), metadata TEXT, created_at {time} NOT NULL, name VARCHAR(255) NOT NULL
)
"""
AIRFLOW = """
CREATE TABLE task_instance (
    id uuid PRIMARY KEY, task_id varchar(250) NOT NULL, dag_id varchar(250) NOT NULL, run_id varchar(250) NOT NULL,
    map_index integer NOT NULL DEFAULT -1, start_date timestamptz, end_date timestamptz, duration double precision,
    state varchar(20), try_number integer, hostname varchar(1000), pool varchar(256) NOT NULL, queue varchar(256),
    queued_dttm timestamptz, scheduled_dttm timestamptz, last_heartbeat_at timestamptz, pid integer,
    updated_at timestamptz
);
CREATE INDEX ti_state ON task_instance (state)
"""
PROCRASTINATE = """
CREATE TYPE procrastinate_job_status AS ENUM
    ('todo', 'doing', 'succeeded', 'failed', 'cancelled', 'aborting', 'aborted');
CREATE TYPE procrastinate_job_event_type AS ENUM
    ('deferred', 'started', 'deferred_for_retry', 'failed', 'succeeded', 'cancelled', 'abort_requested', 'aborted',
     'scheduled');
CREATE TABLE procrastinate_workers (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, last_heartbeat timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE procrastinate_jobs (
    id bigserial PRIMARY KEY, queue_name varchar(128) NOT NULL, task_name varchar(128) NOT NULL,
    priority integer NOT NULL DEFAULT 0, lock text, queueing_lock text, args jsonb NOT NULL DEFAULT '{}',
    status procrastinate_job_status NOT NULL DEFAULT 'todo', scheduled_at timestamptz, attempts integer NOT NULL
    DEFAULT 0, abort_requested boolean NOT NULL DEFAULT false,
    worker_id bigint REFERENCES procrastinate_workers (id) ON DELETE SET NULL
);
CREATE TABLE procrastinate_events (
    id bigserial PRIMARY KEY, job_id bigint NOT NULL REFERENCES procrastinate_jobs ON DELETE CASCADE,
    type procrastinate_job_event_type, at timestamptz DEFAULT now()
);
CREATE INDEX procrastinate_events_job_id_fkey_v1 ON procrastinate_events (job_id)
"""
RAILS = {
    "mariadb": {"id": "BIGINT AUTO_INCREMENT PRIMARY KEY", "time": "DATETIME(6)"},
    "postgres": {"id": "bigserial PRIMARY KEY", "time": "timestamp(6)"},
}
UTC = {
    "mariadb": "(UTC_TIMESTAMP(6) + INTERVAL {} HOUR)",
    "postgres": "(now() AT TIME ZONE 'UTC' + interval '{} hours')",
}


class Guided:
    """The queue of one section of the guide, on a database that has the system's tables."""

    def __init__(self, place: Place, folder: Path, *, section: str, which: int = 0) -> None:
        """Run the section's SQL and read its configuration; `which` is the database, where it shows several."""
        text = re.split(r"^## ", GUIDE.read_text(), flags=re.MULTILINE)
        (found,) = [part for part in text if part.startswith(f"{section}\n")]
        blocks = FENCE.findall(found)
        self._grants = [block for language, block in blocks if language == "sql"][which]
        file = folder / "queuemedic.yml"
        file.write_text([block for language, block in blocks if language == "yaml"][which])
        ((name, queue),) = load(file, {"QUEUEMEDIC_PASSWORD": "x"}, OPTIONS).queues.items()
        assert isinstance(queue.options, TableOptions)
        self.name, self.options, self.place = name, queue.options, place

    def run_sql(self) -> None:
        """Run what an administrator runs, but for the account."""
        for statement in re.split(r";\n", self._grants):
            if statement.startswith("CREATE VIEW"):
                self.place.sql(statement)

    def open(self) -> TableQueue:
        """Open the queue with an account that has the rights that the section grants."""
        written = re.findall(r"GRANT (SELECT .*?)\s+TO ", self._grants, re.DOTALL)
        url = read_url(self.place.url(*(written or ["SELECT ON queuemedic_jobs"])))
        return TableQueue(QueueName(self.name), self.options.model_copy(update={"url": url}))

    def read(self) -> Snapshot:
        """Read the queue once."""
        queue = self.open()
        try:
            return queue.read(None)
        finally:
            queue.close()


def make(place: Place, ddl: str) -> None:
    """Make a system's tables."""
    for statement in ddl.split(";"):
        place.sql(statement if "{}" in statement else statement.format(**RAILS[place.name]))


def waiting(snapshot: Snapshot) -> dict[str, int]:
    """Return the waiting jobs by kind, those there are."""
    return {entry.kind: entry.jobs for entry in snapshot.waiting if entry.jobs}


def by_id(snapshot: Snapshot) -> list[Attempt]:
    """Return the attempts in the order of their ids."""
    return sorted(snapshot.started, key=lambda attempt: attempt.job_id)


def is_about(age: timedelta | None, hours: int) -> bool:
    """Whether an age is as many hours, and a few seconds."""
    return age is not None and hours * HOUR <= age < hours * HOUR + timedelta(seconds=10)


@pytest.fixture(params=["mariadb", "postgres"])
def rails(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A database as Rails uses it."""
    with place_on(request.param, request) as made:
        yield made


@pytest.fixture
def postgres_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A database on PostgreSQL."""
    with place_on("postgres", request) as made:
        yield made


def test_delayed_job(rails: Place, tmp_path: Path) -> None:
    """Failed jobs and those to be run later are none; host and pid come out of `locked_by`."""
    make(rails, DELAYED_JOBS)
    at = UTC[rails.name]
    for run_at, locked_at, failed_at, locked_by, queue in (
        (-2, None, None, None, "mail"),
        (-1, None, None, None, None),
        (+1, None, None, None, "mail"),
        (-9, None, -8, None, "mail"),
        (-9, -8, -8, "host:web1 pid:1", "mail"),
        (-6, -5, None, "host:web1.example.org pid:4711", "mail"),
        (-6, -3, None, "delayed_job.0 host:web2 pid:12", None),
        (-6, -1, None, "pid:77", None),
        (-6, -1, None, "my worker", None),
    ):
        times = ", ".join("NULL" if hours is None else at.format(hours) for hours in (run_at, locked_at, failed_at))
        insert = (
            f"INSERT INTO delayed_jobs (handler, run_at, locked_at, failed_at, locked_by, queue) VALUES ('', {times}"
        )
        rails.sql(f"{insert}, %s, %s)", locked_by, queue)
    guided = Guided(rails, tmp_path, section="delayed_job", which=["postgres", "mariadb"].index(rails.name))
    snapshot = guided.read()
    assert waiting(snapshot) == {"mail": 1, "default": 1}
    assert all(is_about(entry.oldest_age, {"mail": 2, "default": 1}[entry.kind]) for entry in snapshot.waiting)
    assert [(attempt.host, attempt.pid, attempt.kind) for attempt in by_id(snapshot)] == [
        ("web1.example.org", 4711, "mail"),
        ("web2", 12, "default"),
        (None, 77, "default"),
        (None, None, "default"),
    ]
    assert is_about(by_id(snapshot)[0].age, 5)


def test_solid_queue(rails: Place, tmp_path: Path) -> None:
    """Through the view; a claimed job whose worker is gone has no heartbeat."""
    make(rails, SOLID_QUEUE)
    now, old, older = (UTC[rails.name].format(hours) for hours in (0, -1, -2))
    for queue in ("mail", "default", "mail", "mail", "mail"):
        rails.sql(
            "INSERT INTO solid_queue_jobs (queue_name, class_name, scheduled_at, created_at, updated_at)"
            f" VALUES ('{queue}', 'Job', {older}, {older}, {older})"
        )
    rails.sql(
        "INSERT INTO solid_queue_ready_executions (job_id, queue_name, created_at)"
        f" VALUES (1, 'mail', {old}), (2, 'default', {older})"
    )
    rails.sql(
        "INSERT INTO solid_queue_processes (kind, last_heartbeat_at, pid, hostname, created_at, name)"
        f" VALUES ('Worker', {now}, 4711, 'web1', {older}, 'a'), ('Worker', {old}, 12, 'web2', {older}, 'b')"
    )
    rails.sql(
        "INSERT INTO solid_queue_claimed_executions (job_id, process_id, created_at)"
        f" VALUES (3, 1, {old}), (4, 2, {old}), (5, 99, {old})"
    )
    guided = Guided(rails, tmp_path, section="Solid Queue")
    guided.run_sql()
    snapshot = guided.read()
    assert waiting(snapshot) == {"mail": 1, "default": 1}
    alive, hung, orphan = by_id(snapshot)
    assert [(attempt.job_id, attempt.host, attempt.pid) for attempt in (alive, hung, orphan)] == [
        ("3", "web1", 4711),
        ("4", "web2", 12),
        ("5", None, None),
    ]
    assert all(is_about(attempt.age, 1) and is_about(attempt.enqueued_age, 2) for attempt in snapshot.started)
    assert (is_about(alive.heartbeat_age, 0), is_about(hung.heartbeat_age, 1), orphan.heartbeat_age) == (
        True,
        True,
        None,
    )


def test_airflow(postgres_place: Place, tmp_path: Path) -> None:
    """Queued and running tasks, of a table that keeps all that ever ran; UUIDs, and the index on `state`."""
    make(postgres_place, AIRFLOW)
    postgres_place.sql(
        "INSERT INTO task_instance (id, task_id, dag_id, run_id, pool, state, hostname, pid, queued_dttm, start_date,"
        " last_heartbeat_at) SELECT gen_random_uuid(), 't', 'etl', 'r', 'default_pool', state, host, pid,"
        " now() - interval '3 hours', now() + started, now() + beat FROM (VALUES"
        " ('queued', '', NULL, NULL, NULL), ('running', 'worker1', 55, interval '-2 hours', interval '-1 hour'),"
        " ('success', 'worker1', 56, interval '-2 hours', interval '-2 hours'), ('scheduled', '', NULL, NULL, NULL),"
        " (NULL, '', NULL, NULL, NULL)) AS rows (state, host, pid, started, beat)"
    )
    guided = Guided(postgres_place, tmp_path, section="Airflow")
    queue = guided.open()
    snapshot = queue.read(None)
    assert waiting(snapshot) == {"etl": 1}
    (attempt,) = snapshot.started
    assert (attempt.host, attempt.pid, len(attempt.job_id)) == ("worker1", 55, 36)
    assert is_about(attempt.age, 2)
    assert is_about(attempt.enqueued_age, 3)
    assert is_about(attempt.heartbeat_age, 1)
    postgres_place.sql(
        "INSERT INTO task_instance (id, task_id, dag_id, run_id, pool, state, queued_dttm)"
        " VALUES (gen_random_uuid(), 't', 'etl', 'r', 'default_pool', 'queued', now())"
    )
    postgres_place.sql("UPDATE task_instance SET state = 'success' WHERE state = 'running'")
    second = queue.read(snapshot.cursor)
    queue.close()
    assert (second.waiting[0].enqueued, second.left_started) == (1, {})


def test_procrastinate(postgres_place: Place, tmp_path: Path) -> None:
    """Times come from its events, heartbeats from its workers; what is scheduled for later does not wait."""
    make(postgres_place, PROCRASTINATE)
    postgres_place.sql("INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now()), (now() - interval '1 hour')")
    for status, worker, scheduled, events in (
        ("todo", None, None, {"deferred": 3}),
        ("todo", None, -1, {"deferred": 3, "scheduled": 1}),
        ("todo", None, 1, {"deferred": 3}),
        ("doing", 1, None, {"deferred": 4, "started": 2}),
        ("doing", 2, None, {"deferred": 9, "started": 8, "deferred_for_retry": 5}),
        ("doing", None, None, {"deferred": 4, "started": 1}),
        ("succeeded", None, None, {"deferred": 4, "started": 2}),
    ):
        ((job,),) = postgres_place.sql(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, status, worker_id, scheduled_at)"
            " VALUES ('q', 'task', %s, %s, now() + make_interval(hours => %s)) RETURNING id",
            *(status, worker, scheduled),
        )
        for event, hours in events.items():
            postgres_place.sql(
                "INSERT INTO procrastinate_events (job_id, type, at)"
                " VALUES (%s, %s, now() - make_interval(hours => %s))",
                *(job, event, hours),
            )
    guided = Guided(postgres_place, tmp_path, section="Procrastinate")
    snapshot = guided.read()
    assert waiting(snapshot) == {"task": 2}
    assert is_about(snapshot.waiting[0].oldest_age, 3)
    alive, hung, orphan = by_id(snapshot)
    assert [is_about(alive.age, 2), is_about(hung.age, 8), is_about(orphan.age, 1)] == [True] * 3
    assert is_about(hung.enqueued_age, 5)
    assert (is_about(alive.heartbeat_age, 0), is_about(hung.heartbeat_age, 1), orphan.heartbeat_age) == (
        True,
        True,
        None,
    )
