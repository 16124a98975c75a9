"""Write the reference pages that are made from the code: metrics, configuration, commands, the JSON API.

`python docs/generate.py` writes them into docs/reference; with `--check` it writes nothing, names the pages that differ
and exits 1. In: the catalogue of metrics, the models of the configuration, each command's own help, the views.
What the code does not say is here, as data: what a key is for, and which metric no part of this version publishes.
"""

import argparse
import ast
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from exporter import views
from exporter.catalogue import PROGRAM_METRICS, QUEUE_METRICS, Metric, Type
from exporter.collector import RUN_OUTCOMES
from exporter.errors import ConfigurationError
from exporter.facts import StuckReason
from exporter.jobs import Role, State
from exporter.options import QueueOptions, TlsOptions, show_duration
from exporter.poller import OUTCOMES
from exporter.queues.matomo.names import KINDS, SCOPES
from exporter.queues.table import Columns
from exporter.queues.table.options import WorkerOptions
from exporter.tracker import Ending
from exporter.web import api
from healers.metrics import MODES, PROBE_OUTCOMES
from healers.options import HealingOptions, HostOptions, LedgerOptions
from healers.reasons import Liveness, Reason
from healers.refusals import RefusalReason
from healers.resets.meltano import MeltanoHealing
from healers.resets.table import TableHealing
from healers.tallying import COUNTED_OUTCOMES
from queuemedic.cli import main as program
from queuemedic.commands.check import DATABASE_DOWN, STUCK
from queuemedic.config_file.model import WebOptions
from queuemedic.systems import OPTIONS

REFERENCE: Final = Path(__file__).parent / "reference"
NOTICE: Final = "<!-- Made by docs/generate.py: change the code or that file, not this page. -->"
HELP_WIDTH: Final = 78  # what click makes of a terminal of 80 columns


LIMITS: Final = ("stuck_after", "timeout_after", "worker_timeout_after", "stale_after", "run_expected_every")
LABELS: Final[Mapping[str, str]] = {
    "queue": "the name in the configuration",
    "system": ", ".join(OPTIONS),
    "schema": "the oldest release with what was found; Matomo: 4.0, 5.3 or 5.7; Meltano: 1.67 or 2.2",
    "role": ", ".join(Role),
    "state": ", ".join(State),
    "kind": f"Matomo: {', '.join(KINDS)}, and other for a period it does not have; a table: what `columns.kind` holds;"
    " Meltano: the state ID, and ephemeral for those that `el` makes up for one run",
    "scope": ", ".join(SCOPES),
    "plugin": "Matomo's plugin; other beyond `max_reports`",
    "report": "Matomo's report within the plugin; other beyond `max_reports`",
    "host": "the host that the rows record, by its configured name; none without one; other beyond `max_hosts`",
    "verdict": ", ".join(Liveness),
    "reason": f"of stuck jobs: {', '.join(StuckReason)}; of verdicts: {', '.join(Reason)};"
    f" of refusals: {', '.join(RefusalReason)}",
    "limit": ", ".join(LIMITS),
    "label": "host, kind, report",
    "outcome": f"of polls: {', '.join(OUTCOMES)}; of attempts: {', '.join(Ending)};"
    f" of runs: {', '.join(RUN_OUTCOMES)}, other; of probes: {', '.join(PROBE_OUTCOMES)};"
    f" of heals: {', '.join(COUNTED_OUTCOMES)}",
    "mode": ", ".join(MODES),
}

