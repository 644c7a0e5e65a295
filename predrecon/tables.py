"""The paper's tables from ours: one function, one layout, intervals beside every number of ours.

Tables 4-6 compare the arms over tasks and poolings, 7-11 hold everything of one task. Table 3, the
linear probes, is `reports.probing_table`.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from predrecon import analysis
from predrecon.evidence import over_seeds
from predrecon.files import write_text
from predrecon.tasks import EMBEDDED, GLUE
from predrecon.uncertainty import Interval, seeds_text

ALL = ("mean", "max", "weighted", "attention")
ARMS = ("hybrid", "mlm")
_INDEX = ("title", "pooling", "metric")


@dataclass(frozen=True)
class PaperTable:
    """Which numbers a table of the paper holds; no `task`: all five."""

    title: str
    metrics: tuple[str, ...]
    poolings: tuple[str, ...] = ALL
    task: str = ""


_SPECTRAL = ("spectral_entropy", "spectral_entropy_sigma2", "effective_rank", "stable_rank")
_PROBES = ("semantic_probe", "token_probe", "probe_gap")
_CLASSES = ("alignment", "alignment_squared", "pair_alignment", "intra_inter_ratio")
_EVERYTHING = (*_SPECTRAL, "rank_90", "rankme", *_CLASSES, "uniformity", *_PROBES)
TABLES = {
    4: PaperTable("Uniformity", ("uniformity",)),
    5: PaperTable("Spectral metrics, max pooling", _SPECTRAL, ("max",)),
    6: PaperTable("Probing, attention pooling", _PROBES, ("attention",)),
    7: PaperTable("All metrics, SST-2", _EVERYTHING, task="sst2"),
    8: PaperTable("All metrics, MRPC", _EVERYTHING, task="mrpc"),
    9: PaperTable("All metrics, MNLI", _EVERYTHING, task="mnli"),
    10: PaperTable("All metrics, CoLA", (*_EVERYTHING, "semantic_probe_mcc"), task="cola"),
    11: PaperTable("All metrics, STS-B", _EVERYTHING, task="stsb"),
}


def paper_table(number: int, table: pd.DataFrame) -> pd.DataFrame:
    """Table `number` of the paper, ours beside the published numbers.

    Args:
        number: 4 to 11.
        table: of `evidence.Geometry`, any number of seeds.

    Returns:
        Index `title, pooling, metric`. Columns for each arm `value, low, high, seeds, basis, n`,
        and `published`. For embedded tasks the published number is that of the GLUE task of the
        same shape: another task.

    Raises:
        ValueError: no such table (the valid ones are listed), or none of its tasks was measured.
    """
    if number not in TABLES:
        raise ValueError(f"Table {number}: expected one of {', '.join(map(str, TABLES))}.")
    asked = TABLES[number]
    ours = over_seeds(table[table["model"].isin(ARMS)])
    ours["twin"] = ours["task"].replace(dict(zip(EMBEDDED, GLUE, strict=True)))
    keep = ours["metric"].isin(asked.metrics) & ours["pooling"].isin(asked.poolings)
    if asked.task:
        keep &= ours["twin"] == asked.task
    ours = ours[keep]
    if ours.empty:
        raise ValueError(f"Table {number} needs {asked.task or 'GLUE tasks'}: not measured here.")
    told = analysis.published_geometry().rename(columns={"task": "twin", "value": "published"})
    both = ours.merge(told, on=["twin", "pooling", "metric", "model"], how="left")
    columns, index = ["value", "low", "high", "seeds", "basis", "n", "published"], list(_INDEX)
    wide = both.set_index([*index, "model"])[columns].unstack("model")
    wide = wide.swaplevel(axis=1).reindex(columns=pd.MultiIndex.from_product([ARMS, columns]))
    titles = dict.fromkeys(ours["title"])
    order = [(t, p, m) for t in titles for p in asked.poolings for m in asked.metrics]
    return wide.reindex(
        pd.MultiIndex.from_tuples([k for k in order if k in wide.index], names=index)
    )


def with_published(table: pd.DataFrame) -> pd.DataFrame:
    """`evidence.over_seeds` and, for GLUE tasks, the published values as models `published ...`.

    Returns:
        Columns `task, title, pooling, metric, model, value, low, high, seeds, basis, n`; published
        rows have no interval.
    """
    ours = over_seeds(table)
    told = analysis.published_geometry()
    told = told[told["task"].isin(ours["task"]) & told["metric"].isin(ours["metric"])]
    titles = ours.drop_duplicates("task").set_index("task")["title"]
    told = told.assign(model="published " + told["model"], title=told["task"].map(titles))
    return pd.concat([ours, told], ignore_index=True)


def readable(wide: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """`paper_table` with one cell an arm: value, interval and seeds, and the published number."""

    def cell(row) -> str:
        if pd.isna(row["value"]):
            return "–"
        interval = Interval(row["value"], row["low"], row["high"], row["n"])
        return f"{interval.text(digits)} {seeds_text(int(row['seeds']))}"

    shown = {}
    for arm in ARMS:
        shown[arm] = wide[arm].apply(cell, axis=1)
        shown[f"published {arm}"] = wide[arm]["published"].map(
            lambda v: "–" if pd.isna(v) else f"{v:.{digits}f}"
        )
    return pd.DataFrame(shown, index=wide.index)


def export(wide: pd.DataFrame, folder: Path, name: str) -> list[Path]:
    """Write a table as CSV (every number), Markdown and LaTeX (readable); returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    text, flat = readable(wide).reset_index(), wide.copy()
    flat.columns = ["_".join(c) for c in wide.columns]
    lines = [list(text.columns), ["---"] * len(text.columns), *text.to_numpy().tolist()]
    written = {
        ".csv": flat.reset_index().to_csv(index=False),
        ".md": "".join("| " + " | ".join(line) + " |\n" for line in lines),
        ".tex": _latex(text),
    }
    for suffix, content in written.items():
        write_text(folder / f"{name}{suffix}", content)
    return [folder / f"{name}{suffix}" for suffix in written]


def export_all(table: pd.DataFrame, folder: Path) -> list[Path]:
    """`export` every table whose tasks were measured; returns the files."""
    files = []
    for number in TABLES:
        try:
            wide = paper_table(number, table)
        except ValueError:  # its task is not among the measured ones
            continue
        files += export(wide, folder, f"table_{number:02d}")
    return files


def _latex(text: pd.DataFrame) -> str:
    """A plain tabular; pandas' own wants jinja2 and writes more than is needed."""
    escaped = text.astype(str).replace({"_": r"\\_", "–": "--", "%": r"\\%"}, regex=True)
    head = " & ".join(str(c).replace("_", r"\_") for c in text.columns)
    rows = [" & ".join(row) for row in escaped.to_numpy()]
    body = " \\\\\n".join([head, *rows])
    return f"\\begin{{tabular}}{{{'l' * len(text.columns)}}}\n{body} \\\\\n\\end{{tabular}}\n"
