"""`python -m predrecon analyse`: tables, figures and one page about any encoders.

OUT/index.html          the page: all of it, without a network
OUT/tables/             geometry, differences, layers: CSV (every number), Markdown, LaTeX
OUT/figures/index.html  the figures one by one (HTML, PNG where a Chrome is), and their numbers
"""

from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from predrecon.audit import geometry, seeds
from predrecon.audit.by_layer import geometry_by_layer
from predrecon.audit.encoders import Model, load_encoders
from predrecon.audit.geometry import GEOMETRY_SAMPLES, Geometry
from predrecon.data import files
from predrecon.data.files import make_writable
from predrecon.data.tasks import Task, load_tasks
from predrecon.recipes import read
from predrecon.workbook import figures, tables, typeset
from predrecon.workbook.figures import Gallery

_ABOUT = (
    "Values with 95 % intervals over texts (bootstrap). They say what these weights would give on "
    "new texts, nothing about another training run. Ranks are at most min(N, D): compare them at "
    "one N and D. Poolings named own come with the encoder."
)
_DIFFERENCES = (
    "First encoder minus second, with 95 % intervals on bootstrap samples that both share. Ranks "
    "(effective, stable) are bounded by the width D and are not compared between two widths, which "
    "stand in their place. Spectral entropy is divided by ln D, alignment and uniformity are of "
    "vectors of length 1, and probes are scores: these are compared at any width. The token probe "
    "asks for tokens of each encoder's own tokenizer, so with two tokenizers it is two questions."
)
_LAYERS = (
    "The six metrics after every layer, mean pooling; layer 0 is the output of the embeddings."
)


def analyse(
    places: list[str],
    out: Path,
    *,
    tasks: str | list[str] = "auto",
    max_samples: int = GEOMETRY_SAMPLES,
    data_dir: str | None = None,
    **options,
) -> str:
    """Measure encoders on tasks and write it all below `out`; returns a line that says where.

    Args:
        places: as in `encoders.load_encoders`; options: its others.
        tasks, data_dir: as in `tasks.load_tasks`.
        max_samples: texts of a validation split at most.

    Raises:
        ValueError, SourceError: an encoder or a task that cannot be used; nothing is written then.
    """
    max_samples = read("max_samples", max_samples)
    make_writable(out, "Name another with --out.")
    data = load_tasks(tasks, data_dir=data_dir)
    models = load_encoders(places, data_dir=data_dir, **options)
    measured = geometry.measure_all(models, data, max_samples=max_samples)
    layers = geometry_by_layer(models, data, max_samples=max_samples)
    parts = _tables(measured, layers)
    for name, (numbers, text, caption) in parts.items():
        typeset.export(numbers, text, out / "tables", name, caption)
    counts = f"{len(models)} encoders, {len(data)} tasks, at most {max_samples:,} texts each"
    gallery = Gallery("analysis", counts, root=out / "figures")
    for name, (figure, numbers) in drawn(measured, layers, data).items():
        gallery.add(name, figure, numbers)
    line = gallery.export()
    page = out / "index.html"
    files.write_text(page, _page(models, data, counts, parts, gallery))
    return f"{page} shows all; tables in {out / 'tables'}. {line}"


def drawn(
    measured: Geometry, layers: pd.DataFrame, tasks: list[Task]
) -> dict[str, tuple[go.Figure, pd.DataFrame]]:
    """`{name: (figure, numbers)}`, a menu for tasks or poolings in each."""
    table, spectra = measured.table, geometry.seed_spectra(measured).query("pooling == 'mean'")
    poolings = table["pooling"].unique()
    bars = {pooling: figures.metric_bars(table, pooling) for pooling in poolings}
    planes = {pooling: figures.alignment_uniformity(table, pooling) for pooling in poolings}
    curves = {t.title: figures.eigenspectra(spectra, t.name, "mean", t.title) for t in tasks}
    depth = {t.title: figures.by_layer(layers, t.name, t.title, "mean") for t in tasks}
    return {
        "metrics": (figures.switchable(bars, "Pooling"), table),
        "by_layer": (figures.switchable(depth, "Task"), layers),
        "alignment_uniformity": (figures.switchable(planes, "Pooling"), table),
        "eigenspectra": (figures.switchable(curves, "Task"), spectra),
    }


def _tables(measured: Geometry, layers: pd.DataFrame) -> dict[str, tuple]:
    """`{name: (numbers, text, caption)}`."""
    parts = {"geometry": (measured.table, tables.encoders_table(measured.table), _ABOUT)}
    if measured.table["model"].nunique() > 1:
        gaps = seeds.pairwise(measured)
        parts["differences"] = (gaps, tables.pairs_table(gaps), _DIFFERENCES)
    return parts | {"layers": (layers, tables.layers_table(layers), _LAYERS)}


def _page(models: list[Model], tasks: list[Task], counts: str, parts: dict, gallery) -> str:
    """The page, with plotly.js in it."""
    notes = {task.title: task.note for task in tasks if task.note}
    blocks = [
        ("Encoders", "", typeset.light(typeset.styled(tables.opened_table(models), index=False)))
    ]
    titles = {"geometry": "Geometry and probes", "differences": "Differences", "layers": "By layer"}
    for name, (_, text, caption) in parts.items():
        html = typeset.light(typeset.styled(text.reset_index(), index=False))
        blocks.append((titles[name], caption, html))
    shown = [figures.figure_div(figure) for figure, _ in gallery.entries.values()]
    values = dict(title="Encoders compared", caption=counts, notes=notes, blocks=blocks)
    return figures.render("report.html", **values, figures=shown, plotly=figures.plotly_js())
