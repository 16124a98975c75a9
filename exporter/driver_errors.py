"""Turn what database drivers raise into the program's errors.

PyMySQL reports MySQL's numbers, psycopg SQLSTATEs, sqlite3 texts. A message never holds a statement or a password.
"""

import sqlite3
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from sqlalchemy.exc import DBAPIError

from .errors import BadSchema, PollTimeout, ReadError, Refused, Unreachable

# MySQL and MariaDB: server errors (include/mysqld_error.h) and client errors (errmsg.h); PostgreSQL: SQLSTATE classes.
TIMED_OUT: Final = frozenset({1969, 3024, 1205, 1317, 4031})
REFUSED: Final = frozenset({1044, 1045, 1129, 1130, 1142, 1143, 1203, 1226, 1227, 1356, 1370, 1698, 1862, 4151})
BAD_SCHEMA: Final = frozenset({1049, 1051, 1054, 1109, 1146, 1412})
UNREACHABLE: Final = frozenset(
    {1040, 1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1927, 2002, 2003, 2005, 2006, 2013}
)
SQLSTATES: Final = MappingProxyType(
    {
        "57014": PollTimeout,
        "55P03": PollTimeout,
        "25P03": PollTimeout,
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


def read_error(cause: BaseException, *, has_expired: bool, limit: timedelta) -> ReadError:
    """Turn what a driver raised into one of the program's errors; the message never holds a statement or a password."""
    origin = cause.orig if isinstance(cause, DBAPIError) and cause.orig is not None else cause
    message = _message(origin)
    if has_expired:
        return PollTimeout(f"no answer within {limit.total_seconds():g} s: {message}")
    return _error_class(origin, message)(message)


def _message(origin: BaseException) -> str:
    parts = [str(part).strip() for part in origin.args if str(part).strip()]
    if len(parts) == 2 and parts[0].isdigit():
        return f"{parts[1]} ({parts[0]})"
    return "; ".join(parts) or type(origin).__name__


def _error_class(origin: BaseException, message: str) -> type[ReadError]:
    state = getattr(origin, "sqlstate", None)
    if isinstance(state, str):
        return SQLSTATES.get(state) or SQLSTATES.get(state[:2]) or ReadError
    if isinstance(origin, sqlite3.Error):
        return _sqlite_error_class(message)
    code = origin.args[0] if origin.args else None
    if "timed out" in message and code in (2003, 2013):
        return PollTimeout if code == 2013 else Unreachable
    if "CERTIFICATE_VERIFY_FAILED" in message:
        return Refused
    for codes, error in (
        (TIMED_OUT, PollTimeout),
        (REFUSED, Refused),
        (BAD_SCHEMA, BadSchema),
        (UNREACHABLE, Unreachable),
    ):
        if code in codes:
            return error
    is_connection = isinstance(origin, OSError) or type(origin).__name__ == "OperationalError"
    return Unreachable if is_connection else ReadError


def _sqlite_error_class(message: str) -> type[ReadError]:
    for sign, error in (
        ("interrupted", PollTimeout),
        ("locked", PollTimeout),
        ("no such", BadSchema),
        ("not a database", BadSchema),
        ("unable to open", Unreachable),
        ("readonly", Refused),
        ("permission", Refused),
    ):
        if sign in message:
            return error
    return ReadError
