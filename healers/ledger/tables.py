"""The tables of the ledger as they are now; `migrations` makes them so, and a test compares the two.

Every text in them is ASCII: what came from a database, a host or a person is escaped JSON, an instant is
`2026-11-24T16:08:50.123456Z` in UTC, and a digest is SHA-256 in hexadecimal. So a control character, a NUL (which
PostgreSQL refuses) or a lone surrogate is data like any other, and texts compare the same on every server.
The names begin with `queuemedic_`, since a ledger may share a database with the system that is watched.
"""

from typing import Any, Final

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table, Text
from sqlalchemy.dialects import mysql

from .encoding import JOB_LENGTH

DIGEST: Final = 64
INSTANT: Final = 27
NAME: Final = 1000
METADATA: Final = MetaData()
ON_MYSQL: Final = {"mysql_engine": "InnoDB", "mysql_charset": "ascii", "mysql_collate": "ascii_bin"}
ON_MARIADB: Final = {name.replace("mysql", "mariadb"): value for name, value in ON_MYSQL.items()}
OPTIONS: Final[dict[str, Any]] = ON_MYSQL | ON_MARIADB
LONG: Final = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")

JOURNAL: Final = Table(
    "queuemedic_journal",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("act", String(16), nullable=False),
    Column("at", String(INSTANT), nullable=False),
    Column("queue", String(NAME), nullable=False),
    Column("job", String(JOB_LENGTH), nullable=False),
    Column("attempt", String(DIGEST), nullable=False),
    Column("natural_key", LONG, nullable=False),
    Column("intent", BigInteger, nullable=True),
    Column("result", String(64), nullable=False),
    Column("content", LONG, nullable=False),
    Column("previous", String(DIGEST), nullable=False),
    Column("digest", String(DIGEST), nullable=False),
    Index("queuemedic_journal_queue", "queue", "act", "at"),
    Index("queuemedic_journal_attempt", "attempt", "act", "result"),
    Index("queuemedic_journal_intent", "intent"),
    Index("queuemedic_journal_at", "at"),
    **OPTIONS,
)
"""`intent`: of an outcome, the number of what was intended. `result`: an outcome or a reason to refuse.

It is `may_be_written` where an outcome leaves open whether the job was put back."""

HEAD: Final = Table(
    "queuemedic_journal_head",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("digest", String(DIGEST), nullable=False),
    Column("forgotten_number", BigInteger, nullable=False),
    Column("forgotten_digest", String(DIGEST), nullable=False),
    **OPTIONS,
)
"""One row: the last entry of the journal, and the last one that was forgotten. Every writer locks it first."""

SIGHTINGS: Final = Table(
    "queuemedic_sightings",
    METADATA,
    Column("sort", String(16), primary_key=True),
    Column("digest", String(DIGEST), primary_key=True),
    Column("known", LONG, nullable=False),
    Column("learned_at", String(INSTANT), nullable=False),
    Index("queuemedic_sightings_learned_at", "learned_at"),
    **OPTIONS,
)

RETIRED: Final = Table(
    "queuemedic_retired",
    METADATA,
    Column("digest", String(DIGEST), primary_key=True),
    Column("host", LONG, nullable=False),
    Column("why", LONG, nullable=False),
    Column("actor", LONG, nullable=False),
    Column("at", String(INSTANT), nullable=False),
    **OPTIONS,
)

PAUSES: Final = Table(
    "queuemedic_pauses",
    METADATA,
    Column("queue", String(NAME), primary_key=True),
    Column("why", LONG, nullable=False),
    Column("actor", LONG, nullable=False),
    Column("at", String(INSTANT), nullable=False),
    **OPTIONS,
)
"""An empty queue stands for all."""

BREAKERS: Final = Table(
    "queuemedic_breakers",
    METADATA,
    Column("queue", String(NAME), primary_key=True),
    Column("state", LONG, nullable=False),
    **OPTIONS,
)

LEASES: Final = Table(
    "queuemedic_leases",
    METADATA,
    Column("queue", String(NAME), primary_key=True),
    Column("holder", LONG, nullable=False),
    Column("term", BigInteger, nullable=False),
    Column("ends_at_ms", BigInteger, nullable=False),
    **OPTIONS,
)
