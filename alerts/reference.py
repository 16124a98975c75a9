"""Write docs/reference/alerts.md: every alert, what it means, when it fires, and its runbook.

`python alerts/reference.py` writes the page from alerts/rules and docs/runbooks; with `--check` it writes nothing, says
whether the page differs, and then exits 1. When an alert fires is said in words, by the first paragraph under _Meaning_
in its runbook; the expression is in the rule.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

ALERTS: Final = Path(__file__).parent
DOCS: Final = ALERTS.parent / "docs"
PAGE: Final = DOCS / "reference" / "alerts.md"
SIBLING: Final = re.compile(r"\]\((\w+\.md)\)")
MEANING: Final = re.compile(r"^## Meaning\n+(.+?)\n\n", re.MULTILINE | re.DOTALL)
TITLES: Final = {
    "exporter": "Queuemedic itself",
    "backlog": "Backlog and freshness",
    "jobs": "Jobs that look stuck",
    "workers": "Workers and hosts",
    "healing": "Healing",
    "matomo": "Matomo",
    "meltano": "Meltano",
}
"""The files of alerts/rules that have alerts, in the order in which a newcomer meets them."""
HEAD: Final = """\
<!-- Made by alerts/reference.py from alerts/rules and docs/runbooks: change those, not this page. -->

# Alerts

Each alert leads to its runbook; [how to load the rules](../../alerts/README.md) is a page of its own.

- `critical`: nothing moves, or nobody sees; it cannot wait until the morning.
- `warning`: somebody has to look, within a day.
- `info`: worth knowing; the example for Alertmanager tells nobody.
"""


def main(arguments: Sequence[str] | None = None, *, page: Path = PAGE) -> int:
    """Write the page, or with `--check` compare it; the exit code."""
    parser = argparse.ArgumentParser(description="Write docs/reference/alerts.md from the rules.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page differs")
    is_check = parser.parse_args(arguments).check
    made = make()
    if not is_check:
        page.write_text(made, "utf-8")
        return 0
    if page.exists() and page.read_text("utf-8") == made:
        return 0
    print("docs/reference/alerts.md differs from the rules; run make docs")
    return 1


def make() -> str:
    """Return the whole page; KeyError names a file of rules that has no title."""
    with_alerts = {file.stem: list(_rows(file)) for file in sorted((ALERTS / "rules").glob("*.yml"))}
    rows = {subject: found for subject, found in with_alerts.items() if found}
    if rows.keys() != TITLES.keys():
        raise KeyError(f"alerts/reference.py, TITLES: {', '.join(sorted(rows.keys() ^ TITLES.keys()))}")
    parts = [HEAD, *(part for subject, title in TITLES.items() for part in (f"## {title}", _table(rows[subject])))]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _rows(file: Path) -> Iterator[tuple[str, str, str, str]]:
    for group in yaml.safe_load(file.read_text("utf-8"))["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                yield _row(rule)


def _row(rule: dict[str, Any]) -> tuple[str, str, str, str]:
    name = rule["alert"]
    meaning = MEANING.search((DOCS / "runbooks" / f"{name}.md").read_text("utf-8"))
    when = SIBLING.sub(r"](../runbooks/\1)", " ".join(meaning[1].split())) if meaning else ""
    return f"[{name}](../runbooks/{name}.md)", rule["labels"]["severity"], rule["annotations"]["summary"], when


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    header = ("Alert", "Severity", "Means", "Fires when")
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


if __name__ == "__main__":
    sys.exit(main())
