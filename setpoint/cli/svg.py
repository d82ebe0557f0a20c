"""A graph of assets as a picture (SVG): boxes with name and state, data flowing from left to right. Pure.

Called by ``graph -o svg``. States have a word and a mark beside their colour; every text is escaped, and nothing is
loaded from anywhere, so that the file may be opened and passed on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Final

from setpoint.cli.layers import Layout, lay_out
from setpoint.cli.plain import plain

_CHAR: Final = 7.3
"""Width of a character of the text, in the units of the picture; the font has one width for all."""

_NAME_CHARS_MAX: Final = 34
_BOX_H, _ROW_H, _GAP, _MARGIN = 42.0, 58.0, 74.0, 24.0
_PLAIN: Final = ("#f3f4f6", "#6b7280", "")
_LOOKS: Final[Mapping[str, tuple[str, str, str]]] = {
    "ready": ("#dcfce7", "#15803d", "\u2713"),
    "drifted": ("#fee2e2", "#b91c1c", "\u2260"),
    "suspended": ("#fecaca", "#7f1d1d", "\u2016"),
    "blocked": ("#ffedd5", "#c2410c", "\u2298"),
    "syncing": ("#dbeafe", "#1d4ed8", "\u21bb"),
    "evaluating": ("#e0f2fe", "#0369a1", "\u2026"),
    "unknown": ("#fef9c3", "#a16207", "?"),
    "not_evaluated": ("#f3f4f6", "#6b7280", "\u2013"),
}
"""Fill, line and mark of each state; another one is drawn plain, with its word."""


def svg(upstreams: Mapping[str, Sequence[str]], states: Mapping[str, str]) -> str:
    """Return the graph as an SVG document. An asset without a state is drawn without one."""
    layout = lay_out(upstreams)
    columns = _columns(upstreams, states, layout)
    width = max((left + wide for left, wide in columns.values()), default=0.0) + 2 * _MARGIN
    height = max(layout.row.values(), default=0.0) * _ROW_H + _BOX_H + 2 * _MARGIN
    counts = f"{len(upstreams)} assets, {len(layout.lines)} dependencies"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" aria-label="{counts}" font-size="12" '
        "font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\">",
        f"<title>{counts}</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0.6 L7.4 4 L0 7.4 z" fill="#6b7280"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
        f'<g transform="translate({_MARGIN:.0f} {_MARGIN:.0f})">',
        *_lines(layout, columns),
        *_boxes(upstreams, states, layout, columns),
        "</g></svg>",
    ]
    return "\n".join(parts)


def _columns(
    upstreams: Mapping[str, Sequence[str]], states: Mapping[str, str], layout: Layout
) -> dict[int, tuple[float, float]]:
    """Return for each layer its left edge and its width, that of its longest text."""
    chars: dict[int, int] = {}
    for name in upstreams:
        longest = max(len(_short(name)), len(_state(states, name)) + 2)
        chars[layout.layer[name]] = max(chars.get(layout.layer[name], 0), longest)
    columns: dict[int, tuple[float, float]] = {}
    left = 0.0
    for layer in sorted(chars):
        wide = chars[layer] * _CHAR + 24
        columns[layer] = (left, wide)
        left += wide + _GAP
    return columns


def _lines(layout: Layout, columns: Mapping[int, tuple[float, float]]) -> Iterator[str]:
    for line in layout.lines:
        first, wide = columns[layout.layer[line[0]]]
        x, y = first + wide, _middle(layout, line[0])
        path = [f"M{x:.1f} {y:.1f}"]
        for other in line[1:]:
            left, wide = columns[layout.layer[other]]
            to = _middle(layout, other)
            bend = (left - x) / 2
            path.append(f"C{x + bend:.1f} {y:.1f} {left - bend:.1f} {to:.1f} {left:.1f} {to:.1f}")
            x, y = left, to
            if other != line[-1]:  # a line that only passes goes straight through the layer
                x = left + wide
                path.append(f"H{x:.1f}")
        yield f'<path d="{" ".join(path)}" fill="none" stroke="#9ca3af" stroke-width="1.3" marker-end="url(#tip)"/>'


def _boxes(
    upstreams: Mapping[str, Sequence[str]],
    states: Mapping[str, str],
    layout: Layout,
    columns: Mapping[int, tuple[float, float]],
) -> Iterator[str]:
    for name in upstreams:
        left, wide = columns[layout.layer[name]]
        middle, state = _middle(layout, name), _state(states, name)
        fill, line, mark = _LOOKS.get(states.get(name, ""), _PLAIN)
        yield f"<g><title>{_text(name)}{': ' + _text(state) if state else ''}</title>"
        yield (
            f'<rect x="{left:.1f}" y="{middle - _BOX_H / 2:.1f}" width="{wide:.1f}" height="{_BOX_H:.0f}" rx="6" '
            f'fill="{fill}" stroke="{line}" stroke-width="1.5"/>'
        )
        up = 3.0 if state else -4.0
        yield f'<text x="{left + 12:.1f}" y="{middle - up:.1f}" fill="#111827">{_text(_short(name))}</text>'
        if state:
            word = f"{mark} {state}" if mark else state
            yield f'<text x="{left + 12:.1f}" y="{middle + 14:.1f}" font-size="11" fill="{line}">{_text(word)}</text>'
        yield "</g>"


def _middle(layout: Layout, name: str) -> float:
    return layout.row[name] * _ROW_H + _BOX_H / 2


def _state(states: Mapping[str, str], name: str) -> str:
    return states.get(name, "").replace("_", " ")


def _short(name: str) -> str:
    return name if len(name) <= _NAME_CHARS_MAX else name[: _NAME_CHARS_MAX - 12] + "\u2026" + name[-11:]


def _text(text: str) -> str:
    return escape(plain(text))
