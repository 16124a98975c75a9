"""The documents say what the code does: events, metrics, grants, the view, configurations, links, generated pages."""

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import exporter
import healers
import queuemedic
from exporter.catalogue import METRICS
from exporter.errors import NoLedger
from exporter.queues.matomo.shape import METRICS as FINISHED
from exporter.queues.matomo.shape import REQUIRED, WORKER, Tables
from exporter.queues.matomo.statements import SIGNALS
from exporter.web.options import WebConfig
from healers.ledger import Ledger
from healers.machines import Doubt
from healers.probes.protocol import Silence
from healers.reasons import Liveness, Reason
from queuemedic.building import make_resets
from queuemedic.config import load
from queuemedic.systems import OPTIONS

ROOT = Path(__file__).parents[2]
OF_MATOMO = ROOT / "docs" / "howto" / "watch-matomo.md"
QUICKSTART = ROOT / "docs" / "quickstart" / "matomo.md"
GUIDES = (
    ROOT / "README.md",
    *sorted(page for folder in ("about", "howto", "quickstart") for page in (ROOT / "docs" / folder).glob("*.md")),
)
PAGES = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))
# Of what is imported, which can be an installed wheel.
CODE = tuple(
    path for package in (exporter, healers, queuemedic) for path in sorted(Path(package.__path__[0]).rglob("*.py"))
)
TABLES = Tables(prefix="matomo_")
VALUES = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "queuemedic" / "values.yaml").read_text())
ENVIRONMENT = {"QUEUEMEDIC_PASSWORD": "choose-a-password"}

