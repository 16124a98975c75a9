"""Ask for rows by their ids, a statement's worth at a time."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from sqlalchemy import TextClause, bindparam, text

T = TypeVar("T")


def by_ids(statement: str) -> TextClause:
    """Return a statement that takes a list as `:ids`, written `IN :ids`."""
    return text(statement).bindparams(bindparam("ids", expanding=True))


def chunks(ids: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut ids into pieces of at most `size`."""
    return (ids[first : first + size] for first in range(0, len(ids), size))
