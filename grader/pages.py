"""What feedback and reports share: one self-contained page, readable in light and dark, that asks nobody for anything."""

from __future__ import annotations

from html import escape

STYLE = """
:root{color-scheme:light dark;--ink:#1b1b1b;--paper:#fff;--soft:#f3f4f6;--line:#d4d7dc;--good:#00664b;--bad:#a33a00;--link:#0b5cad}
@media(prefers-color-scheme:dark){:root{--ink:#e9e9e9;--paper:#16181c;--soft:#23262c;--line:#444a54;--good:#4cc9a0;--bad:#ffa477;--link:#7db8ff}}
body{font:16px/1.55 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:58rem;margin:0 auto;padding:1.5rem 1rem}
h1{font-size:1.6rem;margin:.2rem 0}h2{font-size:1.2rem;margin:2rem 0 .4rem;border-top:1px solid var(--line);padding-top:1.2rem}
h1,h2,p,li,summary{overflow-wrap:anywhere}h2{display:flex;flex-wrap:wrap;justify-content:space-between;gap:0 1rem}h2 .points{font-weight:400;white-space:nowrap}
.table{overflow-x:auto;margin:.6rem 0}table{border-collapse:collapse;width:100%}.compact table{width:auto;min-width:20rem}
th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}td{min-width:6rem;overflow-wrap:break-word}td.number{min-width:0}
td.number,th.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
code{background:var(--soft);border-radius:4px;padding:.05rem .25rem;font-size:.9em}pre{background:var(--soft);padding:.7rem .9rem;border-radius:6px;overflow-x:auto;font-size:.85rem;line-height:1.45}
.good{color:var(--good);font-weight:600}.bad{color:var(--bad);font-weight:600}
.said{background:var(--soft);border-left:4px solid var(--bad);padding:.6rem .9rem;margin:.6rem 0}
.comment{white-space:pre-wrap;border-left:4px solid var(--link);padding:.2rem .9rem;margin:.6rem 0}
details{margin:.5rem 0}summary{cursor:pointer;color:var(--link)}figure{margin:1rem 0}img{max-width:100%;height:auto}
"""


def page(title: str, body: str) -> str:
    """A whole HTML page. `title` is escaped here, `body` is HTML; scripts and requests are forbidden by its own policy."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>\n{body}\n</main></body></html>\n"
    )


def table(
    head: list[str],
    rows: list[list[str | float]],
    numbers: set[int] | frozenset[int] = frozenset(),
    compact: bool = False,
) -> str:
    """An HTML table of text and numbers, escaped; the columns in `numbers` stand to the right. On a narrow screen it scrolls, not the page."""

    def cell(tag: str, index: int, value: str | float) -> str:
        attributes = ' class="number"' if index in numbers else ""
        scope = ' scope="col"' if tag == "th" else ""
        return f"<{tag}{scope}{attributes}>{escape(value if isinstance(value, str) else f'{value:g}')}</{tag}>"

    header = "".join(cell("th", i, h) for i, h in enumerate(head))
    body = "".join("<tr>" + "".join(cell("td", i, v) for i, v in enumerate(row)) + "</tr>" for row in rows)
    kind = "table compact" if compact else "table"
    return (
        f'<div class="{kind}" tabindex="0"><table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table></div>'
    )
