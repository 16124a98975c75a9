"""The figures that every exporter of Matomo's queue publishes, as the queries of one that takes SQL from its user.

One query is one metric; the column of its value has its name, the other columns are its labels. Such an exporter takes
the names of states and kinds from SQL. `PLAIN` groups by those names, as one writes it at first; `TUNED` groups by the
numbers and names the few rows that come of it, as one writes it who has looked at the plan.
"""

from dataclasses import dataclass

from bench.ground import TABLE

STATE = "CASE status WHEN 0 THEN 'waiting' WHEN 1 THEN 'started' ELSE 'other' END"
KIND = "CASE period WHEN 1 THEN 'day' WHEN 2 THEN 'week' WHEN 3 THEN 'month' WHEN 4 THEN 'year' ELSE 'range' END"
AGE = "COALESCE(MAX(TIMESTAMPDIFF(SECOND, ts_invalidated, UTC_TIMESTAMP())), 0)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One metric, and the query that gives its samples."""

    name: str
    labels: tuple[str, ...]
    sql: str


STARTED = (
    Figure(
        name="oldest_started_age_seconds",
        labels=(),
        sql="SELECT COALESCE(MAX(UNIX_TIMESTAMP() - UNIX_TIMESTAMP(ts_started)), 0) AS oldest_started_age_seconds"
        f" FROM {TABLE} WHERE status = 1",
    ),
    Figure(
        name="host_started_jobs",
        labels=("worker_host",),
        sql="SELECT COALESCE(processing_host, 'none') AS worker_host, COUNT(*) AS host_started_jobs"
        f" FROM {TABLE} WHERE status = 1 GROUP BY worker_host",
    ),
)
PLAIN = (
    Figure(
        name="jobs",
        labels=("state",),
        sql=f"SELECT {STATE} AS state, COUNT(*) AS jobs FROM {TABLE} GROUP BY state",
    ),
    *STARTED,
    Figure(
        name="oldest_waiting_age_seconds",
        labels=("kind",),
        sql=f"SELECT {KIND} AS kind, {AGE} AS oldest_waiting_age_seconds FROM {TABLE} WHERE status = 0 GROUP BY kind",
    ),
)
TUNED = (
    Figure(
        name="jobs",
        labels=("state",),
        sql=f"SELECT {STATE} AS state, jobs FROM"
        f" (SELECT status, COUNT(*) AS jobs FROM {TABLE} GROUP BY status) AS found",
    ),
    *STARTED,
    Figure(
        name="oldest_waiting_age_seconds",
        labels=("kind",),
        sql=f"SELECT {KIND} AS kind, age AS oldest_waiting_age_seconds FROM"
        f" (SELECT period, {AGE} AS age FROM {TABLE} WHERE status = 0 GROUP BY period) AS found",
    ),
)


def many(series: int) -> Figure:
    """Return a figure of so many series."""
    return Figure(
        name="site_jobs",
        labels=("site",),
        sql=f"SELECT CAST(idsite AS CHAR) AS site, COUNT(*) AS site_jobs FROM {TABLE}"
        f" WHERE idsite <= {series} GROUP BY idsite",
    )
