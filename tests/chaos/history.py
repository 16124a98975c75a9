"""What the databases themselves write down: each change of a row, when, by whose account, and whether under the lock.

By triggers, so in the same transaction as the change. Times are of the machine's clock, whatever a session thinks. What
a claim or a reset has no business with must stay as it was, or the change is an odd one.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from sqlalchemy import make_url

from exporter.address import Address, normalise
from healers.resets.locks import MysqlLock, PostgresqlLock
from tests.lab.mariadb import MariaDb
from tests.lab.postgres import Postgres

from .labour import TABLE

CREATE: Final = (
    "CREATE TABLE chaos_history (number {serial} PRIMARY KEY, at DECIMAL(17, 6), what VARCHAR(10), job BIGINT,"
    " name VARCHAR(255), host VARCHAR(100), pid VARCHAR(15), worker VARCHAR(100), account VARCHAR(100), locked INT)"
)
INSERT: Final = "INSERT INTO chaos_history (at, what, job, name, host, pid, worker, account, locked) VALUES"
CLAIM: Final = frozenset({"status", "ts_started", "processing_host", "process_id"})
BORN: Final = f"""
CREATE TRIGGER chaos_born AFTER INSERT ON {TABLE} FOR EACH ROW {INSERT}
(UNIX_TIMESTAMP(SYSDATE(6)), 'born', NEW.idinvalidation, NEW.name, NEW.processing_host, NEW.process_id,
    @chaos_worker, USER(), 0)
"""
CHANGED: Final = f"""
CREATE TRIGGER chaos_changed AFTER UPDATE ON {TABLE} FOR EACH ROW {INSERT}
(UNIX_TIMESTAMP(SYSDATE(6)), CASE WHEN NOT ($same) THEN 'odd'
    WHEN OLD.status = 0 AND NEW.status = 1 THEN 'claimed'
    WHEN OLD.status = 1 AND NEW.status = 0 AND COALESCE(NEW.ts_started, NEW.processing_host, NEW.process_id) IS NULL
        THEN 'reset' ELSE 'odd' END, OLD.idinvalidation, OLD.name,
    COALESCE(NEW.processing_host, OLD.processing_host), COALESCE(NEW.process_id, OLD.process_id),
    @chaos_worker, USER(), COALESCE(IS_USED_LOCK('$lock') = CONNECTION_ID(), 0))
"""
ENDED: Final = f"""
CREATE TRIGGER chaos_ended AFTER DELETE ON {TABLE} FOR EACH ROW {INSERT}
(UNIX_TIMESTAMP(SYSDATE(6)), 'ended', OLD.idinvalidation, OLD.name, OLD.processing_host, OLD.process_id,
    @chaos_worker, USER(), 0)
"""
MOVING: Final = "{state, ended_at, payload, last_heartbeat_at}"
POSTGRESQL: Final = f"""
CREATE FUNCTION chaos_note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    worker text := NULLIF(current_setting('chaos.worker', true), '');
    kept jsonb := to_jsonb(OLD) - '{MOVING}'::text[];
    what text := CASE WHEN TG_OP = 'INSERT' THEN 'claimed' WHEN TG_OP = 'DELETE' THEN 'odd'
        WHEN kept <> to_jsonb(NEW) - '{MOVING}'::text[] THEN 'odd'
        WHEN OLD.state = NEW.state AND worker IS NOT NULL THEN 'beat'
        WHEN OLD.state = 'RUNNING' AND NEW.state = 'SUCCESS' THEN 'ended'
        WHEN OLD.state = 'RUNNING' AND NEW.state = 'FAIL'
            AND OLD.payload::jsonb - 'error' = NEW.payload::jsonb - 'error'
            AND OLD.last_heartbeat_at IS NOT DISTINCT FROM NEW.last_heartbeat_at THEN 'reset' ELSE 'odd' END;
BEGIN
    IF what = 'beat' THEN RETURN NULL; END IF;
    {INSERT} (extract(epoch FROM clock_timestamp()), what, COALESCE(NEW.id, OLD.id),
        COALESCE(NEW.run_id, OLD.run_id)::text, NULL, NULL, worker, session_user,
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted
            AND objsubid = 1 AND (classid::bigint << 32) | objid::bigint = $lock));
    RETURN NULL;
END $$
"""
TRIGGER: Final = (
    "CREATE TRIGGER chaos AFTER INSERT OR UPDATE OR DELETE ON runs FOR EACH ROW EXECUTE FUNCTION chaos_note()"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of a row: it was `born`, `claimed`, `ended` by its worker, or `reset`; anything else is `odd`.

    `name` is what the job is called in the workers' log; `worker` who did it by its own word, None where a healer did.
    """

    at: float
    what: str
    job: str
    name: str
    host: str | None
    pid: str | None
    worker: str | None
    account: str
    has_lock: bool


def watch_matomo(server: MariaDb, database: str) -> None:
    """Write down what happens to invalidations from now on."""
    lock = MysqlLock(Address(url=normalise(make_url(server.root_url(database)))), f"`{TABLE}`")
    columns = server.sql(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s",
        database,
        TABLE,
    )
    same = " AND ".join(f"OLD.{column} <=> NEW.{column}" for (column,) in columns if column not in CLAIM)
    server.sql(CREATE.format(serial="BIGINT AUTO_INCREMENT"), database=database)
    for statement in (BORN, CHANGED, ENDED):
        server.sql(statement.replace("$lock", lock._bound["name"]).replace("$same", same), database=database)


def watch_meltano(server: Postgres, database: str) -> None:
    """Write down what happens to runs from now on."""
    number = str(PostgresqlLock("runs")._bound["number"])
    for statement in (CREATE.format(serial="BIGSERIAL"), POSTGRESQL.replace("$lock", number), TRIGGER):
        server.sql(statement, database=database)


def read_history(server: MariaDb | Postgres, database: str) -> list[Change]:
    """Return all that was written down, in the order in which it was done."""
    rows = server.sql(
        "SELECT at, what, job, name, host, pid, worker, account, locked FROM chaos_history ORDER BY number",
        database=database,
    )
    return [
        Change(
            at=float(at if isinstance(at, Decimal) else Decimal(str(at))),
            what=what,
            job=str(job),
            name=name,
            host=host,
            pid=pid,
            worker=worker or None,
            account=account.partition("@")[0],
            has_lock=bool(locked),
        )
        for at, what, job, name, host, pid, worker, account, locked in rows
    ]
