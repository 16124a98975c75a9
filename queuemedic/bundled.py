"""Find what is shipped beside the program: in an installed package, or in a checkout next to it.

Rules, dashboards, files to deploy it, and documents, each sort in a folder of its own.
"""

from pathlib import Path
from types import MappingProxyType
from typing import Final

PACKAGE: Final = Path(__file__).parent
DOCS: Final = "docs/runbooks/"
BOARDS: Final = "/d/queuemedic-"
SORTS: Final = MappingProxyType(
    {
        "alerts": ("rules/*.yml", "prometheusrule.yml", "alertmanager.yml"),
        "dashboards": ("*.json", "provisioning/*.yml"),
        "deploy": ("systemd/*", "watched-host/*"),
        "docs": ("*/*.md", "images/*.svg", "images/page-*.png"),
    }
)


def find_bundled(sort: str) -> dict[Path, Path]:
    """Return the files of one sort, each by its path within a bundle."""
    folder = next(found for found in (PACKAGE / "_bundled" / sort, PACKAGE.parent / sort) if found.is_dir())
    return {file.relative_to(folder): file for pattern in SORTS[sort] for file in sorted(folder.glob(pattern))}


def address(text: str, *, docs: str | None, grafana: str | None) -> str:
    """Make the links of a file absolute, where it is said to what."""
    if docs:
        text = text.replace(DOCS, f"{docs.rstrip('/')}/")
    return text.replace(BOARDS, f"{grafana.rstrip('/')}{BOARDS}") if grafana else text