LEVELS = frozenset({"debug", "info", "warning", "error", "critical", "exception"})
EVENT = re.compile(r"[a-z]+\.[a-z]+(?:_[a-z]+)*")
EVENT_ROW = re.compile(r"^\| `([\w.]+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
GRANT = re.compile(r"GRANT SELECT(?: \(([^)]*)\))?\s+ON (\w+) TO")

Events = Mapping[str, tuple[str, frozenset[str]]]


def fences(page: Path, language: str) -> list[str]:
    """Return the code blocks of a page in one language."""
    return [text for found, text in FENCE.findall(page.read_text()) if found == language]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """docs/generate.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def logged_events() -> dict[str, tuple[str, frozenset[str]]]:
    """Find every event in the code, with its level and the keys it can have."""
    events: dict[str, tuple[str, frozenset[str]]] = {}
    for path in CODE:
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for call in _logging_calls(function):
                    name = ast.literal_eval(call.args[0])
                    assert EVENT.fullmatch(name), f"{path}: {name}"
                    assert name not in events, f"{path}: {name} is logged in two places"
                    assert isinstance(call.func, ast.Attribute)
                    events[name] = call.func.attr, frozenset(_keys(call, function))
    return events


def _logging_calls(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.Call]:
    for node in ast.walk(function):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="log"), attr=attr)) if attr in LEVELS:
                yield node


def _keys(call: ast.Call, function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """Yield the keys of one event: keywords, and those of a mapping that is unpacked and made in the same function."""
    for keyword in call.keywords:
        if keyword.arg is not None:
            yield keyword.arg
            continue
        assert isinstance(keyword.value, ast.Name)
        for node in ast.walk(function):
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Dict(keys=keys)) if name == keyword.value.id:
                    yield from (ast.literal_eval(key) for key in keys if key is not None)
                case ast.Assign(targets=[ast.Subscript(value=ast.Name(id=name), slice=key)]) if (
                    name == keyword.value.id
                ):
                    yield ast.literal_eval(key)


def test_every_event_is_described_with_its_level_and_keys() -> None:
    """Renaming an event or a key is breaking, so the page has to change with the code; a traceback is no key."""
    described = {
        name: (level, frozenset(re.findall(r"`(\w+)`", keys)))
        for name, level, keys in EVENT_ROW.findall((ROOT / "docs" / "reference" / "events.md").read_text())
    }
    logged = {name: (level, keys - {"exc_info"}) for name, (level, keys) in logged_events().items()}
    assert described == logged


def test_every_log_call_is_found() -> None:
    """A logger under another name than `log` would hide its events from the test above."""
    for path in CODE:
        text = path.read_text()
        assert text.count("get_logger(") == len(re.findall(r"^ *log = structlog\.get_logger\(\)$", text, re.MULTILINE))


def test_the_generated_pages_are_those_of_the_code() -> None:
    """As `make check` runs it."""
    checked = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_a_page_that_differs_is_named(generate: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without writing it; and what is written does not differ."""
    assert generate.main([], folder=tmp_path) == 0
    assert generate.main(["--check"], folder=tmp_path) == 0
    page = tmp_path / "metrics.md"
    page.write_text("old\n")
    assert generate.main(["--check"], folder=tmp_path) == 1
    assert capsys.readouterr().out == "docs/reference/metrics.md differs from the code; run make docs\n"
    assert page.read_text() == "old\n"


def test_every_metric_is_published_by_some_code() -> None:
    """A metric is published by its name in the code, or in the SQL that names signals."""
    constants = {
        node.value
        for path in CODE
        if path.name != "catalogue.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    published = METRICS.keys() & (constants | set(re.findall(r"'(\w+)'", SIGNALS)))
    assert METRICS.keys() - published == set()


def test_the_limits_that_are_listed_are_options(generate: ModuleType) -> None:
    """Each can be set."""
    assert set(generate.LIMITS) <= OPTIONS["matomo"].queue.model_fields.keys()


def test_the_view_is_the_one_that_is_read() -> None:
    """With the table's name filled in, the text is that of the code; so the view shows what the table would."""
    [(name, body)] = re.findall(
        r"^CREATE SQL SECURITY DEFINER VIEW (\w+) AS\n(.*?);$", OF_MATOMO.read_text(), re.MULTILINE | re.DOTALL
    )
    assert f"`{name}`" == TABLES.signals
    assert body == SIGNALS.format(option=TABLES.option.strip("`"))


@pytest.mark.parametrize("page", [OF_MATOMO, QUICKSTART], ids=lambda page: page.name)
def test_the_grants_are_of_what_is_read_and_no_more(page: Path) -> None:
    """Each statement gives the rights of one version of Matomo, or of an optional table; the guide has all of them."""
    invalidations, metrics, signals = (
        name.strip("`") for name in (TABLES.invalidations, TABLES.metrics, TABLES.signals)
    )
    allowed = {
        (invalidations, frozenset({*REQUIRED, *WORKER})),
        (invalidations, frozenset(REQUIRED)),
        (metrics, frozenset(FINISHED)),
        (signals, frozenset()),
    }
    upgrade = (invalidations, frozenset(WORKER))
    granted = {
        (table, frozenset(re.findall(r"\w+", columns)))
        for block in fences(page, "sql")
        for columns, table in GRANT.findall(block)
    }
    assert granted - {upgrade} == (allowed if page == OF_MATOMO else {(invalidations, frozenset({*REQUIRED, *WORKER}))})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    """To a file that is there."""
    targets = [target for target in LINK.findall(page.read_text()) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def _no_ledger() -> Ledger:
    raise NoLedger


def test_every_configuration_that_is_shown_can_be_loaded(tmp_path: Path) -> None:
    """A block of YAML is a configuration of ours, or one of Prometheus: of its own, or of its web side."""
    ours = 0
    for page in PAGES:
        for block in fences(page, "yaml"):
            keys = yaml.safe_load(block).keys()
            if keys <= {"scrape_configs", "rule_files"} or keys <= VALUES.keys():
                continue
            if keys & WebConfig.model_fields.keys():
                WebConfig.model_validate(yaml.safe_load(block))
                continue
            assert keys <= {"web", "ledger", "queues", "hosts"}, page
            file = tmp_path / "queuemedic.yml"
            file.write_text(block)
            config = load(file, ENVIRONMENT, OPTIONS)
            make_resets(config, _no_ledger)
            ours += 1
    assert ours >= 6


def test_every_metric_that_is_named_exists() -> None:
    """In the guides a metric is written with its prefix, in code."""
    views = {TABLES.signals.strip("`").removeprefix("matomo_"), "queuemedic_jobs"}
    for page in GUIDES:
        named = set(re.findall(r"`(queuemedic_[a-z_]+)", page.read_text())) - views
        assert named <= {metric.full_name for metric in METRICS.values()}, page


def test_every_reason_of_a_verdict_is_explained() -> None:
    """Once, in the order of the code, under the verdict that it is a reason for."""
    page = (ROOT / "docs" / "about" / "judging.md").read_text()
    rows = re.findall(r"^\| (\w+) \| `(\w+)` \| [A-Z].+\. \|$", page, re.MULTILINE)
    assert [reason for _, reason in rows] == list(Reason)
    assert {verdict for verdict, _ in rows} == set(Liveness)
    assert {verdict for verdict, reason in rows if reason in set(Silence) | set(Doubt)} == {Liveness.UNKNOWN}
