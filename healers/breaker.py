"""Suspect the observer when workers seem to die on many hosts at once; pure.

A death that was enrolled is exact, and a host that rebooted or was retired says so itself: neither counts. What is left
rests on absence alone, and one mistake (a blind account, a wrong namespace) makes it on every host at once.
The ratio is hosts with deaths that count ÷ hosts that answered and have started attempts. `min_hosts` is the least
number of hosts that *answered*: of one or two hosts a ratio says nothing, and one crashed worker would stop all
healing. So with the defaults one or two hosts never open the breaker (`min_hosts: 1` makes them), and two of three do;
a least number of hosts with deaths would let those pass.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType

from exporter.jobs import Attempt, AttemptKey

from .candidates import Candidate
from .options import BreakerOptions
from .sightings import Sightings
from .verdicts import Liveness, Reason

SAID_BY_THE_HOST = frozenset({Reason.HOST_REBOOTED, Reason.HOST_RETIRED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What one pass saw: every started attempt, the hosts that answered, and where each death that counts was."""

    started: frozenset[AttemptKey]
    answered: frozenset[str]
    deaths: Mapping[AttemptKey, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerState:
    """Closed, or open since; the ledger keeps it, so that a restart closes nothing.

    `suspect_at`: the last pass in which the ratio was above its limit. `counted`: the deaths that counted in the last
    pass. `acknowledged`: deaths that a person looked at; they count no more. `dead_hosts` of `hosts`: the last ratio.
    """

    open_since: datetime | None = None
    suspect_at: datetime | None = None
    counted: frozenset[AttemptKey] = frozenset()
    acknowledged: frozenset[AttemptKey] = frozenset()
    dead_hosts: int = 0
    hosts: int = 0

    @property
    def is_open(self) -> bool:
        """Whether healing is stopped."""
        return self.open_since is not None


def is_enrolled(attempt: Attempt, sightings: Sightings) -> bool:
    """Tell whether a death of this attempt's worker is exact: it, or an earlier one of its host and pid, was alive."""
    sighting = sightings.attempts.get(attempt.key)
    if sighting is not None and sighting.enrolment is not None:
        return True
    if attempt.host is None or attempt.pid is None:
        return False
    return (attempt.key.queue, attempt.host, attempt.pid) in sightings.workers


def tally(candidates: Iterable[Candidate]) -> Tally:
    """Count one pass; `candidates` are all started attempts of a queue, the alive ones too."""
    seen = tuple(candidates)
    counting = [candidate for candidate in seen if candidate.verdict.reason not in SAID_BY_THE_HOST]
    return Tally(
        started=frozenset(candidate.attempt.key for candidate in seen),
        answered=frozenset(host for candidate in counting for host in candidate.hosts),
        deaths=MappingProxyType(
            {
                candidate.attempt.key: candidate.hosts
                for candidate in counting
                if candidate.verdict.value is Liveness.DEAD and not candidate.is_enrolled
            }
        ),
    )


def step(state: BreakerState, tallied: Tally, *, options: BreakerOptions, now: datetime) -> BreakerState:
    """Return the breaker after one pass.

    It opens above `max_dead_ratio`. It closes `cool_down` after the ratio was last above, in a pass that shows it
    fallen: while no host with started attempts answers, nothing shows that.
    """
    acknowledged = state.acknowledged & tallied.started
    counted = frozenset(tallied.deaths.keys() - acknowledged)
    dead_hosts = _hosts_with_deaths([tallied.deaths[key] for key in counted])
    hosts = len(tallied.answered)
    seen = replace(state, counted=counted, acknowledged=acknowledged, dead_hosts=dead_hosts, hosts=hosts)
    is_above = dead_hosts > options.max_dead_ratio * hosts
    if is_above and (state.is_open or hosts >= options.min_hosts):
        return replace(seen, open_since=state.open_since or now, suspect_at=now)
    if state.suspect_at is None or not hosts or now - state.suspect_at < options.cool_down:
        return seen
    return replace(seen, open_since=None, suspect_at=None)


def _hosts_with_deaths(deaths: Collection[frozenset[str]]) -> int:
    """Count the hosts that workers died on; a death that may be on any of several hosts (Meltano) is on one of them."""
    certain = frozenset[str]().union(*(hosts for hosts in deaths if len(hosts) == 1))
    possible = frozenset[str]().union(*deaths)
    return min(len(possible), len(certain) + sum(len(hosts) > 1 for hosts in deaths))


def resume(state: BreakerState) -> BreakerState:
    """Close the breaker for a person, who has looked at the deaths that counted: they count no more."""
    return BreakerState(acknowledged=state.acknowledged | state.counted)
