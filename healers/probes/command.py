"""The forced command of one host, run over SSH within the host's `timeout`, whatever hangs.

Each ask works in a thread of its own, and the asking one waits for it no longer than the timeout: then it ends the
connection, which frees the thread, whatever that waits for. Should one be stuck all the same, the host is not asked
again until it has ended, so that there is never more than one.
A routine ask keeps its connection for the next; a kept one that has broken is replaced once, without a word.
"""

import threading
from dataclasses import replace

from exporter import clock

from .connection import Connection, Failed, Said, Target, explain
from .protocol import NoAnswer, Silence

THREADS = "ask"

WORKING_SHARE = 0.9
"""Of the timeout; the rest is for ending what hangs."""

ABORT_EVERY_SECONDS = 0.05

REFUSED_PAUSE_SECONDS = 60.0
MAX_REFUSED_PAUSE_SECONDS = 960.0
"""After a refused login, doubled each time: OpenSSH 9.8 shuts out an address for 15 s of penalties at 5 s each
(`PerSourcePenalties`), fail2ban after 5 refusals in 10 min."""


class SshCommand:
    """The forced command of one host: bytes in, bytes out."""

    def __init__(self, target: Target, *, timeout: float) -> None:
        self._target = target
        self._timeout = timeout
        self._pause = RefusalPause()
        self._lock = threading.Lock()
        self._is_closed = False
        self._kept: Connection | None = None
        self._current: Connection | None = None
        self._thread: threading.Thread | None = None

    def run(self, request: bytes, *, fresh: bool, within: float | None = None) -> Said | NoAnswer:
        """Run it once, `fresh` over a new connection; returns within the timeout, or less, and raises nothing."""
        timeout = self._timeout if within is None else within
        started = clock.monotonic_seconds()
        if hindrance := self._hindrance(started):
            return hindrance
        until = started + timeout * WORKING_SHARE
        results: list[Said | NoAnswer] = []
        thread = threading.Thread(
            target=lambda: results.append(self._work(request, fresh, until)), name=THREADS, daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            return NoAnswer(silence=Silence.UNREACHABLE, detail=f"this machine starts no thread: {error}")
        self._thread = thread
        thread.join(until - started)
        if thread.is_alive():
            return self._end(thread, results, by=started + timeout)
        return results[0]

    def close(self) -> None:
        """End everything; an ask that is under way gives no answer."""
        with self._lock:
            self._is_closed = True
            kept, self._kept, current = self._kept, None, self._current
        if current is not None:
            current.abort()
        if kept is not None:
            kept.close()

    def _hindrance(self, now: float) -> NoAnswer | None:
        """Return why the host is not even to be asked."""
        if self._is_closed:
            return NoAnswer(silence=Silence.UNREACHABLE, detail="the probe is closed")
        if self._thread is not None and self._thread.is_alive():
            return NoAnswer(silence=Silence.TIMEOUT, detail="an earlier ask has not ended yet")
        return self._pause.refusal(now)

    def _end(self, thread: threading.Thread, results: list[Said | NoAnswer], *, by: float) -> NoAnswer:
        """End an ask that takes too long, and say what it was at."""
        current = self._current
        late = _late(current.doing if current is not None else "ending")
        while thread.is_alive() and clock.monotonic_seconds() < by:
            if current := self._current:
                current.abort()
            thread.join(ABORT_EVERY_SECONDS)
        if results and isinstance(results[0], NoAnswer) and results[0].silence is Silence.TIMEOUT:
            return results[0]  # it noticed by itself, and knows best
        return late

    def _work(self, request: bytes, fresh: bool, until: float) -> Said | NoAnswer:
        kept = self._take()
        if kept is not None:
            said = self._use(kept, request, until) if not fresh and kept.is_open else None
            if isinstance(said, Said):
                return said
            kept.close()
        said = self._use(Connection(self._target), request, until)
        self._pause.note(said, clock.monotonic_seconds())
        return said

    def _use(self, connection: Connection, request: bytes, until: float) -> Said | NoAnswer:
        """Ask over this connection, and keep it if it is still good."""
        self._current = connection
        said: Said | NoAnswer
        try:
            if not connection.is_open:
                connection.open(until=until)
            said = connection.run(request, until=until)
            if said.exit_status is None and not connection.is_open:
                raise Failed(Silence.UNREACHABLE, "the connection ended before the answer did")
        except TimeoutError:
            said = _late(connection.doing)
        except Exception as error:  # noqa: BLE001 - the transport's thread hands on whatever a host could provoke in it
            said = explain(error)
        finally:
            self._current = None
            self._keep_or_close(connection, is_good=isinstance(said, Said))
        return said

    def _take(self) -> Connection | None:
        with self._lock:
            kept, self._kept = self._kept, None
        return kept

    def _keep_or_close(self, connection: Connection, *, is_good: bool) -> None:
        with self._lock:
            is_kept = is_good and not self._is_closed and connection.is_open
            if is_kept:
                self._kept = connection
        if not is_kept:
            connection.close()


def _late(doing: str) -> NoAnswer:
    return NoAnswer(silence=Silence.TIMEOUT, detail=f"no answer in time, while {doing}")


class RefusalPause:
    """How long a host is left alone that does not let the account in."""

    def __init__(self) -> None:
        self._pause = 0.0
        self._until = 0.0
        self._last: NoAnswer | None = None

    def refusal(self, now: float) -> NoAnswer | None:
        """Return the last refusal while the pause lasts."""
        if self._last is None or now >= self._until:
            return None
        return replace(self._last, detail=f"{self._last.detail}; not tried again for {self._until - now:.0f} s")

    def note(self, said: Said | NoAnswer, now: float) -> None:
        """Begin a pause with a refusal, a longer one than before; end it with any other answer."""
        if isinstance(said, Said):
            self._pause, self._last = 0.0, None
        elif said.silence is Silence.REFUSED:
            self._pause = min(max(2 * self._pause, REFUSED_PAUSE_SECONDS), MAX_REFUSED_PAUSE_SECONDS)
            self._until, self._last = now + self._pause, said
