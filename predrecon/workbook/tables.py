"""The paper's tables from ours: one function, one layout, intervals beside every number of ours.

Tables 4-6 compare the arms over tasks and poolings, 7-11 hold everything of one task. Table 3, the
linear probes, is `reports.probing_table`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from predrecon.audit import analysis
from predrecon.audit.seeds import over_seeds
from predrecon.audit.statistics import Interval, seeds_text
from predrecon.data.tasks import EMBEDDED, GLUE
from predrecon.workbook import typeset

ALL = ("mean", "max", "weighted", "attention")
ARMS = ("hybrid", "mlm")
PUBLISHED_DIM = 512  # the paper's D, up to which its ranks go
_INDEX = ("title", "pooling", "metric")
_RANKS = ("effective_rank", "stable_rank", "rank_90", "rankme")  # at most min(N, D)


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
        Index `title, pooling, metric`. Columns for each arm `value, low, high, seeds, basis, n,
        dim` and `published`; n is the samples, dim the D of the embeddings. For embedded tasks the
        published number is that of the GLUE task of the same shape: another task.

    Raises:
        ValueError: no such table (the valid ones are listed), or none of its tasks was measured.
    """
    if number not in TABLES:
        raise ValueError(f"Table {number}: expected one of {', '.join(map(str, TABLES))}.")
    asked = TABLES[number]
    ours = _with_dim(table[table["model"].isin(ARMS)])
    ours["twin"] = ours["task"].replace(dict(zip(EMBEDDED, GLUE, strict=True)))
    keep = ours["metric"].isin(asked.metrics) & ours["pooling"].isin(asked.poolings)
    if asked.task:
        keep &= ours["twin"] == asked.task
    ours = ours[keep]
    if ours.empty:
        raise ValueError(f"Table {number} needs {asked.task or 'GLUE tasks'}: not measured here.")
    told = analysis.published_geometry().rename(columns={"task": "twin", "value": "published"})
    both = ours.merge(told, on=["twin", "pooling", "metric", "model"], how="left")
    columns = ["value", "low", "high", "seeds", "basis", "n", "dim", "published"]
    index = list(_INDEX)
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
        Columns `task, title, pooling, metric, model, value, low, high, seeds, basis, n, dim`;
        published rows have no interval and no n.
    """
    ours = _with_dim(table)
    told = analysis.published_geometry()
    told = told[told["task"].isin(ours["task"]) & told["metric"].isin(ours["metric"])]
    titles = ours.drop_duplicates("task").set_index("task")["title"]
    told = told.assign(model="published " + told["model"], title=told["task"].map(titles))
    told["dim"] = PUBLISHED_DIM
    return pd.concat([ours, told], ignore_index=True)


def readable(wide: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """`paper_table` with N, D and one cell an arm: value, interval, seeds; and the published one.

    A published rank says its D where ours is another: ranks go up to min(N, D).
    """

    def cell(row) -> str:
        if pd.isna(row["value"]):
            return "–"
        interval = Interval(row["value"], row["low"], row["high"], row["n"])
        return f"{interval.text(digits)} {seeds_text(int(row['seeds']))}"

    def told(row) -> str:
        if pd.isna(row["published"]):
            return "–"
        other = row.name[-1] in _RANKS and row["dim"] not in (PUBLISHED_DIM, np.nan)
        return f"{row['published']:.{digits}f}" + other * f" (D = {PUBLISHED_DIM})"

    shown = {"N": _of_both(wide, "n"), "D": _of_both(wide, "dim")}
    for arm in ARMS:
        shown[arm] = wide[arm].apply(cell, axis=1)
        shown[f"published {arm}"] = wide[arm].apply(told, axis=1)
    return pd.DataFrame(shown, index=wide.index)


def caption(number: int, table: pd.DataFrame) -> str:
    """What `paper_table(number, table)` holds, what its intervals are over, what is compared."""
    wide = paper_table(number, table)
    bases = set(wide.xs("basis", axis=1, level=1).stack().dropna())
    over = " or ".join(b.replace("samples", "texts (one seed)") for b in sorted(bases))
    dims = _of_both(wide, "dim").unique()
    text = (
        f"Table {number}. {TABLES[number].title}. Ours at D = {', '.join(dims)} with 95 % "
        f"intervals over {over}; published: one seed, D = {PUBLISHED_DIM}, no interval."
    )
    if table["task"].isin(EMBEDDED).any():
        text += " The published numbers are of the GLUE task of the same shape: another task."
    return text


def shown(number: int, table: pd.DataFrame) -> Styler:
    """`paper_table` for a notebook; what its caption says is in no column.

    Args:
        number, table: as in `paper_table`, whose errors it raises.
    """
    wide, asked = paper_table(number, table), TABLES[number]
    alone = {"pooling": len(asked.poolings) == 1, "metric": len(asked.metrics) == 1}
    text = readable(wide).droplevel([level for level, single in alone.items() if single])
    return typeset.styled(text, caption(number, table))


def of_tasks(table: pd.DataFrame) -> list[Styler]:
    """Tables 7 to 11, those whose task was measured, for a notebook."""
    return [shown(n, table) for n, asked in TABLES.items() if asked.task and _measured(n, table)]


def export(wide: pd.DataFrame, folder: Path, name: str, told: str = "") -> list[Path]:
    """A table as CSV (every number), Markdown and LaTeX (readable), captioned `told`; the files."""
    flat = wide.copy()
    flat.columns = ["_".join(c) for c in wide.columns]
    return typeset.export(flat.reset_index(), readable(wide), folder, name, told)


def export_all(table: pd.DataFrame, folder: Path) -> list[Path]:
    """`export` every table whose tasks were measured; returns the files."""
    files = []
    for number in TABLES:
        if _measured(number, table):
            wide = paper_table(number, table)
            files += export(wide, folder, f"table_{number:02d}", caption(number, table))
    return files


def _measured(number: int, table: pd.DataFrame) -> bool:
    asked = TABLES[number].task
    twin = dict(zip(GLUE, EMBEDDED, strict=True)).get(asked)
    return not asked or bool(table["task"].isin([asked, twin]).any())


def _with_dim(table: pd.DataFrame) -> pd.DataFrame:
    """`evidence.over_seeds` with the D of each model's embeddings."""
    dims = table.groupby("model", as_index=False)["dim"].first()
    return over_seeds(table).merge(dims, on="model", how="left")


def _of_both(wide: pd.DataFrame, column: str) -> pd.Series:
    """A count in each row: one where the arms agree, else both."""
    counts = wide.xs(column, axis=1, level=1)
    return counts.apply(lambda row: ", ".join(f"{int(v):,}" for v in row.dropna().unique()), axis=1)
