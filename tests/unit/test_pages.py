"""The web side without a network: addresses, headers, JSON, caching, and pages that are valid, bounded and quick."""

import json
import re
import threading
import time
import tomllib
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import html5lib  # type: ignore[import-untyped]
import httpx
import pytest

import exporter.web
from exporter import clock
from exporter.series import Series
from exporter.showing import Glance
from exporter.views import HealingView, HealsView, HostsView, PauseView, QueuesView, QueueView
from exporter.web import rendering
from exporter.web.app import PAGE_HEADERS
from exporter.web.pages import Pages
from exporter.web.papers import FOLDERS
from exporter.web.shipped import load_shipped
from exporter.web.source import Source
from tests.lab.scenes import (
    NOW,
    a_dead_queue,
    a_heal,
    a_host,
    a_job,
    a_load,
    a_queue,
    a_series,
    make_scene,
    serve_source,
)

DOCS = Path(__file__).parents[2] / "docs"
PAPERS = {str(file.relative_to(DOCS)): file for file in [*DOCS.glob("*/*.md"), *DOCS.glob("images/*.*")]}
STUCK: dict[str, Any] = {"verdict": "dead", "verdict_reason": "no_process", "stuck_reason": "over_age"}
PAUSED = HealingView(mode="paused", breaker_open=False, quarantined=0, blocked={"paused": 1}, passed_at=NOW)
HOSTILE = (
    "<script>document.title='pwned'</script>",
    '"><img src=x onerror="document.title=\'pwned\'">',
    "abc\u202egnp.exe",
    "\x1b]0;pwned\x07\x00",
    "{{ 7 * 7 }}{% raw %}",
    "שלום-עולם",
    "\ud800half",
    "x" * 10_000,
    "'; DROP TABLE jobs; --",
    "..%2f..%2fetc/passwd",
)


def a_full_scene(**more: Any) -> Source:
    """Return a fleet in every state."""
    jobs = (a_job("317", host="web02", **STUCK), a_job("318"), a_job("319", verdict=None, verdict_reason=None))
    queues = [
        a_queue(
            attempts=jobs, started=3, stuck=1, stuck_reasons={"over_age": 1}, stuck_alive=0, orphaned=1, healing=PAUSED
        ),
        a_dead_queue("mails"),
        a_queue("pipelines", overdue=1),
        a_queue("quiet", waiting=0, started=0, kinds=(), hosts=()),
    ]
    points = {"analytics": a_series(down_for=1).points(), "pipelines": a_series(0.1).points()}
    hosts = [a_host(), a_host("web02", load_average=9.0), a_host("web03", up=False, reason="timeout", error="10s")]
    heals = [a_heal("301"), a_heal("302", result="refused", refusal="paused", detail="deploying (anna)")]
    pauses = [PauseView(queue=None, why="deploying", actor="anna", at=NOW)]
    return make_scene(queues, hosts=hosts, heals=heals, pauses=pauses, points=points, **more)


def a_hostile_scene(texts: Sequence[str] = HOSTILE) -> Source:
    """Return a queue whose every foreign text is hostile."""
    jobs = tuple(
        a_job(text, kind=text, host=text, pid_text=text, detail={"site": text, text: text}, evidence={text: text})
        for text in texts
    )
    loads = tuple(a_load(text) for text in texts)
    queue = a_queue(attempts=jobs, started=len(jobs), hosts=loads, up=False, error="".join(texts))
    heals = [a_heal(text, host=text, pid_text=text, detail=text, actor=text) for text in texts]
    hosts = [a_host(text, up=False, reason=text, error=text) for text in texts]
    pauses = [PauseView(queue=queue, why=texts[0], actor=texts[1], at=NOW) for queue in (None, "analytics")]
    return make_scene([queue], hosts=hosts, heals=heals, pauses=pauses, fault=texts[0])


@contextmanager
def client(source: Source) -> Iterator[httpx.Client]:
    """Serve a scene and return what asks."""
    with serve_source(source, papers=PAPERS) as address, httpx.Client(base_url=address) as asking:
        yield asking


@pytest.fixture(scope="module")
def full() -> Iterator[httpx.Client]:
    """A server of a full scene."""
    with client(a_full_scene()) as asking:
        yield asking


def is_valid(text: str) -> bool:
    """Whether a page is HTML that needs no repair; raises what is wrong."""
    html5lib.HTMLParser(strict=True).parse(text)
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids)), "an id is there twice"
    return True


