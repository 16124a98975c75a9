"""What every job table offers to the poller."""

from typing import Protocol

from ..jobs import Cursor, Kind, QueueName, Snapshot, WorkerSigns


class Queue(Protocol):
    """One watched job table.

    `read` takes the cursor of the last snapshot, or None at the first poll, and returns a new snapshot, whole and
    consistent. It raises `PollTimeout`, `Unreachable`, `Refused` or `BadSchema`, and after any of them the next call
    starts from a fresh connection. `read` and `close` are never called at once.
    `server` names the database server, so that polls of one server can be limited together; `place` the database, as it
    was when the queue was made, so that a file that names another one by now is noticed.
    `index_hint` says which index would make a poll cheaper, for the event of a poll that took too long.
    """

    @property
    def name(self) -> QueueName: ...
    @property
    def system(self) -> str: ...
    @property
    def kinds(self) -> tuple[Kind, ...]: ...
    @property
    def signs(self) -> WorkerSigns: ...
    @property
    def server(self) -> str: ...
    @property
    def place(self) -> str: ...
    @property
    def index_hint(self) -> str: ...

    def read(self, after: Cursor | None) -> Snapshot: ...

    def close(self) -> None: ...
