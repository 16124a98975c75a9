"""Stop when many hosts seem to lose their workers at once: suspect the observer.

The danger: one mistake in how hosts are asked makes every worker look dead. Default: more than half of at least 3
hosts; the breaker itself is in `healers/breaker.py`. It holds for `heal` too: a person resumes first.
"""

from ..candidates import Candidate
from ..refusals import Refusal, RefusalReason, refusal
from ..situation import Situation


def refuse(candidate: Candidate, situation: Situation) -> Refusal | None:
    """Refuse while the breaker is open."""
    breaker = situation.breaker
    if breaker is None:
        return refusal(candidate, RefusalReason.BREAKER, "whether the breaker is open cannot be read")
    if breaker.open_since is not None:
        found = f"open since {breaker.open_since:%Y-%m-%d %H:%M:%SZ}: workers died on {breaker.dead_hosts}"
        right = "look at them, then run `queuemedic resume`"
        return refusal(candidate, RefusalReason.BREAKER, f"{found} of {breaker.hosts} hosts; {right}")
    return None
