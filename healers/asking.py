"""Ask one host about every started attempt that names it, and take up what it says. Counts silence, never raises it."""

import threading
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import timedelta

import structlog

from exporter import clock
from exporter.jobs import QueueName

from .beliefs import Beliefs, Moment
from .machines import Doubt
from .metrics import OK, HostStatus
from .probes.protocol import HostAnswer, NoAnswer, Presence, Probe, Request, Silence, Tie
from .rounds import Heard

log = structlog.get_logger()


def read_moment() -> Moment:
    """Read all of this machine's clocks."""
    return Moment(
        at=clock.now(), boottime_seconds=clock.boottime_seconds(), monotonic_seconds=clock.monotonic_seconds()
    )


class HostAsker:
    """Asks one host. `ask` may be called from any thread, and does nothing while another one asks."""

    def __init__(
        self,
        name: str,
        probe: Probe,
        beliefs: Beliefs,
        *,
        memory_limit_bytes: int | None,
    ) -> None:
        self._probe = probe
        self._beliefs = beliefs
        self._asking = threading.Lock()
        self._silence: NoAnswer | None = None
        self.status = HostStatus(name=name, memory_limit_bytes=memory_limit_bytes)

    @property
    def silence(self) -> NoAnswer | None:
        """Why the host gave no usable answer last, if it did not."""
        return self._silence

    @property
    def doubt(self) -> Doubt | None:
        """Why the last answer proves nothing, although it is whole."""
        doubt = self._beliefs.doubt_of(self.status.name)
        return doubt if isinstance(doubt, Doubt) else None

    def ask(self) -> AbstractSet[QueueName]:
        """Ask once, and take up the answer; return the queues to be looked at since (`Beliefs.hear`)."""
        if not self._asking.acquire(blocking=False):
            return frozenset()
        try:
            return self._ask()
        finally:
            self._asking.release()

    def seconds_to_proof(self) -> float | None:
        """Return in how long the host can first give a second proof that is not due yet; None where none is to come."""
        return self._beliefs.seconds_to_proof(self.status.name, boottime_seconds=clock.boottime_seconds())

    def close(self) -> None:
        """Close what is open to the host; a round under way ends by its own deadline."""
        self._probe.close()

    def _ask(self) -> AbstractSet[QueueName]:
        began = clock.boottime_seconds()
        round_, is_fresh = self._beliefs.plan(self.status.name, boottime_seconds=began)
        began = clock.boottime_seconds()
        try:
            answer = self._probe.ask(round_.request, fresh=is_fresh)
        except Exception as error:
            log.error("host.ask_failed", host=self.status.name, exc_info=error)
            answer = NoAnswer(silence=Silence.BAD_ANSWER, detail=f"the probe failed: {type(error).__name__}")
        now = read_moment()
        heard = Heard(
            round=round_,
            answer=answer,
            is_fresh=is_fresh,
            at=now.at,
            began_seconds=began,
            ended_seconds=now.boottime_seconds,
        )
        self._note(answer, round_.request, now, took=timedelta(seconds=now.boottime_seconds - began))
        return self._beliefs.hear(heard, now)

    def _note(self, answer: HostAnswer | NoAnswer, request: Request, now: Moment, *, took: timedelta) -> None:
        status = self.status
        outcome = answer.silence.value if isinstance(answer, NoAnswer) else OK
        status = replace(
            status,
            probes={**status.probes, outcome: status.probes[outcome] + 1},
            durations=status.durations.observe(took),
        )
        if isinstance(answer, NoAnswer):
            if self._silence is None or self._silence.silence is not answer.silence:
                log.warning("host.fell_silent", host=status.name, reason=answer.silence.value, detail=answer.detail)
            self._silence = answer
            self.status = replace(status, is_up=False)
            return
        if not status.is_up:
            log.info("host.answered", host=status.name, machine_id=answer.machine_id, boot_id=answer.boot_id)
        self._silence = None
        self.status = replace(
            status,
            is_up=True,
            answered_at=now.at,
            load_average=answer.load_average,
            processors=answer.processors,
            worker_memory_bytes=_largest_worker(answer, request),
        )


def _largest_worker(answer: HostAnswer, request: Request) -> int:
    """Return the resident memory of the largest worker, or child of one, that the host told of; 0 without any."""
    workers = (
        process.memory_bytes
        for pid, process in answer.processes.items()
        if process.presence is Presence.PRESENT
        and (process.argv is not None or process.start_ticks in request.pids.get(pid, ()))
    )
    children = (relative.memory_bytes for relative in answer.relatives if relative.tie is Tie.MARK)
    return max((memory or 0 for memory in (*workers, *children)), default=0)
