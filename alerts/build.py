"""Write the rules as the Prometheus operator takes them, one group for each subject.

`python alerts/build.py` writes alerts/prometheusrule.yml from alerts/rules; with `--check` it writes nothing, says
whether the file differs, and then exits 1. An expression stays as it is written, so that both forms read alike.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

ALERTS: Final = Path(__file__).parent
NOTICE: Final = "# Made by alerts/build.py from alerts/rules: change those, not this file.\n"
HEAD: Final = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule"}


class Writer(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""


def _write_text(writer: Writer, text: str) -> yaml.ScalarNode:
    return writer.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


Writer.add_representer(str, _write_text)


def main(arguments: Sequence[str] | None = None, *, folder: Path = ALERTS) -> int:
    """Write the file, or with `--check` compare it; the exit code."""
    parser = argparse.ArgumentParser(description="Write alerts/prometheusrule.yml from alerts/rules.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file differs")
    is_check = parser.parse_args(arguments).check
    made, file = make(folder / "rules"), folder / "prometheusrule.yml"
    if not is_check:
        file.write_text(made, "utf-8")
        return 0
    if file.exists() and file.read_text("utf-8") == made:
        return 0
    print("alerts/prometheusrule.yml differs from alerts/rules; run python alerts/build.py")
    return 1


def make(rules: Path) -> str:
    """Return the whole file."""
    resource = {**HEAD, "metadata": {"name": "queuemedic"}, "spec": {"groups": list(_groups(rules))}}
    return NOTICE + yaml.dump(resource, Dumper=Writer, sort_keys=False, allow_unicode=True, width=1000)


def _groups(rules: Path) -> Iterator[Any]:
    for file in sorted(rules.glob("*.yml"), key=lambda file: (file.stem != "recording", file.stem)):
        yield from yaml.safe_load(file.read_text("utf-8"))["groups"]


if __name__ == "__main__":
    sys.exit(main())
