"""Every error the program raises on purpose: one tree, each with its exit code.

A docstring is the default message. A failed poll is not an error for its caller but a value: the poller turns the
`ReadError` of a queue into the `outcome` of `queuemedic_polls_total` and goes on.
"""

from typing import ClassVar


class QueuemedicError(Exception):
    """Something went wrong."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class ConfigurationError(QueuemedicError):
    """The configuration is not usable."""

    exit_code = 2

    def __init__(self, *faults: str) -> None:
        self.faults = faults
        super().__init__("\n".join(faults) or None)


class ReadError(QueuemedicError):
    """A queue could not be read."""

    exit_code = 3
    outcome: ClassVar[str] = "failed"


class PollTimeout(ReadError):
    """The database did not answer within the time a poll may take."""

    outcome = "timeout"


class NoAnswer(PollTimeout):
    """The database did not even say what time it is."""


class Unreachable(ReadError):
    """The database could not be reached."""

    outcome = "unreachable"


class Refused(ReadError):
    """The database refused the account, or a right is missing."""

    outcome = "refused"


class BadSchema(ReadError):
    """The table is not there, or has other columns than expected."""

    outcome = "bad_schema"


class Unsettled(ReadError):
    """The database did not say whether it has committed."""


class LedgerError(QueuemedicError):
    """The ledger cannot be used, so nothing is healed."""

    exit_code = 3


class NoLedger(LedgerError):
    """There is no ledger yet."""
