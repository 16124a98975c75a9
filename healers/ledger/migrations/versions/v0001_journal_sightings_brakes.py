"""Begin a ledger: the journal with its head, sightings, retired hosts, pauses, breakers, leases."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None

LONG = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
OPTIONS = {
    f"{server}_{option}": value
    for server in ("mysql", "mariadb")
    for option, value in (("engine", "InnoDB"), ("charset", "ascii"), ("collate", "ascii_bin"))
}


def upgrade() -> None:
    """Make the tables, each unless it is there."""
    _table(
        "queuemedic_journal",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("act", sa.String(16), nullable=False),
        sa.Column("at", sa.String(27), nullable=False),
        sa.Column("queue", sa.String(1000), nullable=False),
        sa.Column("job", sa.String(255), nullable=False),
        sa.Column("attempt", sa.String(64), nullable=False),
        sa.Column("natural_key", LONG, nullable=False),
        sa.Column("intent", sa.BigInteger, nullable=True),
        sa.Column("result", sa.String(64), nullable=False),
        sa.Column("content", LONG, nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
    )
    _index("queuemedic_journal", "queue", "queue", "act", "at")
    _index("queuemedic_journal", "attempt", "attempt", "act", "result")
    _index("queuemedic_journal", "intent", "intent")
    _index("queuemedic_journal", "at", "at")
    _table(
        "queuemedic_journal_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("forgotten_number", sa.BigInteger, nullable=False),
        sa.Column("forgotten_digest", sa.String(64), nullable=False),
    )
    _table(
        "queuemedic_sightings",
        sa.Column("sort", sa.String(16), primary_key=True),
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("known", LONG, nullable=False),
        sa.Column("learned_at", sa.String(27), nullable=False),
    )
    _index("queuemedic_sightings", "learned_at", "learned_at")
    _table(
        "queuemedic_retired",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("host", LONG, nullable=False),
        sa.Column("why", LONG, nullable=False),
        sa.Column("actor", LONG, nullable=False),
        sa.Column("at", sa.String(27), nullable=False),
    )
    _table(
        "queuemedic_pauses",
        sa.Column("queue", sa.String(1000), primary_key=True),
        sa.Column("why", LONG, nullable=False),
        sa.Column("actor", LONG, nullable=False),
        sa.Column("at", sa.String(27), nullable=False),
    )
    _table(
        "queuemedic_breakers",
        sa.Column("queue", sa.String(1000), primary_key=True),
        sa.Column("state", LONG, nullable=False),
    )
    _table(
        "queuemedic_leases",
        sa.Column("queue", sa.String(1000), primary_key=True),
        sa.Column("holder", LONG, nullable=False),
        sa.Column("term", sa.BigInteger, nullable=False),
        sa.Column("ends_at_ms", sa.BigInteger, nullable=False),
    )
    _begin_chain()


def _table(name: str, *columns: sa.Column[object]) -> None:
    op.create_table(name, *columns, if_not_exists=True, **OPTIONS)


def _index(table: str, name: str, *columns: str) -> None:
    """Make an index; MySQL knows no IF NOT EXISTS for one."""
    full_name = f"{table}_{name}"
    if full_name not in {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(table)}:
        op.create_index(full_name, table, list(columns))


def _begin_chain() -> None:
    names = ("id", "number", "digest", "forgotten_number", "forgotten_digest")
    head = sa.table("queuemedic_journal_head", *(sa.column(name) for name in names))
    if op.get_bind().execute(sa.select(head.c.id)).first() is None:
        row = {"id": 1, "number": 0, "digest": "0" * 64, "forgotten_number": 0, "forgotten_digest": "0" * 64}
        op.bulk_insert(head, [row])
