"""The bench does not rot: every part is there, figures add up, budgets judge, and the page says what was measured."""

import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import poll
from bench.__main__ import main
from bench.lines import RESULTS, Budget, Line, Table, show, summarise
from bench.load import ASKS, Client
from bench.part import LONG, PARTS, QUICK, Scale
from bench.plot import draw
from bench.report import BLOCK, IMAGE, PAGE, fill, picture
from bench.rounds import interleave
from tests.conftest import installed

QUICKLY = Scale(rows=QUICK["rows"], rounds=1, is_quick=True, is_alone=True)
MINE, THEIRS = "mine", "theirs"


@pytest.mark.parametrize("part", [*PARTS, *LONG])
def test_every_part_can_be_run_by_name(part: str) -> None:
    """It measures, and says what."""
    module = import_module(f"bench.{part}")
    assert callable(module.measure)
    assert module.__doc__
    assert f"bench: {part} -->" in PAGE.read_text()


def test_a_tiny_run_gives_every_figure(tmp_path: Path) -> None:
    """On a real server, beside the bare statement; peers that are left out are named."""
    with installed():
        table = poll.measure(QUICKLY)
    file = tmp_path / "poll.csv"
    table.write(file)
    assert Table.read(file) == table
    cases = {line.case for line in table.lines}
    assert len(cases) == 2
    for case in cases:
        found = {(line.subject, line.figure): line for line in table.lines if line.case == case and line.figure}
        assert {subject for subject, _ in found} == {poll.POLL, poll.BARELY, poll.BREAKDOWN}
        figures = {figure for _, figure in found}
        assert {"database ms", "processor ms", "rows read", "bytes from the server"} <= figures
        assert float(found[poll.BARELY, "rows read"].median) == QUICKLY.rows
        assert all(float(line.median) > 0 for line in found.values())
        assert all(float(found[poll.POLL, figure].ratio) > 0 for figure in figures)
    noted = {line.subject for line in table.lines if line.note}
    assert {poll.NEAREST, poll.TUNED_NEAREST, poll.DEBIAN} <= noted
    assert not list(table.judged())


def test_a_full_run_is_judged() -> None:
    """Each budget of a poll belongs to a subject and a reference that are measured; a quick run is held to none."""
    promised = poll.promises("database time")
    assert Scale().budgets(promised) == promised
    assert Scale(is_quick=True).budgets(promised) == {}


def test_a_ratio_is_of_the_rounds() -> None:
    """Not of the medians: the two of one round met the same noise."""
    table = Table()
    measured = {MINE: [2.0, 40.0, 3.0], THEIRS: [1.0, 10.0, 3.0]}
    table.add("case", "ms", measured, against=(THEIRS,))
    mine, theirs = table.lines
    assert (mine.ratio, mine.ratio_min, mine.ratio_max) == ("2", "1", "4")
    assert (mine.median, mine.min, mine.max, mine.rounds) == ("3", "2", "40", "3")
    assert (theirs.ratio, theirs.compared_with) == ("", "")


@pytest.mark.parametrize(
    ("limit", "is_of_the_worst", "is_met"),
    [("≤ 2", False, "yes"), ("≤ 2", True, "no"), ("< 2", False, "no"), ("≥ 2", False, "yes"), ("≥ 2.1", False, "no")],
)
def test_a_budget_judges(limit: str, is_of_the_worst: bool, is_met: str) -> None:
    """By the median of the ratios, or by the worst of them."""
    table = Table()
    budget = Budget(limit=limit, promise="words", is_of_the_worst=is_of_the_worst)
    measured = {MINE: [1.0, 2.0, 3.0], THEIRS: [1.0, 1.0, 1.0]}
    table.add("case", "ms", measured, against=(THEIRS,), budgets={(MINE, THEIRS): budget})
    assert [line.is_met for line in table.judged()] == [is_met]
    verdict = "met" if is_met == "yes" else "**missed**"
    assert list(summarise(table.judged()))[2:] == [f"| words | {limit} | 2 (1 to 3) | {verdict} |"]


