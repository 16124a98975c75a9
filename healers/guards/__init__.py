"""Everything that can keep a dead job from being put back: one danger, one file; pure.

A guard refuses with a reason, or lets pass; a value that is not known refuses. The first in this order speaks, so that
a person reads what stands most in the way: what is not proven, the ledger that knows what people have stopped, then
what they have, what else is broken, what is suspect, and last what time alone will mend. `rate` comes last: only what
all others let pass uses up the budget.
"""

from collections.abc import Callable

from ..candidates import Candidate
from ..refusals import Refusal
from ..situation import Situation
from . import (
    breaker,
    clock,
    confirmation,
    heal_after,
    host_load,
    ledger,
    lock,
    mode,
    outage,
    pause,
    quarantine,
    rate,
    replica,
    schema,
    verdict,
    window,
)

GUARDS: tuple[Callable[[Candidate, Situation], Refusal | None], ...] = (
    verdict.refuse,
    ledger.refuse,
    pause.refuse,
    mode.refuse,
    clock.refuse,
    replica.refuse,
    outage.refuse,
    schema.refuse,
    breaker.refuse,
    quarantine.refuse,
    window.refuse,
    host_load.refuse,
    heal_after.refuse,
    confirmation.refuse,
    lock.refuse,
    rate.refuse,
)


def refuse(candidate: Candidate, situation: Situation) -> Refusal | None:
    """Return what the first guard says that does not let a candidate pass."""
    return next((refused for guard in GUARDS if (refused := guard(candidate, situation))), None)
