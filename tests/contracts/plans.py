"""What the statements of a poll cost a server: each is kept as it was sent and run once more, and what it read counted.

Counted by the server itself (MariaDB: the session's status; PostgreSQL: EXPLAIN ANALYZE), not guessed from a plan: a
plan says how rows are reached, not how many of them.
"""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy import event, make_url
from sqlalchemy.engine import Engine

from tests.lab.mariadb import MariaDb
from tests.lab.postgres import Postgres

Sent = list[tuple[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One statement: rows read from tables, rows sorted, and how often a sort or a temporary table went to disk."""

    statement: str
    rows: int
    sorted: int
    spills: int


@contextmanager
def statements() -> Iterator[Sent]:
    """Collect every statement that is sent, with its values."""
    sent: Sent = []

    def keep(_connection: object, _cursor: object, statement: str, values: object, *_: object) -> None:
        sent.append((statement, values))

    event.listen(Engine, "before_cursor_execute", keep)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", keep)


def mariadb_costs(server: MariaDb, database: str, sent: Sent, *, about: str) -> list[Cost]:
    """Return what the statements that name `about` cost."""
    costs = []
    with server.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION sql_mode = ''")
        for statement, values in sent:
            if about not in statement:
                continue
            cursor.execute("FLUSH STATUS")
            cursor.execute(statement, values)
            cursor.fetchall()
            cursor.execute("SHOW SESSION STATUS")
            status = {str(name).lower(): value for name, value in cursor.fetchall()}
            costs.append(
                Cost(
                    statement=statement,
                    rows=int(status["rows_read"]),
                    sorted=int(status["sort_rows"]),
                    spills=int(status["sort_merge_passes"]) + int(status["created_tmp_disk_tables"]),
                )
            )
    return costs


def postgres_costs(server: Postgres, database: str, sent: Sent, *, about: str) -> list[Cost]:
    """Return what the statements that name `about` cost."""
    url = make_url(server.root_url(database)).set(drivername="postgresql")
    costs = []
    with closing(psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)) as connection:
        for statement, values in sent:
            if about not in statement:
                continue
            found = connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}".encode(), values).fetchone()
            assert found
            plan = found[0] if isinstance(found[0], list) else json.loads(found[0])
            nodes = list(_nodes(plan[0]["Plan"]))
            costs.append(
                Cost(
                    statement=statement,
                    rows=sum(_rows(node) for node in nodes if "Relation Name" in node),
                    sorted=sum(node["Actual Rows"] for node in nodes if node["Node Type"] == "Sort"),
                    spills=sum(node.get("Sort Space Type") == "Disk" for node in nodes),
                )
            )
    return costs


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)


def _rows(node: dict[str, Any]) -> int:
    """Return how many rows a node took from its table, those included that it then threw away."""
    removed = sum(int(value) for name, value in node.items() if name.startswith("Rows Removed"))
    return (int(node["Actual Rows"]) + removed) * int(node["Actual Loops"])
