"""Look for known vulnerabilities of what is installed: `make audit` asks PyPI about every pinned version (pip-audit).

Exit code 0: every version was looked up, and nothing is known of any; 1: something is. Where PyPI's list of advisories
cannot be reached, nothing was looked up: it says so, and ends with 0, as that is no finding.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
FILES: Final = ("requirements-dev.txt", "deploy/container/requirements.txt", "deploy/requirements.txt")
TOOL: Final = ("uv", "tool", "run", "pip-audit", "--strict", "--no-deps", "--disable-pip", "--progress-spinner=off")
OUT_OF_REACH: Final = (
    "could not be audited",
    "ConnectionError",
    "Max retries exceeded",
    "Failed to resolve",
    "Failed to fetch",
)


def conclude(code: int, said: str) -> tuple[int, str]:
    """Return the exit code for what pip-audit (2.10) said, and a sentence where it could not look."""
    reasons = [line for line in said.splitlines() if any(sign in line for sign in OUT_OF_REACH)]
    if code == 0 or not reasons or "known vulnerabilit" in said.replace("No known vulnerabilit", ""):
        return code, ""
    return 0, f"skipped, as the advisories cannot be reached: {reasons[-1].strip()[:200]}"


def main(files: Sequence[str] = FILES) -> int:
    """Look all files up and return the worst exit code."""
    codes = []
    for name in files:
        command = [str(Path(sys.executable).with_name(TOOL[0])), *TOOL[1:], "--requirement", name]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
        code, skipped = conclude(done.returncode, done.stdout + done.stderr)
        print(f"{name}: {skipped or (done.stdout + done.stderr).strip()}")
        codes.append(code)
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
