"""An SVG of how fast the servers are: for each row a bar for each server, in proportion to the fastest."""

from collections.abc import Iterator, Sequence
from html import escape

from benchmarks.peers.figures import Row
from benchmarks.peers.report import show_rate

_OWN, _OTHERS = "#1f6feb", "#8b949e"
_WIDTH, _NAMES, _BARS = 860, 250, 420  # of all, of the servers' names, of the longest bar
_BAR, _GAP, _HEAD, _MARGIN = 16, 22, 30, 16
_TEN = 10
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1f2328}.row{font-weight:600}"
    "rect.page{fill:#fff}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}rect.page{fill:#0d1117}}"
)


def draw(rows: Sequence[Row], own: Sequence[str], beside: str) -> str:
    """The file's text; `beside` is the server that ratios in it are to."""
    parts: list[str] = []
    top = _MARGIN
    for row in rows:
        servers = list(row.runs)
        parts.append(_text(_MARGIN, top + _BAR - 3, row.name, "row"))
        parts += _bars(row, servers, own, beside, top + _HEAD)
        top += _HEAD + len(servers) * _GAP + _MARGIN
    page = f'<rect class="page" width="{_WIDTH}" height="{top}" rx="6"/>'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" role="img" aria-label="{_LABEL}">'
    return "\n".join([opening, f"<style>{_STYLE}</style>", page, *parts, "</svg>", ""])


_LABEL = "How fast Entrepot and other servers are"


def _bars(row: Row, servers: Sequence[str], own: Sequence[str], beside: str, top: int) -> Iterator[str]:
    fastest = max(row.rate(server) for server in servers)
    for number, server in enumerate(servers):
        y = top + number * _GAP
        length = max(1, round(_BARS * row.rate(server) / fastest))
        colour = _OWN if server in own else _OTHERS
        ratio = row.ratio(server, beside)
        times = f"  ({ratio.median:.{0 if ratio.median >= _TEN else 1}f}x)" if ratio and server != beside else ""
        yield _text(_MARGIN, y + _BAR - 4, server)
        yield f'<rect x="{_NAMES}" y="{y}" width="{length}" height="{_BAR}" rx="2" fill="{colour}"/>'
        yield _text(_NAMES + length + 8, y + _BAR - 4, f"{show_rate(row, server)}{times}")


def _text(x: int, y: int, text: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}"{named}>{escape(text)}</text>'
