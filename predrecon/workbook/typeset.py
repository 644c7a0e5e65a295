"""Tables as they are read: styled for a notebook, and as CSV, Markdown and LaTeX files."""

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
_MUTED = "opacity: 0.65"  # of a light and of a dark page's text alike


def styled(
    text: pd.DataFrame, caption: str = "", *, precision: int = 3, index: bool = True
) -> Styler:
    """A table for a notebook: caption above, numbers right-aligned, published columns muted.

    Args:
        text: rows as they shall be read; columns named `published ...` are the paper's.
        caption: with the paper's table number, if it has one.
        precision: decimals of columns that are still numbers.
        index: whether to show the rows' names.
    """
    name = hashlib.sha256((caption + text.to_csv()).encode()).hexdigest()[:8]  # the same each time
    table = Styler(text, caption=caption or None, uuid=name, cell_ids=False)
    table = table.format(precision=precision, na_rep="–", thousands=",")
    width = len(text.columns)
    from_right = [width - i for i, column in enumerate(text) if "published" in str(column)]
    names = f"thead th:nth-child(-n+{text.index.nlevels if index else 0})"
    rules = [*_RULES, (names, "text-align: left")]
    rules += [(f"td:nth-last-child({place})", _MUTED) for place in from_right]
    table = table.set_table_styles([{"selector": s, "props": p} for s, p in rules])
    return table if index else table.hide(axis="index")


def show(*tables: Styler):
    """Display tables in a notebook: one as it is, of several all but the first folded away."""
    from IPython.display import display

    parts, names = [_light(table) for table in tables], [table.caption or "" for table in tables]
    if len(tables) > 1:
        parts = [
            f"<details{' open' if i == 0 else ''}><summary>{escape(_heading(name))}</summary>"
            f"{part}</details>"
            for i, (name, part) in enumerate(zip(names, parts, strict=True))
        ]
    plain = "; ".join(_heading(name) or "a table" for name in names)
    display({"text/html": "".join(parts), "text/plain": f"[{plain}]"}, raw=True)


def export(
    numbers: pd.DataFrame, text: pd.DataFrame, folder: Path, name: str, caption: str = ""
) -> list[Path]:
    """Write a table as CSV (`numbers`), Markdown and LaTeX (`text`); returns the files.

    Args:
        numbers: every number, unrounded; its index is left out.
        text: rows as they shall be read; its index is the first columns.
        folder, name: where, and the file's name without its ending.
        caption: above the Markdown table, a comment of the LaTeX.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = text.reset_index().astype(str)
    lines = [list(text.columns), ["---"] * len(text.columns), *text.to_numpy().tolist()]
    table = "".join("| " + " | ".join(line) + " |\n" for line in lines)
    written = {
        ".csv": numbers.to_csv(index=False),
        ".md": (f"{caption}\n\n" if caption else "") + table,
        ".tex": (f"% {caption}\n" if caption else "") + _latex(text),
    }
    for suffix, content in written.items():
        write_text(folder / f"{name}{suffix}", content)
    return [folder / f"{name}{suffix}" for suffix in written]


def _heading(caption: str) -> str:
    """`Table 7. All metrics, SST-2` of a caption that goes on."""
    return ". ".join(caption.split(". ")[:2]).rstrip(".")


def _light(table: Styler) -> str:
    """HTML without a class a cell and blanks between tags, which are most of pandas' own."""
    style, body = table.to_html().split("</style>")
    head, rest = body.split(">", 1)
    rest = re.sub(r' (?:id|class)="[^"]*"', "", rest).replace(" >", ">")
    rest = re.sub(r">\s+<", "><", rest).replace("</tr>", "</tr>\n")
    return f"{style}</style>{head.strip()}>{rest}"


def _latex(text: pd.DataFrame) -> str:
    """A plain tabular; pandas' own writes more than is needed."""
    special = {"_": r"\\_", "–": "--", "%": r"\\%"}
    rows = [text.columns.astype(str), *text.replace(special, regex=True).to_numpy()]
    rows[0] = [column.replace("_", r"\_") for column in rows[0]]
    body = " \\\\\n".join(" & ".join(row) for row in rows)
    return f"\\begin{{tabular}}{{{'l' * len(text.columns)}}}\n{body} \\\\\n\\end{{tabular}}\n"