MEANINGS: Final[Mapping[str, Mapping[str, str]]] = {
    "queues": {
        "poll_every": "How often the queue is read.",
        "poll_timeout": "How long one poll may take, connecting included; the server ends its statement, too.",
        "stale_after": "The age at which figures leave the page; never less than three poll intervals in force.",
        "stuck_after": "A started job of this age is stuck; Meltano: one without a new heartbeat for this long.",
        "timeout_after": "A started job of this age is overdue, and to cross it counts as a timeout.",
        "worker_timeout_after": "Published in `limit_seconds`, for rules about `oldest_worker_timestamp_seconds`.",
        "timeout_window": "The window of `timeout_ratio` and `initialisation_ratio`.",
        "run_expected_every": "How often a run is started (cron); published in `limit_seconds`, for rules.",
        "max_duty": "The largest part of one connection's time that polls take; after a slow poll comes a long pause.",
        "max_hosts": "How many hosts have a label of their own, first come; the others are `other`.",
        "max_kinds": "How many kinds have a label of their own, first come; the others are `other`.",
        "max_started": "How many started jobs are read, the oldest first; the others are counted only.",
    },
    "web": {
        "listen": "Where the web server listens; `:9847` is every interface, port 0 a free one. A restart changes it.",
        "config_file": "Prometheus' own web configuration: TLS and passwords, read again when it changes.",
        "enable_lifecycle": "Whether `POST /-/reload` reloads the configuration; SIGHUP always does.",
    },
    "matomo": {
        "matomo_config": "Matomo's own `config/config.ini.php`, read again when it changes.",
        "url": "The database: `mysql://user:password@host/database`; special characters in it percent-encoded.",
        "url_file": "A file that holds such a URL and nothing else, read again at each new connection.",
        "tables_prefix": "The prefix of Matomo's tables; it may be empty.",
        "tls": "How the connection is verified, see below; without it nobody is, even where it is encrypted.",
        "breakdown_every": "How often jobs are counted by scope and report, and blocked ones at all.",
        "max_reports": "How many reports have a label of their own, first come; the others are `other`.",
    },
    "meltano": {
        "project": "The folder with `meltano.yml`; without a URL the database is found as Meltano finds it.",
        "url": "The system database: `sqlite:////path/of/meltano.db` or `postgresql://user:password@host/database`.",
        "url_file": "A file that holds such a URL and nothing else, read again at each new connection.",
        "tls": "How the connection is verified, see below; without it nobody is, even where it is encrypted.",
        "workers_on": "Every host that may run it, by its name under `hosts`: rows record none.",
        "workers_user": "The account that runs it there; only it and root can see whose log is open.",
    },
    "table": {
        "url": "The database: `mysql://…`, `postgresql://…` or `sqlite:////path/of/the.db`.",
        "url_file": "A file that holds such a URL and nothing else, read again at each new connection.",
        "tls": "How the connection is verified, see below; without it nobody is, even where it is encrypted.",
        "from": "The table, as `table` or `schema.table`; or a query, `select …` or `{sql: …}`, trusted.",
        "columns": "Which column holds what, see below.",
        "waiting_when": "SQL that is true of a waiting job; it is trusted.",
        "started_when": "SQL that is true of a started job, whatever `waiting_when` says; it is trusted.",
        "clock": "The clock of times that bear no zone: UTC, or local time in the session's zone.",
        "worker": "What its workers look like on their host, see below.",
    },
    "columns": {
        "id": "The primary key. A rising whole number tells which jobs are new; without one, `enqueued_at` does.",
        "enqueued_at": "When the job came in.",
        "started_at": "When it was started.",
        "kind": "What kind of job it is; without it all are of the kind `job`.",
        "host": "Which host runs it.",
        "pid": "Which process runs it.",
        "heartbeat_at": "When its worker last said that it is alive; with it, a heartbeat that is too old is stuck.",
    },
    "tls": {
        "ca_file": "The authorities that may have signed the server's certificate, PEM.",
        "cert_file": "A client certificate, PEM.",
        "key_file": "Its key, PEM; only together with `cert_file`.",
    },
    "worker": {
        "command": "Words that must all be among a worker's arguments; a leading `*` stands for any beginning.",
        "child_marks": "Words among the arguments of work that can outlive its worker.",
    },
    "healing": {
        "mode": "`reset` puts orphaned jobs back, `dry_run` says what it would do, `disabled` does neither.",
        "write_url": "An account that may do just what a reset does, on the very server and database that are watched.",
        "write_url_file": "A file that holds such a URL and nothing else, read again at each new connection.",
        "heal_after": "The least age of a started job, on the database's clock.",
        "confirm_after": "How long after the first proof of death the second may come, over a new connection.",
        "max_resets_per_hour": "How many jobs are put back within an hour; a restart refills nothing.",
        "max_resets_per_job": "`{resets: 3, within: 24h}`: beyond it a job that kills its workers is left alone.",
        "windows": "When jobs are put back, such as `[Mon-Fri 22:00-06:00 Europe/Berlin]`; `[]` is never.",
        "max_load_per_processor": "Nothing is put back whose worker died on a host with more load than this.",
        "breaker": "`{max_dead_ratio: 0.5, min_hosts: 3, cool_down: 10m}`: stop where so many hosts lose workers.",
    },
    "meltano healing": {
        "trust_heartbeat": "Without `workers_on`, believe a heartbeat that stands still for 5 minutes; no guarantee.",
    },
    "table healing": {
        "reset": "What a job is set to that is put back, such as `{locked_at: null, locked_by: null}`.",
    },
    "ledger": {
        "url": "`sqlite:////path/of/ledger.db`; for several instances `postgresql://…` or `mysql://…`.",
        "url_file": "A file that holds such a URL and nothing else.",
        "tls": "How the connection is verified, see above.",
        "keep": "For how long it remembers what was healed and seen.",
    },
    "hosts": {
        "aliases": "Further names under which workers record this host.",
        "via": "How it is asked about its workers: over `ssh`, or `local`, which is the machine Queuemedic runs on.",
        "address": "Where it is: an IP address, or a name.",
        "port": "The port of its sshd.",
        "user": "The account there, which needs nothing but the forced command.",
        "key_file": "The private key, PEM or OpenSSH; readable for this account only.",
        "known_hosts": "A file with the host's public key, one plain line for each host and port.",
        "machine_id": "What `/etc/machine-id` says there; an answer from another machine then proves nothing.",
        "pid_namespace": "`own` where Queuemedic and the workers share a container; `initial` is the machine itself.",
        "ask_every": "How often it is asked about every started job that names it.",
        "timeout": "How long an answer may take.",
        "worker_memory_limit": "Bytes that one worker may use (PHP: `memory_limit`); published, for rules.",
    },
}

