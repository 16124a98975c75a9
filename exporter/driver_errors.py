"""Turn what database drivers raise into the program's errors.

PyMySQL reports MySQL's numbers, sqlite3 SQLite's codes, psycopg SQLSTATEs; but where a session could not begin only a
text, in which a server that answered and said no has written FATAL. A message never holds a statement or a password.
"""

import re
import sqlite3
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy.exc import StatementError

from .errors import BadSchema, PollTimeout, ReadError, Refused, Unreachable
from .texts import printable

# MySQL and MariaDB: server errors (include/mysqld_error.h) and client errors (errmsg.h: 2000 to 2999); 0 is PyMySQL's
# for a connection that is closed. Its SQLSTATEs tell less: 42S22 is a missing column, 42000 almost anything.
TIMED_OUT: Final = frozenset({1205, 1317, 1969, 3024})
REFUSED: Final = frozenset(
    {1044, 1045, 1129, 1130, 1142, 1143, 1203, 1226, 1227, 1251, 1356, 1370, 1698, 1792, 1820, 1862}
    | {2026, 2059, 3118, 3159, 4151}
)
BAD_SCHEMA: Final = frozenset({1049, 1051, 1054, 1109, 1146, 1412})
UNREACHABLE: Final = frozenset(
    {0, 1040, 1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1927, 4031, *range(2000, 3000)}
)
SQLITE_CODES: Final = MappingProxyType(
    {
        sqlite3.SQLITE_BUSY: PollTimeout,
        sqlite3.SQLITE_LOCKED: PollTimeout,
        sqlite3.SQLITE_INTERRUPT: PollTimeout,
        sqlite3.SQLITE_READONLY: Refused,
        sqlite3.SQLITE_NOTADB: BadSchema,
        sqlite3.SQLITE_CANTOPEN: Unreachable,
    }
)
SQLSTATES: Final = MappingProxyType(
    {
        "57014": PollTimeout,
        "55P03": PollTimeout,
        "25P03": PollTimeout,
        "25006": Refused,
        "28": Refused,
        "42501": Refused,
        "53300": Unreachable,
        "57": Unreachable,
        "08": Unreachable,
        "42P01": BadSchema,
        "42703": BadSchema,
        "3D000": BadSchema,
        "3F000": BadSchema,
    }
)
# What libpq 18 and PostgreSQL say when a session does not begin; the first that is found counts.
NO_SESSION: Final = MappingProxyType(
    {
        r'FATAL: +database ".*" does not exist': BadSchema,
        r"FATAL: +(sorry, too many|remaining connection slots|the database system|terminating)": Unreachable,
        r"FATAL: |certificate|private key|does not support SSL": Refused,
    }
)
LONGEST_MESSAGE: Final = 1000
QUOTED_STATEMENT: Final = re.compile(r"""(near|token:) (['"]).*\2""", re.DOTALL)


def read_error(cause: BaseException, *, has_expired: bool, limit: timedelta) -> ReadError:
    """Turn what a driver raised into one of the program's errors; the message never holds a statement or a password."""
    origin = cause.orig if isinstance(cause, StatementError) and cause.orig is not None else cause
    message = _message(origin)
    if has_expired:
        return PollTimeout(f"no answer within {limit.total_seconds():g} s: {message}")
    return _error_class(origin, message)(message)


def _message(origin: BaseException) -> str:
    number = origin.args[0] if origin.args and isinstance(origin.args[0], int) else None
    if isinstance(origin, OSError | UnicodeError):
        text = str(origin)
    elif number is not None:
        text = f"{'; '.join(str(part) for part in origin.args[1:]) or type(origin).__name__} ({number})"
    else:
        # psycopg's own text goes on with the line of the statement.
        diagnosis = getattr(getattr(origin, "diag", None), "message_primary", None)
        text = diagnosis or "; ".join(str(part) for part in origin.args) or type(origin).__name__
    # What a server says may have no end, nor be fit for a line of a log.
    return QUOTED_STATEMENT.sub(r"\1 …", printable(" ".join(text[:LONGEST_MESSAGE].split())))


def _error_class(origin: BaseException, message: str) -> type[ReadError]:
    if isinstance(origin, PermissionError) or re.search(r"\[SSL: (?!UNEXPECTED_EOF)", message):
        return Refused
    if isinstance(origin, OSError):
        return Unreachable
    if isinstance(origin, sqlite3.Error):
        is_schema = message.startswith(("no such table", "no such column"))
        code = getattr(origin, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        return BadSchema if is_schema else SQLITE_CODES.get(code, ReadError)
    if hasattr(origin, "diag"):
        return _psycopg_error_class(origin, message)
    return _mysql_error_class(origin.args[0] if origin.args else None)


def _psycopg_error_class(origin: Any, message: str) -> type[ReadError]:
    if origin.sqlstate is not None:
        return SQLSTATES.get(origin.sqlstate) or SQLSTATES.get(origin.sqlstate[:2]) or ReadError
    if type(origin).__name__ not in ("OperationalError", "_WaitTimeout"):
        return ReadError
    return next((error for sign, error in NO_SESSION.items() if re.search(sign, message)), Unreachable)


def _mysql_error_class(number: object) -> type[ReadError]:
    for numbers, error in (
        (TIMED_OUT, PollTimeout),
        (REFUSED, Refused),
        (BAD_SCHEMA, BadSchema),
        (UNREACHABLE, Unreachable),
    ):
        if number in numbers:
            return error
    return ReadError
