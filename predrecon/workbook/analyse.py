"""`python -m predrecon analyse`: tables, figures and one page about any encoders.

OUT/index.html          the page with everything; needs no network
OUT/tables/             geometry, differences, layers: CSV (every number), Markdown, LaTeX
OUT/figures/index.html  the figures one by one (HTML; PNG if Chrome is found), and their numbers
"""

from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from predrecon.audit import geometry, seeds
from predrecon.audit.agreement import measure_agreement
from predrecon.audit.by_layer import geometry_by_layer
from predrecon.audit.encoders import Model, load_encoders
from predrecon.audit.geometry import GEOMETRY_SAMPLES, Geometry
from predrecon.audit.minimal_pairs import measure_minimal_pairs, with_mlm_head
from predrecon.audit.other_metrics import measure_other_metrics
from predrecon.audit.probe_heads import measure_probe_heads
from predrecon.audit.retrieval import measure_retrieval
from predrecon.audit.similarity import measure_similarity
from predrecon.data import files
from predrecon.data.files import make_writable
from predrecon.data.minimal_pairs import MinimalPairs, load_blimp
from predrecon.data.tasks import SIMILARITY, SimilarityTask, Task, load_similarity_tasks, load_tasks
from predrecon.recipes import names, read
from predrecon.workbook import figures, tables, typeset
from predrecon.workbook.figures import Gallery
from predrecon.workbook.figures.panels import METRICS, titled

_ABOUT = (
    "Values with 95 % intervals over texts (bootstrap). They cover these weights on new texts, not "
    "another training run. Ranks are at most min(N, D): compare them at the same N and D. The "
    "pooling `own` comes with the encoder."
)
_DIFFERENCES = (
    "First encoder minus second, with 95 % intervals over bootstrap samples that both share. Ranks "
    "(effective, stable) are bounded by the width D, so cells of two widths show the widths "
    "instead. Spectral entropy is divided by ln D, alignment and uniformity use vectors of length "
    "1, and probes are scores: these are compared at any width. The token probe predicts tokens "
    "of each encoder's own tokenizer, so scores with two tokenizers are not comparable."
)
_LAYERS = (
    "The six metrics after every layer, mean pooling; layer 0 is the output of the embeddings."
)
_SIMILARITY = (
    "Spearman's rho of cosine similarities and grades. Every sentence is encoded on its own; rho "
    "is over all pairs of a task. Nothing is fitted."
)
_BLIMP = (
    "Share of pairs in which the acceptable sentence has the higher pseudo-log-likelihood (Salazar "
    "et al. 2020), ties counted half, with Wilson's interval. Chance is 0.5."
)
_MORE = {
    "retrieval": "The rank of the paired sentence among all second sentences, by cosine, for pairs "
    "of equal meaning.",
    "heads": "What a frozen vector holds: a linear head, ten neighbours by cosine, and an MLP of "
    "64 units, on the same five folds.",
    "other_metrics": "Geometry as other papers define it: IsoScore, RankMe, α-ReQ, LiDAR.",
    "agreement": "How alike two encoders place the same texts (mean pooling). Chance is the value "
    "with one encoder's texts shuffled.",
}
_TITLES = {"geometry": "Geometry and probes", "layers": "By layer", "blimp": "BLiMP"}


def analyse(
    places: list[str],
    out: Path,
    *,
    tasks: str | list[str] = "auto",
    max_samples: int = GEOMETRY_SAMPLES,
    max_pairs: int = 50,
    more: bool = False,
    data_dir: str | None = None,
    **options,
) -> str:
    """Measure encoders on tasks and write everything below `out`; returns a line that says where.

    Args:
        places: as in `encoders.load_encoders`; options: its other arguments.
        tasks: as in `tasks.load_tasks`, plus `sts` or some of `tasks.SIMILARITY` for graded pairs,
            and `blimp` for minimal pairs (for encoders that have an MLM head).
        max_samples: maximum number of texts of a validation split, or graded pairs.
        max_pairs: maximum number of pairs of each of BLiMP's 67 paradigms.
        more: also retrieval, two other probe heads, other papers' metrics, and how similar the
            encoders are.
        data_dir: local copies of the real data.

    Raises:
        ValueError, SourceError: an encoder or a task that cannot be used; nothing is written then.
    """
    max_samples = read("max_samples", max_samples)
    make_writable(out, "Name another with --out.")
    labelled, graded, minimal = _load(tasks, max_pairs, data_dir)
    models = load_encoders(places, data_dir=data_dir, **options)
    counts = f"{len(models)} encoders, at most {max_samples:,} texts of a task"
    gallery, parts = Gallery("analysis", counts, root=out / "figures"), {}
    if labelled:
        measured = geometry.measure_all(models, labelled, max_samples=max_samples)
        layers = geometry_by_layer(models, labelled, max_samples=max_samples)
        gaps = seeds.pairwise(measured) if len(models) > 1 else None
        parts = _tables(measured, layers, gaps)
        for name, (figure, numbers) in drawn(measured, layers, labelled, gaps).items():
            gallery.add(name, figure, numbers)
    if graded:
        table = measure_similarity(models, graded, max_samples=max_samples)
        parts["similarity"] = (table, tables.measures_table(table), _SIMILARITY)
    if labelled and more:
        parts |= _more(models, labelled, max_samples)
    if minimal:
        parts |= _minimal_pairs(models, places, minimal, options)
    for name, (numbers, text, caption) in parts.items():
        typeset.export(numbers, text, out / "tables", name, caption)
    line, page = gallery.export() if gallery.entries else "", out / "index.html"
    noted = [*labelled, *graded, *([minimal] if minimal else [])]
    files.write_text(page, _page(models, noted, counts, parts, gallery))
    return f"{page} shows everything; tables in {out / 'tables'}. {line}"