def test_a_table_is_a_row_for_each_subject() -> None:
    """Ratios first, and what was not measured is said."""
    table = Table()
    table.add("case", "ms", {MINE: [4.0], THEIRS: [2.0], "others'": [1.0]}, against=(THEIRS, "others'"))
    table.say("case", "nobody", "not measured: it is not here")
    assert list(table.markdown()) == [
        "",
        "**case**",
        "",
        "| (**ratio** to: theirs) | ms |",
        "| --- | ---: |",
        "| mine | **2** · 4 |",
        "| theirs | 2 |",
        "| others' | **0.5** · 1 |",
        "\nnobody: not measured: it is not here.",
    ]


def test_rounds_are_interleaved() -> None:
    """One of each in turn, and what warms up does not count."""
    order: list[str] = []

    def measure(name: str) -> dict[str, float]:
        order.append(name)
        return {"ms": float(len(order))}

    found = interleave({MINE: lambda: measure(MINE), THEIRS: lambda: measure(THEIRS)}, 2)
    assert order == [MINE, THEIRS] * 3
    assert found == {"ms": {MINE: [3.0, 5.0], THEIRS: [4.0, 6.0]}}


def test_numbers_show_three_digits() -> None:
    """Whatever their size."""
    assert [show(value) for value in (0.0, 0.01234, 1.234, 98.76, 123.4, 1_000_601.0)] == [
        "0",
        "0.0123",
        "1.23",
        "98.8",
        "123",
        "1000601",
    ]


class Pages(BaseHTTPRequestHandler):
    """The three ways in which a server says where its answer ends."""

    BODY = b"x" * 3_000_000
    way = ""

    def do_GET(self) -> None:
        """Answer."""
        way = self.way
        self.send_response(200)
        if way == "length":
            self.send_header("Content-Length", str(len(self.BODY)))
        if way == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if way == "chunked":
            for part in (self.BODY[:600_000], self.BODY[600_000:]):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.wfile.write(self.BODY)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(params=["length", "chunked", "close"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """A server that answers in one of these ways."""
    version = "HTTP/1.0" if request.param == "close" else "HTTP/1.1"
    handler = type("OneWay", (Pages,), {"way": request.param, "protocol_version": version})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_the_load_reads_whole_answers(port: int) -> None:
    """However their end is marked, one after the other over the connection if it is kept."""
    with closing(Client(port)) as client:
        for request in [*ASKS.values()] * 2:
            head, _, body = bytes(client.ask(request)).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.")
            assert body.count(b"x") == len(Pages.BODY)


def test_a_plot_has_a_panel_for_each_figure() -> None:
    """Begun at 0, with what stands in it."""
    picture = draw("a < b", [0.0, 1.0, 2.0], {"threads": [1.0, 2.0, 2.0], "series": [5.0, 5.0, 5.0]})
    assert picture.count("<polyline") == 2
    assert picture.count("a &lt; b") == 2
    assert "threads: 2 at half time, 2 at the end, 2 at most" in picture


def test_the_page_says_what_was_measured() -> None:
    """`python -m bench report` would change nothing."""
    page = PAGE.read_text()
    assert fill(page) == page
    assert picture() == IMAGE.read_text()
    assert {"budgets", "machine", *PARTS, *LONG} == set(BLOCK.findall(page))


def test_the_page_is_filled_from_the_files(tmp_path: Path) -> None:
    """A part that was not measured is said to be so."""
    table = Table()
    table.add("case", "ms", {MINE: [1.0]}, budgets={(MINE, ""): Budget(limit="≤ 2", promise="words")})
    table.write(tmp_path / "poll.csv")
    page = "".join(f"<!-- bench: {name} -->\nold\n<!-- end -->\n" for name in ("budgets", "poll", "soak"))
    filled = fill(page, tmp_path)
    assert "| words | ≤ 2 | 1 | met |" in filled
    assert "| mine | 1 |" in filled
    assert "<!-- bench: soak -->\nNot measured yet.\n<!-- end -->" in filled
    assert "old" not in filled


def test_the_kept_results_are_whole() -> None:
    """Every judged line has what judges it."""
    for path in RESULTS.glob("*.csv"):
        if path.stem in (*PARTS, *LONG):
            for line in Table.read(path).lines:
                assert isinstance(line, Line)
                assert bool(line.budget) == bool(line.is_met) == bool(line.promise), line


def test_help_names_the_parts() -> None:
    """The command says what it can measure."""
    told = CliRunner().invoke(main, ["--help"]).output
    assert all(part in told.replace("\n", "").replace(" ", "") for part in (*PARTS, *LONG, "report"))
