"""Count Matomo's jobs by scope and by report, out of one row for each name and report.

Reports are an open set: the first `max_reports` that are met have a label of their own for as long as the program
runs, the largest first; all others are counted as `other`, so that the figures still add up.
"""

from collections import Counter
from collections.abc import Iterable

from exporter.jobs import Breakdown, ReportJobs, ScopeJobs, State

from .names import SCOPES, read_subject
from .rows import STATES

OTHER = "other"


class BreakdownReader:
    """Remembers which reports have a label."""

    def __init__(self, max_reports: int) -> None:
        self._max_reports = max_reports
        self._labelled: dict[tuple[str, str], None] = {}

    def read(self, rows: Iterable[tuple[int | None, str | None, str | None, int]], *, blocked_jobs: int) -> Breakdown:
        """Add up rows of (status, name, report, number)."""
        scopes: Counter[tuple[State, str]] = Counter()
        reports: Counter[tuple[State, tuple[str, str]]] = Counter()
        sizes: Counter[tuple[str, str]] = Counter()
        for status, name, report, number in rows:
            state = STATES.get(status)
            if state is None:
                continue
            subject = read_subject(name, report)
            scopes[state, subject.scope] += number
            key = (subject.plugin, subject.report)
            if not any(key):
                continue
            reports[state, key] += number
            sizes[key] += number
        self._label(sizes)
        return Breakdown(
            scopes=tuple(
                ScopeJobs(state=state, scope=scope, jobs=scopes[state, scope]) for state in State for scope in SCOPES
            ),
            reports=tuple(self._fold(reports, is_cut=bool(sizes.keys() - self._labelled.keys()))),
            reports_left_out=len(sizes.keys() - self._labelled.keys()),
            blocked_jobs=blocked_jobs,
        )

    def _label(self, sizes: Counter[tuple[str, str]]) -> None:
        for key, _ in sizes.most_common(self._max_reports + len(self._labelled)):
            if len(self._labelled) < self._max_reports and key != (OTHER, OTHER):
                self._labelled.setdefault(key)

    def _fold(self, reports: Counter[tuple[State, tuple[str, str]]], *, is_cut: bool) -> Iterable[ReportJobs]:
        for state in State:
            for plugin, report in self._labelled:
                yield ReportJobs(state=state, plugin=plugin, report=report, jobs=reports[state, (plugin, report)])
            if is_cut:
                rest = sum(n for (found, key), n in reports.items() if found is state and key not in self._labelled)
                yield ReportJobs(state=state, plugin=OTHER, report=OTHER, jobs=rest)