METRICS_HEAD: Final = """\
# Metrics

Every name begins with `queuemedic_`.
The metrics of a queue carry the label `queue`, and a duration or an age is in seconds.

Of a label's known values each is published, with 0 where there is nothing; hosts only while rows record them.
A timestamp of nothing is absent.
The column _Stale_ says whether a metric stays or goes when no poll has succeeded for `stale_after`.
So a queue that is down never looks like an empty one, which says 0; `up` is 0 from the first failed poll on.

## Of each queue
"""

LABELS_HEAD: Final = """\
And the client library's own metrics of the process, such as `process_resident_memory_bytes`.

## Labels
"""

CONFIGURATION_HEAD: Final = """\
# Configuration

The configuration is one YAML file.
It is `--config FILE`, else `$QUEUEMEDIC_CONFIG`, else `./queuemedic.yml`, else `/etc/queuemedic/queuemedic.yml`.
Without any of them, a folder with a Matomo (`config/config.ini.php`) or a Meltano project (`meltano.yml`) is enough.

```yaml
web:
  listen: 127.0.0.1:9847
queues:
  analytics:
    system: matomo
    url: mysql://queuemedic:${QUEUEMEDIC_PASSWORD}@db01/matomo
    tls: {ca_file: db-ca.pem}
  pipelines:
    system: meltano
    project: /srv/meltano
  mails:
    system: table
    url: sqlite:////srv/mails/jobs.db
    from: jobs
    columns: {id: id, kind: queue, enqueued_at: created_at, started_at: locked_at}
    waiting_when: locked_at IS NULL
    started_when: locked_at IS NOT NULL
hosts:
  app01: {aliases: [app01.example.org], via: local}
```

A key that is not known, or is given twice, is refused.
`queuemedic config check` names every fault with its line.
`queuemedic config show` prints what is in force, without secrets.
`queuemedic config schema` prints a JSON schema for editors.

A duration is a text of numbers with `s`, `m`, `h` or `d`: `15s`, `5m`, `1h30m`.
A path begins at the folder of the file that names it.
`${NAME}` in a value is filled in from the environment, and `$$` is a dollar sign.

## `web`
"""

