"""Make one site of docs/ and of the pages beside it, whose links work on a forge as they are written.

A hook of MkDocs (mkdocs.yml). `OUTSIDE` says which pages are taken in and under which name. A relative link is read as
a forge reads it, from where its page is in the repository, and written as the site needs it; a file that is no page and
is linked, such as a dashboard's JSON, is published as it is, under files/. A folder, which a forge lists, leads to the
page that `FOLDERS` names for it, or nowhere.
Raises nothing: a link to what is not there stays as it is, and the strict build tells it.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[1]
DOCS: Final = PurePosixPath("docs")
FILES: Final = PurePosixPath("files")
OUTSIDE: Final = {
    "README.md": "index.md",
    "CHANGELOG.md": "changes.md",
    "alerts/README.md": "alerts.md",
    "dashboards/README.md": "dashboards.md",
}
FOLDERS: Final = {"docs/runbooks": "reference/alerts.md", "docs/decisions": "decisions/0001-timer-driven.md"}
LINK: Final = re.compile(r"(!?\[)((?:[^\]\[]|\[[^\]]*\])*)(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")
FENCE: Final = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Let `folder/*` in the navigation stand for the folder's pages that are not named in it."""
    named = set(_find_names(config.nav))
    config.nav = _expand(config.nav, named)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Take in the pages beside docs/, and what any page links to outside of it."""
    for source, name in OUTSIDE.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / source)))
    linked: set[PurePosixPath] = set()
    for file in files.documentation_pages():
        linked |= {target for target in _find_targets(file) if (ROOT / target).is_file()}
    for target in sorted(linked):
        if not target.is_relative_to(DOCS) and str(target) not in OUTSIDE:
            files.append(File.generated(config, str(FILES / target), abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Write each link as the site needs it."""
    folder, here = _source_of(page.file).parent, PurePosixPath(page.file.src_uri).parent

    def rewrite(link: re.Match[str]) -> str:
        before, text, between, address, after = link.groups()
        target = _resolve(folder, address)
        if target is None or not (ROOT / target).exists():
            return link[0]
        name = _name_of(target)
        return text if name is None else f"{before}{text}{between}{os.path.relpath(name, here)}{after}"

    parts = FENCE.split(markdown)
    return "".join(part if part.lstrip().startswith("```") else LINK.sub(rewrite, part) for part in parts)


def _source_of(file: File) -> PurePosixPath:
    """Return where a page is in the repository."""
    for source, name in OUTSIDE.items():
        if name == file.src_uri:
            return PurePosixPath(source)
    return DOCS / file.src_uri


def _name_of(target: PurePosixPath) -> PurePosixPath | None:
    """Return what the site calls a file of the repository, or a folder; None for a folder that has no page."""
    if (ROOT / target).is_dir():
        return PurePosixPath(FOLDERS[str(target)]) if str(target) in FOLDERS else None
    if str(target) in OUTSIDE:
        return PurePosixPath(OUTSIDE[str(target)])
    return target.relative_to(DOCS) if target.is_relative_to(DOCS) else FILES / target


def _find_targets(file: File) -> Iterator[PurePosixPath]:
    folder = _source_of(file).parent
    for link in LINK.finditer(file.content_string):
        if target := _resolve(folder, link[4]):
            yield target


def _resolve(folder: PurePosixPath, target: str) -> PurePosixPath | None:
    """Return the file of the repository that a link leads to, or None where it leads elsewhere."""
    if ":" in target or target.startswith("/"):
        return None
    path = PurePosixPath(os.path.normpath(folder / target))
    return None if path.parts[:1] == ("..",) else path


def _find_names(nav: Any) -> Iterator[str]:
    match nav:
        case str(name):
            yield name
        case list(entries):
            for entry in entries:
                yield from _find_names(entry)
        case dict(entries):
            for entry in entries.values():
                yield from _find_names(entry)


def _expand(nav: Any, named: set[str]) -> Any:
    match nav:
        case str(entry) if entry.endswith("/*"):
            folder = ROOT / DOCS / entry.removesuffix("/*")
            pages = [str(page.relative_to(ROOT / DOCS)) for page in sorted(folder.glob("*.md"))]
            return [page for page in pages if page not in named]
        case list(entries):
            expanded = [(entry, _expand(entry, named)) for entry in entries]
            return [
                one
                for entry, more in expanded
                for one in (more if isinstance(entry, str) and entry != more else [more])
            ]
        case dict(entries):
            return {title: _expand(entry, named) for title, entry in entries.items()}
    return nav
