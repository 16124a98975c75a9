"""The status page in a real browser: live data, every state and width, light and dark, by keyboard, without script.

Where a state takes a real program long to get into, the program's own web server shows a made-up scene.
"""

import json
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import bcrypt
import httpx
import pytest
import yaml

from tests.conftest import installed
from tests.lab import queuemedic
from tests.lab.browser import Browser
from tests.lab.queuemedic import Serving
from tests.lab.scenes import make_scene, serve_source
from tests.lab.sqlite_queue import FAST
from tests.lab.waiting import wait_until
from tests.unit.test_pages import HOSTILE, a_full_scene, a_hostile_scene, a_large_scene

SCENES = {
    "full": a_full_scene(),
    "empty": make_scene(is_kept=False),
    "hostile": a_hostile_scene(),
    "large": a_large_scene(1000),
}
WIDTHS = ((390, False), (1280, True), (320, True), (834, False), (1920, False))
"""And whether it is dark; the first two are what people have most."""
WORKER = "queuemedic-test-worker"
TABLE = "CREATE TABLE jobs (id INTEGER PRIMARY KEY, a TEXT DEFAULT (datetime('now')), b TEXT, host TEXT, pid TEXT)"

DOCS = Path(__file__).parents[2] / "docs"
LAYOUT = (Path(__file__).parent / "layout.js").read_text()
"""What finds, in the page, texts that overlap, are cut, lie outside of it, or have too little contrast."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all of these tests."""
    with installed():
        started = Browser()
    with started:
        yield started


@pytest.fixture(scope="module", params=SCENES)
def scene(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A scene's name and where it is served."""
    with serve_source(SCENES[request.param]) as address:
        yield request.param, address


def renew(browser: Browser) -> None:
    """Have the page renew itself now, as it does every ten seconds."""
    browser.run("document.dispatchEvent(new Event('visibilitychange'))")


def test_every_width_is_legible(browser: Browser, scene: tuple[str, str]) -> None:
    """Nothing overlaps, is cut, or lies outside; every text has contrast, light and dark; nothing breaks the policy."""
    name, address = scene
    paths = ("/", "/queues/analytics") if name in ("full", "hostile") else ("/",)
    for path in paths:
        for width, dark in WIDTHS[:2] if name == "large" else WIDTHS:
            browser.open(f"{address}{path}", width=width, dark=dark)
            browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            faults = browser.run(LAYOUT)
            assert faults == [], f"{path} at {width}: {json.dumps(faults, indent=1)}"
            assert browser.reports == []
            assert browser.run("getComputedStyle(document.body).colorScheme") == "light dark"


def test_hostile_texts_run_nothing(browser: Browser) -> None:
    """No script of theirs runs, none is there, and the policy would not let it."""
    with serve_source(a_hostile_scene()) as address:
        for path in ("/", "/queues/analytics"):
            browser.open(f"{address}{path}")
            assert "pwned" not in browser.run("document.title")
            assert browser.run("document.scripts.length") == 1
            assert browser.run("document.images.length") == 0
            assert browser.reports == []
        shown = browser.run("document.querySelector('#main').innerText")
        assert HOSTILE[0] in shown
        assert "abc\\x202egnp.exe" in shown
        browser.run("document.body.appendChild(Object.assign(document.createElement('style'), {textContent: 'p {}'}))")
        wait_until(lambda: browser.run("1") and browser.reports, within=10, what="the breach is reported")
        assert "Content Security Policy" in browser.reports[0]


def test_tables_stay_tables_on_a_phone(browser: Browser) -> None:
    """Where rows look like cards, assistive technology still has tables with headers; plots have names."""
    with serve_source(a_full_scene()) as address:
        browser.open(address, width=390)
        nodes = browser.ask("Accessibility.getFullAXTree")["nodes"]
    roles = [node["role"]["value"] for node in nodes if not node["ignored"]]
    names = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]}
    assert roles.count("table") == 4
    assert roles.count("columnheader") == 30
    assert roles.count("rowheader") == 4 + 3 + 3 + 2
    assert {"banner", "navigation", "main", "contentinfo"} <= set(roles)
    assert ("table", "Every queue, those in trouble first") in names
    images = [name for role, name in names if role in ("image", "img")]
    assert any(name.startswith("Waiting jobs over 5h") for name in images)
    assert all(images)
    headings = [name for role, name in names if role == "heading"]
    assert {"Queues", "Hosts", "Put back and refused"} <= set(headings)


