"""What is looked at before anything runs: dangerous calls in the code, and known vulnerabilities of what it needs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .audit import FILES, conclude

ROOT = Path(__file__).parents[2]
DANGEROUS = {
    "S102": "exec('1')",
    "S301": "import pickle\npickle.loads(b'')",
    "S306": "import tempfile\ntempfile.mktemp()",
    "S307": "eval('1')",
    "S324": "import hashlib\nhashlib.md5(b'')",
    "S501": "import httpx\nhttpx.get('https://x', verify=False)",
    "S506": "import yaml\nyaml.load('', yaml.Loader)",
    "S602": "import subprocess\nsubprocess.run('ls', shell=True)",
    "S604": "f(shell=True)",
    "S605": "import os\nos.system('ls ' + x)",
    "S608": "q = f'SELECT * FROM jobs WHERE id = {x}'",
    "S701": "import jinja2\njinja2.Environment()",
}
NOTHING_KNOWN = "No known vulnerabilities found\n"
FOUND = "Found 1 known vulnerability in 1 package\nName Version ID Fix Versions\nx 1.0 PYSEC-2026-1 1.1\n"
# What pip-audit 2.10 says where PyPI answers without advisories, and where api.osv.dev cannot be resolved.
NOT_ASKED = (
    "ERROR:pip_audit._cli:alembic: Dependency not found on PyPI and could not be audited: alembic (1.20.1)\n",
    "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='api.osv.dev', port=443): Max retries exceeded\n",
)


@pytest.mark.parametrize("package", ["exporter", "healers", "queuemedic"])
def test_dangerous_calls_are_found(package: str) -> None:
    """By the linter of `make check`, with the settings of this project and of any module in a package."""
    code = "".join(f"{line}\n" for line in DANGEROUS.values())
    command = [str(Path(sys.executable).with_name("ruff")), "check", "--output-format=concise", "--no-cache"]
    done = subprocess.run(
        [*command, "--stdin-filename", f"{package}/never.py", "-"],
        check=False,
        input=code,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert DANGEROUS.keys() <= set(re.findall(r"\bS\d{3}\b", done.stdout))


def test_every_dependency_is_pinned_to_what_was_looked_at() -> None:
    """By its version and by the digests of its files, so that nobody can put another in its place."""
    for name in FILES:
        lines = re.sub(r"\\\n", " ", (ROOT / name).read_text()).splitlines()
        pinned = [line for line in lines if line.strip() and not line.startswith("#")]
        assert pinned, name
        for line in pinned:
            assert re.match(r"[A-Za-z0-9._-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line), f"{name}: {line[:80]}"


@pytest.mark.parametrize(
    ("code", "said", "expected", "skips"),
    [
        (0, NOTHING_KNOWN, 0, False),
        (1, FOUND, 1, False),
        (1, FOUND + NOT_ASKED[0], 1, False),
        (1, NOT_ASKED[0], 0, True),
        (1, NOT_ASKED[1], 0, True),
        (2, "usage: pip-audit", 2, False),
    ],
    ids=["clean", "found", "found and more", "not asked", "not resolved", "misused"],
)
def test_an_audit_that_could_not_look_says_so(code: int, said: str, expected: int, *, skips: bool) -> None:
    """And hides nothing that was found."""
    found, reason = conclude(code, said)
    assert (found, reason.startswith("skipped, as the advisories cannot be reached: ")) == (expected, skips)
