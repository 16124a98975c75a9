"""Print what a run came to, as a table for people."""

from collections import Counter
from collections.abc import Iterator

from .play import Outcome
from .truth import NEVER


def show(outcome: Outcome) -> str:
    """Return the table."""
    return "\n".join(_lines(outcome))


def _lines(outcome: Outcome) -> Iterator[str]:
    lives = [life for life in outcome.truth.lives.values() if not life.is_idle]
    deaths = Counter(life.why for life in lives if life.dead_at != NEVER)
    yield f"seed {outcome.seed}: {outcome.seconds:.0f} s, of which {outcome.calm_seconds:.0f} s of calm at the end"
    yield ""
    yield f"{'faults':<42}{len(outcome.faults):>6}"
    for kind, number in sorted(Counter(fault.kind for fault in outcome.faults).items()):
        yield f"  {kind:<40}{number:>6}"
    yield f"{'workers':<42}{len(lives):>6}"
    for why, number in sorted(deaths.items()):
        yield f"  {why:<40}{number:>6}"
    yield f"  {'stopped for a while':<40}{sum(life.stopped for life in lives):>6}"
    yield f"  {'left a child at work':<40}{sum(bool(life.children) for life in lives):>6}"
    yield f"  {'whose pid was given again at once':<40}{outcome.truth.reused:>6}"
    yield f"{'jobs finished':<42}{len(outcome.truth.finished):>6}"
    yield f"{'jobs put back':<42}{outcome.resets.total():>6}"
    for queue, number in sorted(outcome.resets.items()):
        yield f"  {queue:<40}{number:>6}"
    if outcome.delays:
        middle = outcome.delays[len(outcome.delays) // 2]
        yield f"  {'s after the end of the worker, median':<40}{middle:>6.1f}"
        yield f"  {'s after the end of the worker, most':<40}{outcome.delays[-1]:>6.1f}"
    yield f"{'refusals':<42}{outcome.refusals.total():>6}"
    for reason, number in sorted(outcome.refusals.items()):
        yield f"  {reason:<40}{number:>6}"
    yield f"{'scrapes':<42}{outcome.scrapes:>6}"
    yield f"  {'s, the slowest':<40}{outcome.slowest_scrape:>6.2f}"
    yield ""
    for finding in outcome.findings:
        yield f"{finding.check:<42}{finding.broken:>6}{'  BROKEN' if finding.broken else ''}"
        for example in finding.examples:
            yield f"    {example}"