QUEUES_HEAD: Final = """\
## `queues.NAME`

A name is at most 64 letters, digits, `_`, `.` and `-`, the first a letter or `_`; it is the label `queue`.
Every queue has `system`, which is required, and these:
"""

COLUMNS_HEAD: Final = """\
### `columns` of a table

A text is the name of a column, and `{sql: …}` is an expression of the database's own SQL, which is trusted.
[How to watch any job table](../howto/watch-any-table.md) says what the times may be.
"""

TLS_HEAD: Final = """\
### `tls`

`tls: {}` verifies the server by the system's authorities; `tls:` with nothing behind it is no `tls` at all.
"""

HEALING_HEAD: Final = """\
### `healing`

What is done about orphaned jobs; [how to heal](../howto/heal.md) begins with `dry_run`.
"""

LEDGER_HEAD: Final = """\
## `ledger`

The healer's own database: what was intended and done, what was seen of workers and hosts, and what stops healing.
An address alone, `ledger: sqlite:////var/lib/queuemedic/ledger.db`, stands for `ledger: {url: …}`.
Without this key `serve` keeps one only where some queue's `healing.mode` is not `disabled`.
"""

HOSTS_HEAD: Final = """\
## `hosts.NAME`

The name is the one that workers record, exactly, and also the kernel's own name of the machine, or one of `aliases` is.
With `via` the machine is asked whether the recorded processes are still at work.
What makes a worker dead is [a decision of its own](../decisions/0011-judging.md).
"""

COMMANDS_HEAD: Final = """\
# Commands

Results go to standard output, events and errors to standard error.
Of several exit codes, `check` gives the first of 2, 3, 1.
"""


API_HEAD: Final = """\
# JSON

What `--json` prints is what the web server says at `/api/v1`: the same views, in the same shapes.

A duration is a number of seconds, and its name ends in `_seconds`.
An instant is RFC 3339 in UTC.
What is not known is null, not missing; a field may be added, and is not renamed or removed, within one `version`.

## Addresses

They are for reading only: any method but GET and HEAD is refused with 405.
An answer is at most a second old, not to be kept (`Cache-Control: no-store`), and compressed where that is asked for.
What is wrong is told as [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) has it, with status, `title` and `detail`.
A password, certificates and the limit of requests in `web.config_file` hold for all of it.
"""
API_VIEWS: Final = """\
```sh
curl --silent http://localhost:9847/api/v1/queues
```

## Views
"""
SHOWN: Final = (
    views.QueueView,
    views.AttemptView,
    views.KindView,
    views.LoadView,
    views.ScopeView,
    views.ReportView,
    views.GroupView,
    views.HealingView,
    views.HostView,
    views.HealView,
)


def main(arguments: Sequence[str] | None = None, *, folder: Path = REFERENCE) -> int:
    """Write the pages, or with `--check` compare them; the exit code."""
    parser = argparse.ArgumentParser(description="Write docs/reference from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 and name the pages that differ")
    is_check = parser.parse_args(arguments).check
    pages = {
        "metrics.md": metrics_page(),
        "configuration.md": configuration_page(),
        "commands.md": commands_page(),
        "api.md": api_page(),
    }
    differing = [name for name, text in pages.items() if _read(folder / name) != text]
    for name in differing:
        if is_check:
            sys.stdout.write(f"docs/reference/{name} differs from the code; run make docs\n")
        else:
            (folder / name).write_text(pages[name], encoding="utf-8")
    return 1 if is_check and differing else 0


def metrics_page() -> str:
    """Every metric."""
    return _page(
        METRICS_HEAD,
        _metrics_table(QUEUE_METRICS),
        "## Of the program",
        _metrics_table(PROGRAM_METRICS),
        LABELS_HEAD,
        _table(("Label", "Values"), ((f"`{name}`", values) for name, values in LABELS.items())),
    )


