"""Tables for readers: styled in a notebook, and as CSV, Markdown and LaTeX files."""

import hashlib
import re
from html import escape
from pathlib import Path

import pandas as pd
from pandas.io.formats.style import Styler

from predrecon.data.files import write_text

_RULES = [
    ("caption", "caption-side: top; text-align: left; max-width: 60em; padding-bottom: 0.5em"),
    ("td", "text-align: right; white-space: nowrap"),
    ("thead th", "text-align: right"),
    ("tbody th", "text-align: left; vertical-align: top; white-space: nowrap"),
]
_MUTED = "opacity: 0.65"  # works on light and dark pages
# Glyphs that pandas leaves unchanged and plain LaTeX lacks.
_LATEX = {"–": "--", "−": "$-$", "±": r"$\pm$", "×": r"$\times$", "√": r"$\surd$"}
_LATEX |= {"λ": r"$\lambda$", "ρ": r"$\rho$"}


def styled(
    text: pd.DataFrame,
    caption: str = "",
    *,
    precision: int = 3,
    index: bool = True,
    wrap: bool = False,
) -> Styler:
    """A table for a notebook: caption above, numbers right-aligned, columns `published ...` muted.

    `precision` is for columns that are still numbers; with `wrap` words may take several lines.
    """
    name = hashlib.sha256((caption + text.to_csv()).encode()).hexdigest()[:8]  # the same each time
    table = Styler(text, caption=caption or None, uuid=name, cell_ids=False)
    table = table.format(precision=precision, na_rep="–", thousands=",")
    columns = enumerate(reversed(list(text)), start=1)
    from_right = [place for place, column in columns if "published" in str(column)]
    names = f"thead th:nth-child(-n+{text.index.nlevels if index else 0})"
    rules = [*_RULES, (names, "text-align: left")]
    if wrap:
        rules += [("td, tbody th", "white-space: normal; max-width: 18em")]
    rules += [(f"td:nth-last-child({place})", _MUTED) for place in from_right]
    table = table.set_table_styles([{"selector": s, "props": p} for s, p in rules])
    return table if index else table.hide(axis="index")


def show(*tables: Styler | pd.DataFrame, caption: str = "", **options):
    """Display tables in a notebook: one as it is; of several, all but the first are folded.

    Frames are `styled` here, with `caption` and `options`.
    """
    from IPython.display import display

    tables = [t if isinstance(t, Styler) else styled(t, caption, **options) for t in tables]
    headings = [". ".join((t.caption or "").split(". ")[:2]).rstrip(".") for t in tables]
    if len(tables) > 1:
        for table, heading in zip(tables, headings, strict=True):
            if (table.caption or "").rstrip(".") == heading:
                table.caption = None  # the fold's heading says it
    parts = [light(table) for table in tables]
    if len(tables) > 1:
        parts = [
            f"<details{' open' if i == 0 else ''}><summary>{escape(heading)}</summary>{part}"
            "</details>"
            for i, (heading, part) in enumerate(zip(headings, parts, strict=True))
        ]
    plain = "; ".join(heading or "a table" for heading in headings)
    display({"text/html": "".join(parts), "text/plain": f"[{plain}]"}, raw=True)


def show_html(*parts: str):
    """Display pieces of HTML, one below the other."""
    from IPython.display import display

    display({"text/html": "<br>".join(parts), "text/plain": "[text with colours]"}, raw=True)


def say(*sentences: str):
    """Display sentences that are built from results: one as a paragraph, several as a list.

    They are Markdown; formulas belong in markdown cells, where pages can draw them.
    """
    from IPython.display import display

    mark = "- " if len(sentences) > 1 else ""
    lines = "\n".join(f"{mark}{sentence}" for sentence in sentences)
    display({"text/markdown": lines, "text/plain": lines}, raw=True)


def export(
    numbers: pd.DataFrame, text: pd.DataFrame, folder: Path, name: str, caption: str
) -> list[Path]:
    """Write a table as CSV (`numbers`), Markdown and LaTeX (`text`); returns the files.

    The index of `text` becomes its first columns, that of `numbers` is left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = text.reset_index().astype(str)
    lines = [list(text.columns), ["---"] * len(text.columns), *text.to_numpy().tolist()]
    latex = text.to_latex(index=False, escape=True)
    for glyph, command in _LATEX.items():
        latex = latex.replace(glyph, command)
    contents = {
        ".csv": numbers.to_csv(index=False),
        ".md": f"{caption}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines),
        ".tex": f"% {caption}\n{latex}",
    }
    for suffix, content in contents.items():
        write_text(folder / f"{name}{suffix}", content)
    return [folder / f"{name}{suffix}" for suffix in contents]


def light(table: Styler) -> str:
    """HTML without the classes per cell and blanks between tags that make up most of pandas'."""
    style, body = table.to_html().split("</style>")
    head, rest = body.split(">", 1)
    rest = re.sub(r' (?:id|class)="[^"]*"', "", rest).replace(" >", ">")
    rest = re.sub(r">\s+<", "><", rest).replace("</tr>", "</tr>\n")
    return f"{style}</style>{head.strip()}>{rest}"