SCENES = {
    "full": a_full_scene(),
    "empty": make_scene(is_kept=False),
    "fault": make_scene([a_dead_queue()], fault="disk I/O error"),
    "hostile": a_hostile_scene(),
}


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("path", ["/", "/queues/analytics", "/queues/mails", "/queues/nobody"])
def test_pages_are_valid_and_have_one_headline(scene: str, path: str) -> None:
    """Whatever they show, they need no repair, and each table has a caption and headers."""
    with client(SCENES[scene]) as asking:
        text = asking.get(path).text
    assert is_valid(text)
    assert text.count("<h1") == 1
    assert text.count("<table") == text.count("<caption") == text.count("<thead")
    assert text.count('<svg class="plot') == text.count('role="img" aria-label=')


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_texts(text: str) -> None:
    """They are escaped, cut, on one line, and turn no direction around."""
    with client(a_hostile_scene([text, text])) as asking:
        pages = [asking.get(path) for path in ("/", "/queues/analytics")]
        answers = [asking.get(path) for path in ("/api/v1/queues/analytics/attempts", "/api/v1/heals", "/api/v1/hosts")]
    for page in pages:
        assert page.status_code == 200
        assert "<script>document" not in page.text
        assert "<img" not in page.text
        assert not set(page.text) & set("\u202e\x1b\x00\x07")
        assert "x" * 500 not in page.text
    assert [answer.status_code for answer in answers] == [200, 200, 200]


@pytest.mark.parametrize("path", ["/", "/queues/analytics", "/queues/nobody", "/docs/", "/docs/runbooks/"])
def test_pages_are_not_kept_and_let_nothing_in(full: httpx.Client, path: str) -> None:
    """Nothing from elsewhere, nothing inline, in no frame, in no cache."""
    page = full.get(path)
    assert PAGE_HEADERS.items() <= {name: page.headers.get(name, "") for name in PAGE_HEADERS}.items(), (
        page.headers
    )  # names are compared as they are written
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert " style=" not in page.text
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page.text.partition("<main")[0])
    assert not re.search(r" on[a-z]+=", page.text)


def test_shipped_files_are_kept_for_ever(full: httpx.Client) -> None:
    """By their digest: the same is not sent twice, compressed where that is taken, and another digest is nothing."""
    text = full.get("/").text
    [style] = re.findall(r'href="(/static/status\.[0-9a-f]{12}\.css)"', text)
    [script] = re.findall(r'src="(/static/status\.[0-9a-f]{12}\.js)"', text)
    first = full.get(style)
    assert first.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert first.headers["content-type"] == "text/css; charset=utf-8"
    assert first.headers["content-encoding"] == "gzip"
    again = full.get(style, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert full.get(style, headers={"If-None-Match": '"other"'}).status_code == 200
    assert full.get(style, headers={"Accept-Encoding": "identity"}).text == first.text
    assert full.get(script).headers["content-type"] == "text/javascript; charset=utf-8"
    assert full.get("/static/status.000000000000.css").status_code == 404


def test_json_is_the_views(full: httpx.Client) -> None:
    """Each list reads back as what `--json` prints; of all queues the jobs are null, of one they are there."""
    listed = full.get("/api/v1/queues")
    assert listed.headers["content-type"] == "application/json"
    assert listed.headers["cache-control"] == "no-store"
    body = listed.json()
    assert (body["version"], [queue["queue"] for queue in body["queues"]][:2]) == (1, ["analytics", "mails"])
    assert {queue["attempts"] for queue in body["queues"]} == {None}
    assert set(body["queues"][0]) == set(QueueView.model_fields)
    assert [host["host"] for host in body["hosts"]] == ["web01", "web02", "web03"]
    one = QueuesView.model_validate_json(full.get("/api/v1/queues/analytics/attempts").content)
    assert [job.job_id for job in one.queues[0].attempts] == ["317", "318", "319"]
    assert len(HostsView.model_validate_json(full.get("/api/v1/hosts").content).hosts) == 3
    heals = HealsView.model_validate_json(full.get("/api/v1/heals").content)
    assert [heal.job_id for heal in heals.heals] == ["301", "302"]
    assert re.search(r'"at":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z"', full.get("/api/v1/heals").text)


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/api/v1/queues/nobody/attempts", "No queue is named 'nobody'; /api/v1/queues lists them."),
        ("/api/v1/queues/..%2f/attempts", "There is nothing at /api/v1/queues/..//attempts."),
        ("/api/v1/queues/..%2f..%2fhosts", "There is nothing at /api/v1/queues/../../hosts."),
        ("/api/v1/queues/analytics", "There is nothing at /api/v1/queues/analytics."),
        ("/api/v1/queues/", "There is nothing at /api/v1/queues/."),
        ("/api/v1/queues/%00%1b/attempts", "No queue is named '\\\\x00\\\\x1b'; /api/v1/queues lists them."),
        ("/api/v2/queues", None),
        ("/docs/..%2f..%2fpyproject.toml", None),
        ("/docs/howto/..%2f..%2f..%2fREADME", None),
        ("/static/..%2fapp.py", None),
        ("/queues/..%2f", None),
        ("//evil.example", None),
        ("/queues/analytics/", None),
    ],
)
def test_what_is_not_there_is_said(full: httpx.Client, path: str, detail: str | None) -> None:
    """As a problem with a text for programs, as a page or a line for people; nobody is sent elsewhere."""
    answer = full.send(full.build_request("GET", httpx.URL(f"{full.base_url}").copy_with(raw_path=path.encode())))
    assert answer.status_code == 404
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    if detail is not None:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json() == {"type": "about:blank", "title": "Not Found", "status": 404, "detail": detail}