def configuration_page() -> str:
    """Every key of the configuration, with its form and default."""
    common = _table(
        ("Key", "Value", *(f"Default, {name}" for name in OPTIONS), "Meaning"),
        (
            (
                f"`{key}`",
                _form(QueueOptions, key),
                *(_default(system.queue, key) for system in OPTIONS.values()),
                meaning,
            )
            for key, meaning in _meanings(QueueOptions, "queues").items()
        ),
    )
    return _page(
        CONFIGURATION_HEAD,
        _options_table(WebOptions, "web"),
        QUEUES_HEAD,
        common,
        *(part for name, system in OPTIONS.items() for part in _system(name, system.queue)),
        COLUMNS_HEAD,
        _options_table(Columns, "columns"),
        "### `worker` of a table",
        _options_table(WorkerOptions, "worker"),
        TLS_HEAD,
        _options_table(TlsOptions, "tls"),
        HEALING_HEAD,
        _options_table(HealingOptions, "healing"),
        "And for Meltano:",
        _options_table(MeltanoHealing, "meltano healing", without=frozenset(HealingOptions.model_fields)),
        "And for a table:",
        _options_table(TableHealing, "table healing", without=frozenset(HealingOptions.model_fields)),
        LEDGER_HEAD,
        _options_table(LedgerOptions, "ledger"),
        HOSTS_HEAD,
        _options_table(HostOptions, "hosts"),
    )


def commands_page() -> str:
    """Every command's own help, and the exit codes."""
    codes = {
        0: "All is well.",
        STUCK: "`check`: a job is stuck or orphaned. Any command: an error that nobody expected, with a traceback.",
        ConfigurationError.exit_code: "The configuration or the command line cannot be used.",
        DATABASE_DOWN: "`check`: a database did not answer, or refused.",
    }
    parts = [COMMANDS_HEAD, _table(("Exit code", "Meaning"), ((str(code), text) for code, text in codes.items()))]
    root = program.make_context("queuemedic", [], resilient_parsing=True, terminal_width=HELP_WIDTH)
    for context in _contexts(root):
        parts += [f"## `{context.command_path}`", f"```text\n{context.get_help()}\n```"]
    return _page(*parts)


def api_page() -> str:
    """Every address of the JSON API, and every field of what it answers."""
    answers = {
        **{path: render.__doc__ or "" for path, render in api.LISTS.items()},
        api.ATTEMPTS: api.show_attempts.__doc__ or "",
    }
    told = _tell_fields(Path(views.__file__))
    parts = [API_HEAD, _table(("Address", "Answers"), ((f"`{path}`", answers[path]) for path in sorted(answers)))]
    parts.append(API_VIEWS)
    for view in SHOWN:
        meanings = {name: text for one in reversed(view.mro()) for name, text in told.get(one.__name__, {}).items()}
        rows = ((f"`{name}`", _type(field.annotation), meanings[name]) for name, field in view.model_fields.items())
        parts += [f"### {view.__name__}", view.__doc__ or "", _table(("Field", "Value", "Meaning"), rows)]
    return _page(*parts)


def _tell_fields(module: Path) -> Mapping[str, Mapping[str, str]]:
    """Return what the line below each field says, by the names of class and field; empty where there is none."""
    told: dict[str, dict[str, str]] = {}
    for node in ast.parse(module.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef):
            fields = told.setdefault(node.name, {})
            for statement, below in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                    is_told = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
                    text = str(ast.literal_eval(below.value)) if is_told and isinstance(below, ast.Expr) else ""
                    fields[statement.target.id] = " ".join(text.split())
    return told


