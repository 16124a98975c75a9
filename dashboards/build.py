"""Write the dashboards as Grafana imports them: fleet.json, queue.json, healing.json.

`python dashboards/build.py` writes them beside this file; with `--check` it writes nothing, names the files that differ
and exits 1.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dashboards import fleet, healing, one_queue

FOLDER: Final = Path(__file__).parent
DASHBOARDS: Final = {"fleet": fleet.DASHBOARD, "queue": one_queue.DASHBOARD, "healing": healing.DASHBOARD}


def texts() -> dict[str, str]:
    """Return the files by name."""
    return {
        f"{name}.json": json.dumps(dashboard.json(), indent=2, ensure_ascii=False) + "\n"
        for name, dashboard in DASHBOARDS.items()
    }


def main(arguments: Sequence[str] | None = None, *, folder: Path = FOLDER) -> int:
    """Write the files, or name those that differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, name the files that differ")
    differing = [
        (folder / name, text)
        for name, text in texts().items()
        if not (folder / name).is_file() or (folder / name).read_text("utf-8") != text
    ]
    if parser.parse_args(arguments).check:
        for file, _ in differing:
            print(f"dashboards/{file.name} differs from what dashboards/build.py makes; run it")
        return 1 if differing else 0
    for file, text in differing:
        file.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