@pytest.mark.parametrize("path", ["/", "/api/v1/queues", "/api/v1/queues/analytics/attempts", "/queues/analytics"])
def test_only_reading_is_taken(full: httpx.Client, path: str) -> None:
    """Any other method is refused and named; HEAD is GET without a body."""
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
        answer = full.request(method, path)
        assert (answer.status_code, "GET" in answer.headers["allow"]) == (405, True), method
        if path.startswith("/api"):
            assert answer.json()["title"] == "Method Not Allowed"
    head, whole = full.head(path), full.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]


def test_what_was_read_a_while_ago_is_as_old_as_it_is() -> None:
    """Started jobs have become older since, and the row says when that was; what nobody knows is not said."""
    job = a_job(age_seconds=100.0)
    scene = make_scene([a_queue(read_at=clock.now() - timedelta(minutes=10), attempts=(job,))])
    back = replace(scene.look_back(), is_read=False)
    with client(replace(scene, look_back=lambda: back)) as asking:
        for path in ("/", "/queues/analytics"):
            text = asking.get(path).text
            assert re.search(r"read 1[0-4]m", text)  # a busy machine takes its time
            assert re.search(r'class="number">1[1-5]m[ 0-9s]* ago', text)
            assert "The ledger is being read" in text
            assert "Nothing" not in text


def test_documents_are_at_hand(full: httpx.Client) -> None:
    """Every runbook that a page may name, the guides, and no link within them that leads nowhere."""
    folder = Path(exporter.web.__path__[0])
    names = set(re.findall(r'"((?:[A-Z][a-z]+){2,})"', (folder / "remarks.py").read_text()))
    names |= set(re.findall(r'runbook\("(\w+)"\)', "".join(it.read_text() for it in folder.rglob("*.html"))))
    assert {"PollFailing", "JobOrphaned", "JobStuck", "HealingPaused", "HostUnreachable"} <= names
    for name in names:
        assert full.get(f"/docs/runbooks/Queuemedic{name}").status_code == 200, name
    for path in ["/docs/", "/docs/runbooks/", *(f"/docs/{name}" for name in PAPERS if name.endswith(".md"))]:
        page = full.get(path)
        assert page.status_code == 200, path
        assert page.text.count("<h1") == 1, path
        for link in re.findall(r'href="([^"#]+)', page.text.partition("<article")[2]):
            if not link.startswith(("http", "/-/", "/metrics")):
                assert full.get(httpx.URL(f"{full.base_url}").join(path).join(link)).status_code == 200, (path, link)
    image = full.get("/docs/images/flow.svg")
    assert (image.status_code, image.headers["content-type"]) == (200, "image/svg+xml")


def test_every_document_is_listed_and_shipped() -> None:
    """Each folder of documents has a name in the list, and is in the wheel, as is each image that they show."""
    folders = {name.partition("/")[0] for name in PAPERS if name.endswith(".md")}
    assert folders == set(FOLDERS)
    texts = "".join(file.read_text() for name, file in PAPERS.items() if name.endswith(".md"))
    images = {f"docs/images/{name}" for name in re.findall(r"\(\.\./images/([\w.-]+)\)", texts)}
    wheel = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {f"docs/{folder}" for folder in folders} | images <= set(wheel["force-include"])


def test_of_hosts_nothing_is_counted_while_queues_are_unread() -> None:
    """Nobody knows how many jobs a host has: that is no nought."""
    scene = make_scene([a_dead_queue()], hosts=[a_host()])
    with client(scene) as asking:
        text = asking.get("/").text
    hosts = text.partition('id="hosts"')[2].partition("</section>")[0]
    for label in ("Started jobs", "Stuck", "Workers"):
        assert f'data-label="{label}" class="number">–<' in hosts, label


def test_why_a_worker_is_unknown_is_said_in_words() -> None:
    """As beside the started job; a text of somebody's own stays as it is."""
    told = a_heal(result="refused", refusal="unknown", detail="its worker is unknown (not_asked)")
    own = a_heal("318", result="refused", refusal="paused", detail="deploying (anna)")
    with client(make_scene([a_queue()], heals=[told, own])) as asking:
        text = asking.get("/").text
    assert "its worker is unknown: its host was not asked yet" in text
    assert "deploying (anna)" in text
    assert "not_asked" not in text


