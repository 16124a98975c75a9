"""Say what became of a reset by the row that is there now; pure.

It is true only of a row that was read when the transaction of the reset was surely over: on the same connection, under
a lock of the row, or while holding the queue's lock, which the connection of the reset held until its end.
"""

from exporter.jobs import Claim

from ..outcomes import Concluded, OriginalRow, Outcome

UNCHANGED = "the row is as it was"
MOVED_ON = "whether the row was put back before it moved on cannot be told"


def conclude(claim: Claim, row: OriginalRow | None, *, may_be_written: bool, because: str = "") -> Concluded:
    """Conclude from the row of a claim, read again; None where there is no such row any more.

    With `may_be_written`, a row that is as a reset leaves it counts as reset: if another has done it, as Matomo itself
    might, that cannot be told, and makes no difference to the row. A row that has been claimed anew, or is gone, may
    have been reset before; what it is now is all that can be said.
    """
    if row is not None and row.is_started and row.claim == claim:
        return Concluded(key=claim.key, outcome=Outcome.FAILED, detail=because or UNCHANGED)
    if row is not None and may_be_written and row.is_put_back:
        return Concluded(key=claim.key, outcome=Outcome.RESET, detail=because)
    outcome = Outcome.GONE if row is None else Outcome.LOST_RACE
    detail = f"{because}; {MOVED_ON}" if may_be_written and because else because
    return Concluded(key=claim.key, outcome=outcome, detail=detail, may_be_written=may_be_written)


def reconcile(claim: Claim, row: OriginalRow | None) -> Concluded:
    """Say at the next start what became of an intent whose outcome was never written; the queue's lock must be held."""
    return conclude(claim, row, may_be_written=True, because="found out at a later start")
