"""Show what is being waited for, while queues are read, hosts are asked and the second proof is waited for.

On standard error, only where that is a terminal that can be drawn on, and not for what is over in a moment; nothing of
it is left when the results are printed. Ctrl-C meanwhile ends the program at once, whatever hangs.
In: an app whose pollers and askers count what they have done. Out: one line, drawn anew some times a second.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from exporter import clock

from .printing import make_console

if TYPE_CHECKING:
    from datetime import timedelta

    from rich.console import RenderableType

    from .app import App

FIRST_SHOWN_AFTER: Final = 0.5
PER_SECOND: Final = 8
BAR: Final = 24
STEP_SECONDS: Final = 0.5
INTERRUPTED: Final = 130


class Progress:
    """What one command waits for. `wait` may be called while it is shown or not."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._then = "judging"
        self._begin_anew()

    @contextmanager
    def shown(self, then: str = "judging") -> Iterator[None]:
        """Show how far reading and asking is, and `then` what comes after it."""
        self._then = then
        self._begin_anew()
        try:
            with self._drawn():
                yield
        except KeyboardInterrupt:
            from .serving import exit_now

            click.echo("Aborted!", err=True)
            exit_now(INTERRUPTED)

    @contextmanager
    def _drawn(self) -> Iterator[None]:
        console = make_console(on_errors=True)
        if not console.is_interactive:
            yield
            return
        from rich.live import Live

        with Live(
            console=console,
            get_renderable=self._render,
            refresh_per_second=PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            yield

    def wait(self, span: timedelta, what: str) -> None:
        """Wait, and say for what."""
        self._begin_anew()
        self._waits_for, self._until = what, self._began + span.total_seconds()
        while (left := self._until - clock.monotonic_seconds()) > 0:
            time.sleep(min(left, STEP_SECONDS))
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._began, self._until, self._waits_for = clock.monotonic_seconds(), 0.0, ""
        self._before = self._count()

    def _count(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """Count what was done so far, of each queue and of each host."""
        polls: dict[str, int] = {poller.name: sum(poller.status.polls.values()) for poller in self._app.pollers}
        rounds = {asker.status.name: sum(asker.status.probes.values()) for asker in self._app.askers}
        return polls, rounds

    def _render(self) -> RenderableType:
        from rich.console import Group

        now = clock.monotonic_seconds()
        if self._waits_for:
            return _line(self._waits_for, f"in {max(0.0, self._until - now):.0f} s", now - self._began, self._length)
        if now - self._began < FIRST_SHOWN_AFTER:
            return Group()
        (queues, all_queues), (hosts, all_hosts) = (
            (sum(after[name] > before.get(name, 0) for name in after), len(after))
            for before, after in zip(self._before, self._count(), strict=True)
        )
        if queues + hosts == all_queues + all_hosts:
            return _line(self._then, f"for {now - self._began:.0f} s", queues + hosts, all_queues + all_hosts)
        done = f"queues {queues} of {all_queues}" + (f", hosts {hosts} of {all_hosts}" if all_hosts else "")
        return _line("reading and asking" if all_hosts else "reading", done, queues + hosts, all_queues + all_hosts)

    @property
    def _length(self) -> float:
        return self._until - self._began


def _line(what: str, how_far: str, done: float, total: float) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    line = Table.grid(padding=(0, 1))
    line.add_row(ProgressBar(total=total, completed=done, width=BAR), what, how_far)
    return line
