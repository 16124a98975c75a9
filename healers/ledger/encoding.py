"""Write values as ASCII text from which equal values are read again; pure.

Values of a driver are JSON where JSON has them, else an object with one tag: `{"$": "decimal", "value": "1.50"}`. An
aware datetime keeps the name of its zone: in the hour that a clock repeats, datetimes of two zone objects are never
equal (PEP 495), and an attempt would not be known again. A type without a tag is kept as its text.
"""

import hashlib
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from exporter.jobs import AttemptKey, JobId, QueueName

JOB_LENGTH: Final = 255
NAN_OR_INFINITY: Final = frozenset({"nan", "inf", "-inf"})


def to_text(value: object) -> str:
    """Write encoded values: one text for equal ones, ASCII only."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, sort_keys=True, separators=(",", ":"))


def from_text(text: str) -> Any:
    """Read what `to_text` has written."""
    return json.loads(text)


def digest_of(text: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def escape(text: str) -> str:
    """Write a text as ASCII without quotes; `unescape` reads it."""
    return json.dumps(text, ensure_ascii=True)[1:-1]


def unescape(text: str) -> str:
    """Read what `escape` has written."""
    return str(json.loads(f'"{text}"'))


def job_column(job_id: str) -> str:
    """Write a job id for a look-up: what it begins with."""
    return escape(job_id)[:JOB_LENGTH]


def instant(at: datetime) -> str:
    """Write an aware datetime in UTC; texts are in the order of their instants."""
    if at.utcoffset() is None:
        raise ValueError(f"{at}: an instant has a time zone")
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def read_instant(text: str) -> datetime:
    """Read what `instant` has written."""
    return datetime.fromisoformat(text)


def encode(value: object) -> Any:
    """Turn a value of a driver into what JSON can say."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        text = repr(value)
        return _tagged("float", text) if text in NAN_OR_INFINITY else value
    if isinstance(value, AttemptKey):
        return _tagged("attempt", encode_key(value))
    if isinstance(value, Mapping):
        return _tagged("mapping", [[encode(name), encode(item)] for name, item in value.items()])
    return _encode_tagged(value)


def _encode_tagged(value: object) -> Any:
    for kind, (tag, write, _) in TAGS.items():
        if isinstance(value, kind):
            return _tagged(tag, write(value))
    return _tagged("text", f"{type(value).__module__}.{type(value).__qualname__}: {value}")


def decode(value: Any) -> Any:
    """Turn back what `encode` has made."""
    if not isinstance(value, dict):
        return value
    tag, inner = value["$"], value["value"]
    if tag == "mapping":
        return {decode(name): decode(item) for name, item in inner}
    return READERS[tag](inner)


def encode_key(key: AttemptKey) -> list[Any]:
    """Turn the key of an attempt into what JSON can say."""
    return [key.queue, key.job_id, encode(key.started), key.host, key.pid_text]


def decode_key(value: list[Any]) -> AttemptKey:
    """Turn back what `encode_key` has made."""
    queue, job_id, started, host, pid_text = value
    return AttemptKey(
        queue=QueueName(queue), job_id=JobId(job_id), started=decode(started), host=host, pid_text=pid_text
    )


def key_digest(key: AttemptKey) -> str:
    """Return what stands for an attempt in the columns of the ledger."""
    return digest_of(to_text(encode_key(key)))


def shorten(value: object, *, longest: int) -> Any:
    """Encode a value of a row; of a text or of bytes that are longer, a digest and the length."""
    if isinstance(value, str | bytes | bytearray | memoryview) and len(value) * _most_bytes(value) > longest:
        raw = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else bytes(value)
        if len(raw) > longest:
            return _tagged("digest", f"sha256:{hashlib.sha256(raw).hexdigest()} of {len(raw)} bytes")
    return encode(value)


def _most_bytes(value: object) -> int:
    return 4 if isinstance(value, str) else 1


def _tagged(tag: str, value: object) -> dict[str, object]:
    return {"$": tag, "value": value}


def _write_datetime(value: datetime) -> str:
    fold = ";fold" if value.fold else ""
    if value.tzinfo is None:
        return value.isoformat() + fold
    zone = getattr(value.tzinfo, "key", None)
    if zone is None:
        return value.isoformat()
    return f"{value.replace(tzinfo=None).isoformat()}{fold};{zone}"


def _read_datetime(text: str) -> datetime:
    written, *rest = re.split(";", text)
    at = datetime.fromisoformat(written)
    if "fold" in rest:
        at = at.replace(fold=1)
    zones = [part for part in rest if part != "fold"]
    return at.replace(tzinfo=ZoneInfo(zones[0])) if zones else at


def _write_span(value: timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


def _read_span(parts: list[int]) -> timedelta:
    days, seconds, microseconds = parts
    return timedelta(days=days, seconds=seconds, microseconds=microseconds)


def _write_bytes(value: Any) -> str:
    return b64encode(bytes(value)).decode("ascii")


def _write_set(value: frozenset[Any]) -> list[Any]:
    return sorted((encode(item) for item in value), key=to_text)


def _write_list(value: list[Any] | tuple[Any, ...]) -> list[Any]:
    return [encode(item) for item in value]


# A datetime is a date as well, so it comes first.
TAGS: Final[Mapping[type | tuple[type, ...], tuple[str, Callable[[Any], Any], Callable[[Any], Any]]]] = (
    MappingProxyType(
        {
            datetime: ("datetime", _write_datetime, _read_datetime),
            date: ("date", date.isoformat, date.fromisoformat),
            time: ("time", time.isoformat, time.fromisoformat),
            timedelta: ("timedelta", _write_span, _read_span),
            Decimal: ("decimal", str, Decimal),
            (bytes, bytearray, memoryview): ("bytes", _write_bytes, b64decode),
            UUID: ("uuid", str, UUID),
            tuple: ("tuple", _write_list, lambda items: tuple(decode(item) for item in items)),
            list: ("list", _write_list, lambda items: [decode(item) for item in items]),
            (frozenset, set): ("set", _write_set, lambda items: frozenset(decode(item) for item in items)),
        }
    )
)
READERS: Final[Mapping[str, Callable[[Any], Any]]] = MappingProxyType(
    {tag: read for tag, _, read in TAGS.values()} | {"float": float, "attempt": decode_key, "text": str, "digest": str}
)