def _type(annotation: object) -> str:
    """Say what a value is in JSON."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is tuple:
        return f"list of {_type(inner[0])}"
    if origin is dict:
        return f"mapping to {_type(inner[1])}"
    if inner:
        return " or ".join(_type(one) for one in inner)
    words = {str: "text", bool: "true or false", int: "whole number", float: "number", type(None): "null"}
    return words.get(annotation, "instant")  # type: ignore[call-overload,no-any-return]


def _contexts(context: click.Context) -> Iterator[click.Context]:
    """Walk through a command and those below it."""
    yield context
    command = context.command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child:
                yield from _contexts(child.make_context(name, [], parent=context, resilient_parsing=True))


def _system(name: str, model: type[QueueOptions]) -> Iterator[str]:
    yield f"### `system: {name}`"
    yield _options_table(model, name, without=frozenset(QueueOptions.model_fields))
    if name == "matomo":
        yield "Exactly one of `matomo_config`, `url` and `url_file` is required."
    if name == "meltano":
        yield "One of `project`, `url` and `url_file` is required; of the two last not both."
    if name == "table":
        yield "Exactly one of `url` and `url_file` is required."


def _metrics_table(metrics: Iterable[Metric]) -> str:
    rows = ((*_signature(metric), _meaning(metric)) for metric in metrics)
    return _table(("Metric", "Type", "Labels", "Stale", "Meaning"), rows)


def _signature(metric: Metric) -> tuple[str, str, str, str]:
    labels = " ".join(f"`{label}`" for label in metric.labels)
    return f"`{metric.name}`", metric.type, labels, "stays" if metric.is_lasting else "goes"


def _meaning(metric: Metric) -> str:
    buckets = f" Buckets: {' '.join(f'{bound:g}' for bound in metric.buckets)}."
    return metric.help + (buckets if metric.type is Type.HISTOGRAM else "")


def _options_table(model: type[BaseModel], section: str, *, without: frozenset[str] = frozenset()) -> str:
    names = {field.alias or name: name for name, field in model.model_fields.items()}
    rows = (
        (f"`{key}`", _form(model, names[key]), _default(model, names[key]), meaning)
        for key, meaning in _meanings(model, section, without=without).items()
    )
    return _table(("Key", "Value", "Default", "Meaning"), rows)


def _meanings(model: type[BaseModel], section: str, *, without: frozenset[str] = frozenset()) -> Mapping[str, str]:
    """Return what each key of a model is for; raises KeyError where a key has no meaning, or a meaning no key."""
    keys = {field.alias or name for name, field in model.model_fields.items()} - without
    if differing := keys ^ MEANINGS[section].keys():
        raise KeyError(f"docs/generate.py, MEANINGS, {section}: {', '.join(sorted(differing))}")
    return MEANINGS[section]


def _default(model: type[BaseModel], name: str) -> str:
    """Say what holds where the key is not given, as a person would write it."""
    field: FieldInfo = model.model_fields[name]
    match field.default:
        case _ if field.is_required():
            return "required"
        case _ if field.default is PydanticUndefined:
            return "nothing"
        case None:
            hint = field.description or ""
            return hint.removeprefix("default: ") if hint.startswith("default: ") else "none"
        case BaseModel():
            return "see there"
    return f"`{_show(field.default)}`"


def _show(value: object) -> str:
    match value:
        case timedelta() as span:
            return show_duration(span)
        case tuple():
            return "[]"
        case bool(is_true):
            return str(is_true).lower()
    return str(value)


def _form(model: type[BaseModel], name: str) -> str:
    """Say what a value looks like, from the schema that also editors use."""
    schema = model.model_json_schema(by_alias=False)["properties"][name]
    parts = [part for part in schema.get("anyOf", [schema]) if part.get("type") != "null"]
    return " or ".join(_form_of(part) for part in parts)


def _form_of(schema: Mapping[str, Any]) -> str:
    words = {
        "path": "path",
        "string": "text",
        "array": "list of texts",
        "boolean": "true or false",
        "object": "mapping",
    }
    if "$ref" in schema:
        return "`{sql: …}`" if schema["$ref"].endswith("/Sql") else "mapping"
    if choices := schema.get("enum", [schema["const"]] if "const" in schema else ()):
        return " or ".join(f"`{choice}`" for choice in choices)
    if schema["type"] == "integer":
        most = f"to {schema['maximum']}" if "maximum" in schema else "or more"
        return f"{schema['minimum']} {most}"
    if schema["type"] == "number":
        most = f", at most {schema['maximum']:g}" if "maximum" in schema else ""
        return f"above {schema['exclusiveMinimum']:g}{most}"
    if "examples" in schema:
        return {"15s": "duration", "127.0.0.1:9847": "`host:port`"}.get(schema["examples"][0], "URL")
    return words[schema.get("format", schema["type"])]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _page(*parts: str) -> str:
    return "\n\n".join((NOTICE, *(part.strip() for part in parts))) + "\n"


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