def _load(
    chosen, max_pairs: int, data_dir
) -> tuple[list[Task], list[SimilarityTask], MinimalPairs]:
    """Labelled tasks, tasks of graded pairs, and minimal pairs (None: not among `chosen`)."""
    every = names("tasks", chosen)
    pairs = [name for name in every if name == "sts" or name in {*SIMILARITY} - {"stsb"}]
    others = [name for name in every if name not in (*pairs, "blimp")]
    labelled = load_tasks(others, data_dir=data_dir) if others or not every else []
    graded = load_similarity_tasks(pairs, data_dir=data_dir) if pairs else []
    minimal = load_blimp(data_dir, max_pairs=max_pairs) if "blimp" in every else None
    return labelled, graded, minimal


def _more(models: list[Model], tasks: list[Task], max_samples: int) -> dict[str, tuple]:
    """What `analyse(more=True)` adds, as `_tables`."""
    options, measured = {"max_samples": max_samples}, {}
    try:
        measured["retrieval"] = measure_retrieval(models, tasks, **options)
    except ValueError as no_pairs:
        print(no_pairs, flush=True)
    measured["heads"] = measure_probe_heads(models, tasks, **options)
    measured["other_metrics"] = measure_other_metrics(models, tasks, **options)
    texts = {name: tables.measures_table(table) for name, table in measured.items()}
    if len(models) > 1:
        table = measure_agreement(models, tasks, poolings=("mean",), **options)
        named = table.assign(model=table["model"] + " and " + table["other"])
        measured["agreement"], texts["agreement"] = table, tables.measures_table(named)
    return {name: (table, texts[name], _MORE[name]) for name, table in measured.items()}


def _minimal_pairs(models: list[Model], places, pairs: MinimalPairs, options: dict) -> dict:
    """BLiMP for the encoders that have an MLM head; a printed line names the others."""
    places = places.split(",") if isinstance(places, str) else places
    chosen = {k: options.get(k) for k in ("num_heads", "trust_remote_code")}
    heads = {
        m.name: with_mlm_head(m, str(p), **chosen) for m, p in zip(models, places, strict=True)
    }
    if without := [name for name, model in heads.items() if model is None]:
        print(f"BLiMP is left out for {', '.join(without)}: no MLM head.", flush=True)
    masked = [model for model in heads.values() if model]
    if not masked:
        return {}
    table = measure_minimal_pairs(masked, pairs)
    coarse = table[table["level"] != "UID"]
    return {"blimp": (table, tables.measures_table(coarse, ("encoder", "level", "group")), _BLIMP)}


def drawn(
    measured: Geometry, layers: pd.DataFrame, tasks: list[Task], gaps: pd.DataFrame | None = None
) -> dict[str, tuple[go.Figure, pd.DataFrame]]:
    """`{name: (figure, numbers)}`, a menu for tasks, poolings or pairs of encoders in each.

    `gaps` are from `seeds.pairwise`; without them (one encoder) there is no figure of differences.
    """
    table, spectra = measured.table, geometry.seed_spectra(measured).query("pooling == 'mean'")
    poolings = table["pooling"].unique()
    bars = {pooling: figures.metric_bars(table, pooling) for pooling in poolings}
    planes = {pooling: figures.alignment_uniformity(table, pooling) for pooling in poolings}
    curves = {t.title: figures.eigenspectra(spectra, t.name, "mean", t.title) for t in tasks}
    depth = {t.title: figures.by_layer(layers, t.name, t.title, "mean") for t in tasks}
    parts = {"metrics": (figures.switchable(bars, "Pooling"), table)}
    if gaps is not None:
        pairs = gaps[["one", "other"]].drop_duplicates().itertuples(index=False, name=None)
        forests = {f"{a} − {b}": figures.pair_differences(gaps, a, b, "mean") for a, b in pairs}
        parts["differences"] = (figures.switchable(forests, "Pair"), gaps)
    return parts | {
        "by_layer": (figures.switchable(depth, "Task"), layers),
        "alignment_uniformity": (figures.switchable(planes, "Pooling"), table),
        "eigenspectra": (figures.switchable(curves, "Task"), spectra),
    }


def _tables(
    measured: Geometry, layers: pd.DataFrame, gaps: pd.DataFrame | None
) -> dict[str, tuple]:
    """`{name: (numbers, text, caption)}`."""
    parts = {"geometry": (measured.table, tables.encoders_table(measured.table), _ABOUT)}
    if gaps is not None:
        parts["differences"] = (gaps, tables.pairs_table(gaps), _DIFFERENCES)
    return parts | {"layers": (layers, tables.layers_table(layers), _LAYERS)}


def _page(models: list[Model], tasks: list, counts: str, parts: dict, gallery) -> str:
    """The page, with plotly.js embedded."""
    notes = {task.title: task.note for task in tasks if task.note}
    blocks = [
        ("Encoders", "", typeset.light(typeset.styled(tables.opened_table(models), index=False)))
    ]
    for name, (_, text, caption) in parts.items():
        named = text.rename(columns=lambda column: titled(column) if column in METRICS else column)
        html = typeset.light(typeset.styled(named))
        title = _TITLES.get(name, name.replace("_", " ").capitalize())
        blocks.append((title, caption, html))
    shown = [figures.figure_div(figure) for figure, _ in gallery.entries.values()]
    values = dict(title="Encoders compared", caption=counts, notes=notes, blocks=blocks)
    return figures.render("report.html", **values, figures=shown, plotly=figures.plotly_js())
