"""Make what judging adds to the views of a queue; pure."""

from exporter.jobs import JobId
from exporter.views import AttemptView, HostView, QueueView

from .beliefs import QueueBeliefs
from .machines import Doubt
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


DOUBTS = {
    Doubt.HIDDEN_PROCESSES: "its /proc hides other accounts' processes; let the account see them (hidepid=, gid=)",
    Doubt.WRONG_NAMESPACE: "the probe has a PID namespace of its own; write pid_namespace: own if the workers share it",
    Doubt.WRONG_HOST: "the machine has another name or machine-id; correct the name, add an alias, or the machine_id",
    Doubt.DUPLICATE_HOST_KEY: "it cannot be told from another host: same host key, machine-id or boot",
}


def show_host(status: HostStatus, silence: NoAnswer | None, doubt: Doubt | None) -> HostView:
    """Show one host as it answered last; an answer that proves nothing is none that can be used."""
    reason = silence.silence.value if silence else doubt.value if doubt else None
    return HostView(
        host=status.name,
        up=status.is_up and doubt is None,
        reason=reason,
        error=silence.detail if silence else DOUBTS[doubt] if doubt else None,
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
