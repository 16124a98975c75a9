"""Run several things in turn, round after round, so that what disturbs the machine disturbs all of them."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping

Figures = Mapping[str, float]
Measured = dict[str, dict[str, list[float]]]
"""Figure → subject → one value for each round."""


def interleave(subjects: Mapping[str, Callable[[], Figures]], rounds: int, *, warm_up: int = 1) -> Measured:
    """Call each subject once a round, after rounds that do not count, and collect its figures."""
    for _ in range(warm_up):
        for measure in subjects.values():
            measure()
    collected: Measured = defaultdict(lambda: defaultdict(list))
    for _ in range(rounds):
        for subject, measure in subjects.items():
            for figure, value in measure().items():
                collected[figure][subject].append(value)
    return {figure: dict(by_subject) for figure, by_subject in collected.items()}


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that an action takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began