def test_the_keyboard_is_enough(browser: Browser) -> None:
    """Everything that can be used is reached with Tab, sees its focus, and stays open when the page renews itself."""
    with serve_source(a_full_scene()) as address:
        browser.open(address)
        reached: list[str] = []
        for _ in range(60):
            press(browser, "Tab", 9)
            reached.append(browser.run("document.activeElement.textContent.trim().slice(0, 30)"))
            outline = browser.run("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none" or browser.run("document.activeElement === document.body"), reached[-1]
            if browser.run("document.activeElement.tagName") == "SUMMARY":
                break
        assert reached[:3] == ["Skip to the content", "Queuemedic", "Metrics"]
        press(browser, "Enter", 13)
        is_open = "document.activeElement.closest('details')?.open && document.activeElement.tagName === 'SUMMARY'"
        wait_until(lambda: browser.run(is_open), within=5, what="the evidence is open")
        browser.run("window.before = document.getElementById('main')")
        renew(browser)
        wait_until(
            lambda: browser.run("window.before !== document.getElementById('main')"), within=10, what="it is renewed"
        )
        assert browser.run(is_open)
        assert browser.reports == []


def test_a_runbook_is_read_by_keyboard_on_a_phone(browser: Browser) -> None:
    """A command that is too wide is scrolled where it stands, and links in a list are far enough apart for a thumb."""
    papers = {str(file.relative_to(DOCS)): file for file in DOCS.glob("*/*.md")}
    with serve_source(a_full_scene(), papers=papers) as address:
        browser.open(f"{address}/docs/howto/heal", width=390)
        assert browser.run("[...document.querySelectorAll('pre')].every((one) => one.tabIndex === 0)")
        assert browser.run("document.querySelectorAll('pre').length") > 5
        browser.go(f"{address}/docs/")
        tops = browser.run("[...document.querySelectorAll('.paper li')].map((one) => one.getBoundingClientRect().top)")
        assert all(later - earlier >= 24 for earlier, later in pairwise(tops))


def press(browser: Browser, key: str, code: int) -> None:
    """Press and release a key."""
    text = {"text": "\r"} if key == "Enter" else {}
    for sort in ("keyDown", "keyUp"):
        browser.ask("Input.dispatchKeyEvent", type=sort, key=key, windowsVirtualKeyCode=code, **text)


def test_without_script_the_page_reloads_itself(browser: Browser) -> None:
    """And shows the same."""
    with serve_source(a_full_scene()) as address:
        browser.open(address, script=False)
        root = browser.ask("DOM.getDocument", depth=-1)["root"]["nodeId"]
        found = browser.ask("DOM.querySelector", nodeId=root, selector="meta[http-equiv=refresh]")["nodeId"]
        assert browser.ask("DOM.getAttributes", nodeId=found)["attributes"][-2:] == ["content", "15"]
        rows = browser.ask("DOM.querySelectorAll", nodeId=root, selector="table.queues tbody tr")["nodeIds"]
        assert len(rows) == 4


def test_a_page_whose_program_is_gone_says_so(browser: Browser) -> None:
    """It does not look as fresh as it was."""
    with serve_source(a_full_scene()) as address:
        browser.open(address)
        assert browser.run("document.getElementById('lost').hidden") is True
    renew(browser)
    wait_until(lambda: browser.run("!document.getElementById('lost').hidden"), within=15, what="it is told")
    assert "does not answer" in browser.run("document.getElementById('lost').innerText")


class Worked:
    """A queue of which one worker is alive and can be killed, as the demo's are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "jobs.db"
        (folder / WORKER).write_text("#!/bin/sh\nread nothing\n")
        (folder / WORKER).chmod(0o755)
        self.worker = subprocess.Popen([folder / WORKER], stdin=subprocess.PIPE, start_new_session=True)
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(TABLE)
            connection.executemany("INSERT INTO jobs (b) VALUES (?)", [(None,)] * 3)
            claim = (socket.gethostname(), str(self.worker.pid))
            connection.execute("INSERT INTO jobs (b, host, pid) VALUES (datetime('now'), ?, ?)", claim)
        queue = {
            "system": "table",
            "url": f"sqlite:///{self.database}",
            "from": "jobs",
            "columns": {"id": "id", "enqueued_at": "a", "started_at": "b", "host": "host", "pid": "pid"},
            "waiting_when": "b IS NULL",
            "started_when": "b IS NOT NULL",
            "worker": {"command": [f"*{WORKER}"]},
            "healing": {
                "mode": "reset",
                "heal_after": "1s",
                "confirm_after": "2s",
                "reset": {"b": None, "host": None, "pid": None},
            },
            **FAST,
        }
        down = {**queue, "url": f"sqlite:///{folder}/missing.db", "healing": {"mode": "disabled"}}
        hosts = {socket.gethostname(): {"via": "local", "pid_namespace": "own", "ask_every": "1s"}}
        self.config = queuemedic.write_config(
            folder, {"mails": queue, "gone": down}, hosts=hosts, ledger=f"sqlite:///{folder}/ledger.db"
        )

    def kill(self) -> None:
        """Kill the worker in mid-work."""
        if self.worker.poll() is None:
            self.worker.kill()
        self.worker.communicate()


@pytest.fixture
def worked(tmp_path: Path) -> Iterator[Worked]:
    """The queue; its worker ends with the test."""
    made = Worked(tmp_path)
    yield made
    made.kill()


def sees(browser: Browser, text: str, *, within: float = 30) -> None:
    """Wait until the page, which renews itself, shows a text."""

    def shows() -> bool:
        renew(browser)
        shown: str = browser.run("document.getElementById('main').innerText")
        assert text in shown, shown
        return True

    wait_until(shows, within=within, what=f"the page shows {text!r}", every_seconds=0.5)


def test_a_killed_worker_is_seen_and_its_job_comes_back(browser: Browser, worked: Worked) -> None:
    """From alive with its evidence over dead to put back, in one page that is never reloaded; and what is down."""
    host = socket.gethostname()
    with queuemedic.serving(worked.config, worked.folder) as served:
        browser.open(f"{served.address}/")
        sees(browser, "alive: its process runs")
        sees(browser, "1 of 2 queues needs a person")
        sees(browser, "never read: ")
        assert browser.run("document.title").startswith("✗ 1 of 2")
        browser.run("document.querySelector('details').open = true")
        evidence = browser.run("document.querySelector('.evidence').innerText")
        assert f"pid\n{worked.worker.pid}" in evidence.replace("\n\n", "\n")
        worked.kill()
        sees(browser, "1 of 1 started job orphaned")
        sees(browser, "put back")
        sees(browser, "nothing stuck")
        wait_until(
            lambda: (
                ("reset", "dead", None)
                in {(one["result"], one["verdict"], one["row"]) for one in served.get("/api/v1/heals").json()["heals"]}
            ),
            within=30,
            what="the API says that the job was put back",
        )
        assert browser.reports == []
        browser.go(f"{served.address}/queues/mails")
        sees(browser, "Waiting jobs")
        assert host in browser.run("document.body.innerText")
        assert queuemedic.run("--config", worked.config, "pause", "--why", "<b>deploying</b>").code == 0
        sees(browser, "healing is paused")
        browser.go(f"{served.address}/")
        sees(browser, "Healing of all queues is paused: <b>deploying</b>")
        assert browser.reports == []


def test_the_api_says_what_the_commands_say(worked: Worked) -> None:
    """The same fields, and the same values where they do not age."""
    with queuemedic.serving(worked.config, worked.folder) as served:
        served.scrape_until("up", 1, queue="mails")
        path = "/api/v1/queues/mails/attempts"
        wait_until(
            lambda: served.get(path).json()["queues"][0]["attempts"][0]["verdict"] == "alive",
            within=20,
            what="the worker is judged",
        )
        [shown] = served.get(path).json()["queues"]
        [printed] = queuemedic.run("--config", worked.config, "check", "--queue", "mails", "--json").json["queues"]
        assert set(shown) == set(printed)
        changing = {"read_at", "database_clock_offset_seconds", "kinds", "hosts", "attempts", "healing"}
        assert {name: shown[name] for name in shown.keys() - changing} == {
            name: printed[name] for name in printed.keys() - changing
        }
        assert shown["healing"]["mode"] == "reset"
        [job], [same] = shown["attempts"], printed["attempts"]
        assert {name: job[name] for name in ("job_id", "host", "pid", "pid_text", "verdict", "detail")} == {
            name: same[name] for name in ("job_id", "host", "pid", "pid_text", "verdict", "detail")
        }
        hosts = served.get("/api/v1/hosts").json()["hosts"]
        assert [host["host"] for host in hosts] == [socket.gethostname()]


PASSWORD = "s3cret"
LOCKED = (
    "/",
    "/queues/mails",
    "/api/v1/queues",
    "/api/v1/queues/mails/attempts",
    "/api/v1/hosts",
    "/api/v1/heals",
    "/docs/",
    "/docs/images/flow.svg",
    "/nothing",
    "/metrics",
)


@pytest.fixture
def locked(worked: Worked) -> Iterator[Serving]:
    """The program behind a password."""
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    (worked.folder / "web.yml").write_text(yaml.safe_dump({"basic_auth_users": {"anna": hashed}}))
    sections = yaml.safe_load(worked.config.read_text())
    sections["web"]["config_file"] = "web.yml"
    worked.config.write_text(yaml.safe_dump(sections))
    with queuemedic.serving(worked.config, worked.folder, auth=("anna", PASSWORD)) as served:
        yield served


def test_a_password_holds_for_all_of_it(locked: Serving) -> None:
    """Pages, JSON, documents, files and what is not there."""
    style = locked.get("/").text.partition('rel="stylesheet" href="')[2].partition('"')[0]
    for path in (*LOCKED, style):
        assert httpx.get(f"{locked.address}{path}").status_code == 401, path
        assert locked.get(path).status_code == (404 if path == "/nothing" else 200), path
