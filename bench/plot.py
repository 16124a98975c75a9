"""Draw samples over time as a picture: one panel a figure, one above the other, on one axis of time; plain SVG."""

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, PANEL, GAP, LEFT, TOP = 760, 96, 34, 20, 40
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1f2933}.small{font-size:11px;fill:#52606d}"
    "polyline{fill:none;stroke:#2563a8;stroke-width:1.5}.frame{fill:#f7f9fb;stroke:#cbd2d9}"
    "@media(prefers-color-scheme:dark){text{fill:#e4e7eb}.small{fill:#9aa5b1}.frame{fill:#1f2933;stroke:#52606d}"
    "polyline{stroke:#74b1ec}}"
)


def draw(title: str, minutes: Sequence[float], figures: Mapping[str, Sequence[float]]) -> str:
    """Return the picture; every panel begins at 0, so that what looks flat is flat."""
    height = TOP + len(figures) * (PANEL + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<text x="{LEFT}" y="22">{escape(title)}</text>',
    ]
    for number, (name, values) in enumerate(figures.items()):
        parts += _panel(name, minutes, values, top=TOP + number * (PANEL + GAP))
    return "\n".join([*parts, "</svg>", ""])


def _panel(name: str, minutes: Sequence[float], values: Sequence[float], *, top: float) -> list[str]:
    width, highest, last = WIDTH - 2 * LEFT, 1.15 * max(*values, 1e-9), max(*minutes, 1e-9)
    points = " ".join(
        f"{LEFT + width * at / last:.1f},{top + PANEL - PANEL * value / highest:.1f}"
        for at, value in zip(minutes, values, strict=True)
    )
    begins, ends = values[len(values) // 2], values[-1]
    said = f"{name}: {begins:,.0f} at half time, {ends:,.0f} at the end, {max(values):,.0f} at most"
    return [
        f'<rect class="frame" x="{LEFT}" y="{top}" width="{width}" height="{PANEL}"/>',
        f'<polyline points="{points}"/>',
        f'<text class="small" x="{LEFT + 6}" y="{top + PANEL - 8}">{escape(said)}</text>',
        f'<text class="small" x="{WIDTH - LEFT}" y="{top + PANEL + 14}" text-anchor="end">{last:.0f} min</text>',
    ]