def a_large_scene(queues: int) -> Source:
    """Return many queues, of which one in a hundred is in trouble; each has a history and jobs."""
    points = a_series(waiting=1000).points()
    views = [
        a_queue(
            f"site-{number:04}",
            waiting=number,
            attempts=tuple(a_job(f"{number}-{job}", queue=f"site-{number:04}") for job in range(3)),
            **({"orphaned": 1, "stuck": 1, "stuck_reasons": {"over_age": 1}} if number % 100 == 7 else {}),
        )
        for number in range(queues)
    ]
    hosts = [a_host(f"web{number:02}") for number in range(200)]
    return make_scene(views, hosts=hosts, heals=[a_heal()] * 100, points={view.queue: points for view in views})


def test_a_thousand_queues_are_one_small_page() -> None:
    """Those in trouble in full and first, the others by name; below 300 kB, and soon there."""
    pages = Pages(a_large_scene(1000), load_shipped(), version="0.1.0", now=clock.now)
    took = []
    for _ in range(4):
        began = time.thread_time()
        page = pages.fleet()
        took.append(time.thread_time() - began)
    assert len(page.encode()) < 300_000
    assert "10 of 1,000 queues need a person" in page
    assert [page.count(f">site-{number:04}<") >= 1 for number in (7, 107, 0, 999)] == [True] * 4
    assert page.index(">site-0907<") < page.index(">site-0000<")
    assert is_valid(page)
    print(f"{len(page.encode())} bytes, {[round(seconds, 3) for seconds in took]} s")
    assert min(took) < 0.1  # 0.025 s on a quiet machine


def test_ten_thousand_queues_are_bounded() -> None:
    """Beyond what fits a number stands for the rest."""
    scene = a_large_scene(100)
    glances = [*scene.glances()] * 100
    page = Pages(replace(scene, glances=lambda: glances), load_shipped(), version="0.1.0", now=clock.now).fleet()
    assert len(page.encode()) < 600_000
    assert "And 7,960 more" in page


def test_many_browsers_cost_as_much_as_one() -> None:
    """Within a second a page is rendered once, however many ask, with whatever query, compressed or not."""
    rendered: list[int] = []
    scene = a_full_scene()

    def glances() -> Sequence[Glance]:
        rendered.append(1)
        return scene.glances()

    counting = replace(scene, glances=glances)
    with client(counting) as asking:

        def ask(turn: int) -> None:
            encoding = ("gzip", "identity")[turn % 2]
            answer = httpx.get(asking.base_url, params={"turn": turn}, headers={"Accept-Encoding": encoding})
            assert answer.status_code == 200

        asking.get("/")
        rendered.clear()
        began = time.monotonic()
        threads = [threading.Thread(target=ask, args=[turn]) for turn in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(rendered) <= 1 + int((time.monotonic() - began) / rendering.KEPT_SECONDS)


def test_a_page_that_is_slow_delays_no_other_answer() -> None:
    """Rendering is beside the event loop; of more than fit, the next is told to come again."""
    scene, may_go_on = a_full_scene(), threading.Event()
    slow = replace(scene, glances=lambda: (may_go_on.wait(20) and scene.glances()) or [])
    with client(slow) as asking:
        codes: list[int] = []

        def ask() -> None:
            codes.append(httpx.get(f"{asking.base_url}", timeout=30).status_code)

        threads = [threading.Thread(target=ask) for _ in range(rendering.MOST_WAITING + 5)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 15
        while len(codes) < 5 and time.monotonic() < deadline:
            assert asking.get("/-/healthy").status_code == 200
        assert codes == [503] * 5
        may_go_on.set()
        for thread in threads:
            thread.join()
        assert sorted(codes) == [200] * rendering.MOST_WAITING + [503] * 5


def test_the_history_of_a_thousand_queues_is_a_few_mebibytes() -> None:
    """After a day of polls every 15 s."""
    tracemalloc.start()
    try:
        kept = []
        for number in range(20):
            series = Series()
            for poll in range(1500):
                series.note(poll * 60.0, waiting=27_000_000 + number, enqueued=poll, ended=poll)
            kept.append(series)
        size = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert size / len(kept) * 1000 < 6 * 2**20
    print(f"{size / len(kept) * 1000 / 2**20:.1f} MiB for 1,000")


def test_problems_are_json(full: httpx.Client) -> None:
    """Also where the path holds what has to be escaped."""
    answer = full.get('/api/v1/"<script>')
    assert "<script>" not in answer.text
    assert json.loads(answer.text)["status"] == 404
