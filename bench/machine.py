"""What a part was measured on, kept beside its figures: the machine, how busy it was before, and what was compared."""

import csv
import datetime
import os
import platform
import subprocess
from pathlib import Path

from tests.lab.programs import program

from .peers import justwatch, query_exporter

FILE = "runs.csv"
CPUINFO, MEMINFO = Path("/proc/cpuinfo"), Path("/proc/meminfo")


def describe() -> dict[str, str]:
    """Describe this machine now."""
    memory = next(int(line.split()[1]) for line in MEMINFO.read_text().splitlines() if line.startswith("MemTotal:"))
    mariadb = program("mariadbd", package="mariadb-server")
    told = subprocess.run([mariadb, "--no-defaults", "--version"], check=True, capture_output=True, text=True).stdout
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory / (1 << 20):.0f} GiB",
        "load before": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        "mariadb": told.split("Ver ")[-1].split("-MariaDB")[0],
        "query-exporter": query_exporter.VERSION,
        "prometheus-sql-exporter": justwatch.VERSION,
    }


def note(folder: Path, part: str, described: dict[str, str]) -> None:
    """Write the line of a part, in place of the one of the run before."""
    lines = {line["part"]: line for line in read(folder)} | {part: {"part": part, **described}}
    with (folder / FILE).open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[part].keys(), lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(lines[name] for name in sorted(lines))


def read(folder: Path) -> list[dict[str, str]]:
    """Read the lines of all parts."""
    path = folder / FILE
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _processor() -> str:
    names = [line.partition(": ")[2] for line in CPUINFO.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()
