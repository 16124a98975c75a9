"""Show the documents that are shipped, so that a runbook is at hand where nothing else is: Markdown made into HTML.

A document is found by its path among those that there are, never by a path of a file system. Links to what is not
shipped become plain text. Raw HTML in Markdown is shown as text.
"""

import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

OUTER: Final = re.compile(r"[a-z]+:|/|#")
FOLDERS: Final = {
    "quickstart": "Quickstart",
    "howto": "How to",
    "about": "How it works",
    "runbooks": "Runbooks",
    "reference": "Reference",
    "decisions": "Decisions",
}
TITLE: Final = re.compile(r"^# (.+)$", re.MULTILINE)
IMAGES: Final = {".svg": "image/svg+xml", ".png": "image/png"}


class Papers:
    """The documents, by their paths, such as `howto/heal.md`."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    @cached_property
    def _markdown(self) -> "MarkdownIt":
        from markdown_it import MarkdownIt  # noqa: PLC0415  3 MiB, and seldom used

        return MarkdownIt("commonmark", {"html": False}).enable("table")

    def render(self, path: str, dress: Callable[[str, str], str]) -> str | None:
        """Render a document, or the list of a folder; None where there is none. `dress` takes a title and HTML."""
        folder = path.rstrip("/")
        if folder in ("", *FOLDERS):
            return dress(FOLDERS.get(folder, "Documentation"), self._list([folder] if folder else list(FOLDERS)))
        name = path if path.endswith(".md") else f"{path}.md"
        file = self._files.get(name)
        if file is None:
            return None
        text = file.read_text("utf-8")
        tokens = self._markdown.parse(text)
        self._mend(tokens, name)
        html = str(self._markdown.renderer.render(tokens, self._markdown.options, {}))
        # What is wider than the page is scrolled there, by keyboard too.
        return dress(_title(text, name), html.replace("<pre>", '<pre tabindex="0">'))

    def find_image(self, path: str) -> tuple[bytes, str] | None:
        """Return an image and its type."""
        file, media_type = self._files.get(path), IMAGES.get(posixpath.splitext(path)[1])
        return (file.read_bytes(), media_type) if file and media_type else None

    def _list(self, folders: Sequence[str]) -> str:
        """Return the documents of folders as Markdown made into HTML, like everything else."""
        lines: list[str] = []
        for folder in folders:
            lines.append(f"{'#' if len(folders) == 1 else '##'} {FOLDERS[folder]}\n")
            names = sorted(name for name in self._files if name.endswith(".md") and posixpath.dirname(name) == folder)
            lines += [f"- [{_title(self._files[name].read_text('utf-8'), name)}](/docs/{name})" for name in names]
            lines.append("")
        text = "\n".join(lines if len(folders) == 1 else ["# Documentation\n", *lines])
        return str(self._markdown.render(text))

    def _mend(self, tokens: "Sequence[Token]", name: str) -> None:
        """Give headings their anchors, and take out links that lead nowhere."""
        for before, token in zip([None, *tokens], tokens, strict=False):
            if token.type != "inline":
                continue
            if before is not None and before.type == "heading_open":
                before.attrSet("id", re.sub(r"[^\w -]", "", token.content.lower()).replace(" ", "-"))
            token.children = self._mend_links(token.children or [], name)

    def _mend_links(self, children: "Sequence[Token]", name: str) -> "list[Token]":
        kept: list[Token] = []
        is_dropped = False
        for child in children:
            if child.type == "link_open":
                is_dropped = not self._leads_somewhere(child.attrGet("href"), name)
            if child.type not in ("link_open", "link_close") or not is_dropped:
                kept.append(child)
            if child.type == "link_close":
                is_dropped = False
        return kept

    def _leads_somewhere(self, href: Any, name: str) -> bool:
        target = str(href)
        if OUTER.match(target):
            return True
        path = posixpath.normpath(posixpath.join(posixpath.dirname(name), target.partition("#")[0]))
        return path in self._files or path in FOLDERS


def _title(text: str, name: str) -> str:
    found = TITLE.search(text)
    return found[1].replace("`", "") if found else posixpath.basename(name).removesuffix(".md")
