"""What every reset offers to the healing pass."""

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from exporter.jobs import AttemptKey, Claim

from ..outcomes import Concluded, OriginalRow


class Reset(Protocol):
    """The write half of one queue, on one connection of its own. Not for two threads at once.

    `lock` tries, for at most `wait_seconds`, to be the only healer of this queue, and tells whether it is; everything
    below happens inside it, on the connection that holds the lock. It raises ReadError where the database cannot be
    reached or is not the one that is watched, and ConfigurationError where an account lacks a right.
    `reread` returns whole rows by primary key; rows that are gone are missing.
    `reset` changes the row of a claim in one transaction if it still is exactly what was judged; it raises nothing, and
    after an answer that was lost it reads the row again, on a new connection, rather than assume.
    """

    def lock(self, *, wait_seconds: float) -> AbstractContextManager[bool]: ...

    def reread(self, keys: Collection[AttemptKey]) -> Mapping[AttemptKey, OriginalRow]: ...

    def reset(self, claim: Claim) -> Concluded: ...
