"""The words of a verdict: what is held of a worker, and why."""

from enum import StrEnum


class Liveness(StrEnum):
    """Whether the worker of an attempt still works on it."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


class Reason(StrEnum):
    """Why a verdict is what it is."""

    # alive
    RUNNING = "running"
    FROZEN = "frozen"
    CHILD_RUNNING = "child_running"
    # dead
    NO_PROCESS = "no_process"
    PID_REUSED = "pid_reused"
    HOST_REBOOTED = "host_rebooted"
    HOST_RETIRED = "host_retired"
    HEARTBEAT_LOST = "heartbeat_lost"
    NEVER_INITIALISED = "never_initialised"
    HEARTBEAT_STALE = "heartbeat_stale"
    # unknown
    NOT_ASKED = "not_asked"
    NO_WORKER = "no_worker"
    NOT_A_PID = "not_a_pid"
    CLOCK = "clock"
    NOT_CONFIGURED = "not_configured"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    HOST_KEY = "host_key"
    REFUSED = "refused"
    BAD_ANSWER = "bad_answer"
    HIDDEN_PROCESSES = "hidden_processes"
    WRONG_NAMESPACE = "wrong_namespace"
    WRONG_HOST = "wrong_host"
    DUPLICATE_HOST_KEY = "duplicate_host_key"
    TWO_MACHINES = "two_machines"
    PID_NAMESPACE = "pid_namespace"
    HOST_UNPROVEN = "host_unproven"
    NOT_IDENTIFIABLE = "not_identifiable"
    FILES_INVISIBLE = "files_invisible"
    HEARTBEAT_ONLY = "heartbeat_only"
    HEARTBEAT_RECENT = "heartbeat_recent"
