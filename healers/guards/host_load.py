"""Give no more work to a host that has too much.

The danger: a host that lost its workers to overload gets the same work again. Default: no limit; where there is one, a
load that is not known is above it. A verdict that rests on no host's answer (retired, or vouched for) has no load.
"""

from ..candidates import Candidate
from ..refusals import Refusal, RefusalReason, refusal
from ..situation import Situation


def refuse(candidate: Candidate, situation: Situation) -> Refusal | None:
    """Refuse if a host of the attempt has more load per processor than is allowed."""
    limit = situation.options.max_load_per_processor
    if limit is None:
        return None
    for host in sorted(candidate.hosts):
        load = situation.loads.get(host)
        if load is None:
            return refusal(candidate, RefusalReason.HOST_LOAD, f"the load of {host} is not known")
        if not load <= limit:
            detail = f"the load of {host} is {load:.2f} per processor; max_load_per_processor is {limit:g}"
            return refusal(candidate, RefusalReason.HOST_LOAD, detail)
    return None
