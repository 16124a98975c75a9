"""Make what judging adds to the views of a queue; pure."""

from exporter.jobs import JobId
from exporter.views import AttemptView, HostView, QueueView

from .beliefs import QueueBeliefs
from .metrics import HostStatus
from .probes.protocol import NoAnswer
from .reasons import Liveness
from .verdicts import Verdict


def show_verdicts(view: QueueView, held: QueueBeliefs | None) -> QueueView:
    """Return the view with what is held of each started job's worker."""
    if held is None:
        return view
    verdicts = {key.job_id: verdict for key, verdict in held.verdicts.items()}
    orphaned = sum(verdict.value is Liveness.DEAD for verdict in held.verdicts.values())
    attempts = tuple(_show(attempt, verdicts.get(JobId(attempt.job_id))) for attempt in view.attempts)
    return view.model_copy(update={"attempts": attempts, "orphaned": orphaned})


def show_host(status: HostStatus, silence: NoAnswer | None) -> HostView:
    """Show one host as it answered last."""
    return HostView(
        host=status.name,
        up=status.is_up,
        reason=silence.silence.value if silence else None,
        error=silence.detail if silence else None,
        load_average=status.load_average,
        processors=status.processors,
    )


def _show(attempt: AttemptView, verdict: Verdict | None) -> AttemptView:
    if verdict is None:
        return attempt
    return attempt.model_copy(
        update={
            "verdict": verdict.value.value,
            "verdict_reason": verdict.reason.value,
            "evidence": dict(verdict.evidence),
        }
    )
