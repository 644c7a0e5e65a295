"""Map explorer (notebook 05)."""

import functools
import html

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from predrecon import probes
from predrecon.audit import projections
from predrecon.audit.geometry import Geometry
from predrecon.data.tasks import Task
from predrecon.pooling import MAX_LENGTH, token_ids
from predrecon.workbook.figures import switchable
from predrecon.workbook.figures.explorers import map_view
from predrecon.workbook.figures.style import name as shown_name
from predrecon.workbook.widgets import controls
from predrecon.workbook.widgets.explorer import Explorer, Latest, Picture

_COLORS = ("label", "predicted label", "sentence length", "most frequent token")
_STILL = 150  # points of a task in the static figure
_HINT = "Click a point, or draw a box: sentences and neighbours show here."
_LISTED = 8  # chosen sentences that are written out


def map_explorer(
    found: Geometry, tasks: list[Task], tokenizer, *, max_samples: int = 10_000, seed: int = 0
) -> Explorer:
    """UMAP or PCA of both arms side by side; click or select points for their sentences.

    Colour by label, by the answer of the semantic probe (out of fold), by length or by the text's
    most frequent token. A search rings the matches.

    Args:
        found: `geometry.measure_all`; tasks: what it was measured on; tokenizer: the runs'.
        max_samples: points of a map at most; as many as `found` holds.
        seed: of UMAP and of the probe's folds.
    """
    by_name = {task.name: task for task in tasks}
    sources = list(dict.fromkeys((task, pooling) for task, pooling, _ in found.embeddings))
    poolings = list(dict.fromkeys(pooling for _, pooling in sources))

    def embedded(task: str, pooling: str) -> dict[str, np.ndarray]:
        return {m: z[:max_samples] for (t, p, m), z in found.embeddings.items()
                if (t, p) == (task, pooling)}  # fmt: skip

    @functools.cache
    def placed(task: str, pooling: str, model: str, method: str) -> np.ndarray:
        return projections.place(embedded(task, pooling)[model], method, seed=seed)

    @functools.cache
    def texts(task: str) -> tuple[list[str], list[str]]:
        """Whole texts, and short ones for the hover."""
        count = len(next(iter(embedded(task, poolings[0]).values())))
        split = by_name[task].validation.head(count)
        whole = split.first
        if split.second is not None:
            whole = [f"{a} ‖ {b}" for a, b in zip(whole, split.second, strict=True)]
        return whole, [html.escape(t) for t in projections.shortened(whole)]

    @functools.cache
    def coloured(task: str, pooling: str, color: str) -> tuple[dict, str]:
        """`{model: [N] values}` and, if they are numbers, what they count."""
        asked, vectors = by_name[task], embedded(task, pooling)
        split = asked.validation.head(len(texts(task)[0]))
        if color == "label":
            values = _named(asked, split.labels)
            return dict.fromkeys(vectors, values), "" if asked.classes else "label"
        if color == "predicted label":
            answers = {
                m: probes.semantic_probe(z, split.labels, kind=asked.kind, seed=seed).predictions
                for m, z in vectors.items()
            }
            told = {m: _named(asked, a) for m, a in answers.items()}
            return told, "" if asked.classes else "predicted"
        ids = token_ids(tokenizer, split.first, split.second, MAX_LENGTH)
        if color == "sentence length":
            return dict.fromkeys(vectors, np.array([len(i) for i in ids])), "tokens"
        words = projections.frequent_words(probes.frequent_tokens(ids), tokenizer)
        return dict.fromkeys(vectors, words), ""

    def draw(task, pooling, method, color, search, shown=max_samples) -> Picture:
        if task not in by_name:
            raise ValueError(
                f"{task}: its texts are not here, only {', '.join(by_name)}. Load it with "
                "load_tasks and pass it too."
            )
        values, continuous = coloured(task, pooling, color)
        whole, short = texts(task)
        parts = []
        for model, told in values.items():
            x, y = np.round(placed(task, pooling, model, method).T, 3)
            facts = {"model": model, "x": x, "y": y, "number": np.arange(len(x)), "text": short}
            parts.append(pd.DataFrame(facts | {"color": told}))
        heading = f"{by_name[task].title}, {pooling} pooling, {method}, colour: {color}"
        hits = np.array([i for i, text in enumerate(whole) if search.lower() in text.lower()])
        ringed = hits if search else None
        points = pd.concat(parts, ignore_index=True)
        told = f"<p>{len(hits):,} of {len(whole):,} texts hold “{html.escape(search)}”.</p>"
        told += chosen_html(hits[:3], whole, embedded(task, pooling)) if len(hits) else ""
        points = points[points["number"] < shown]
        figure = map_view(points, heading, continuous=continuous, found=ringed)
        return Picture(figure, below=told if search else "")

    titles = {task: by_name[task].title if task in by_name else task for task, _ in sources}
    chosen = {
        "task": controls.choice("Task", [(v, k) for k, v in titles.items()], "data set"),
        "pooling": controls.buttons("Pooling", poolings, "token vectors to one vector a text"),
        "method": controls.buttons(
            "Map", projections.METHODS, "PCA keeps distances, UMAP neighbours"
        ),
        "color": controls.choice("Colour", _COLORS, "what colour stands for"),
        "search": controls.text("Search", "ring the texts that hold this (Enter)"),
    }

    def still() -> go.Figure:
        """A few points of every task: a page without a kernel has to carry them all."""
        plain = {key: control.value for key, control in chosen.items()}
        named = {title: task for task, title in titles.items() if task in by_name}

        return switchable(
            lambda task: draw(**plain | {"task": task}, shown=_STILL).figure, {"Task": named}
        )

    listing = controls.listing(_HINT)
    explorer = Explorer(draw, chosen, still=still(), extra=(listing,))

    def tell(numbers: list):
        task, pooling = explorer.shown["task"], explorer.shown["pooling"]
        listing.value = chosen_html(numbers, texts(task)[0], embedded(task, pooling))

    latest = Latest(tell)
    explorer.on_chosen(latest.ask)
    for name in ("task", "pooling"):
        chosen[name].observe(lambda _: setattr(listing, "value", _HINT), names="value")
    return explorer


def chosen_html(numbers: list, texts: list[str], vectors: dict[str, np.ndarray]) -> str:
    """Chosen sentences, and the nearest neighbours of the first ones in every model."""
    numbers = list(dict.fromkeys(int(n) for n in numbers if 0 <= int(n) < len(texts)))
    if not numbers:
        return "Nothing chosen."
    parts = [f"<b>{len(numbers):,} chosen</b>"]
    for number in numbers[:_LISTED]:
        columns = [
            f"<td style='vertical-align:top;text-align:left'><i>{shown_name(model)}</i><ol>"
            + "".join(
                f"<li>{cosine:.3f} {html.escape(texts[other][:160])}</li>"
                for other, cosine in projections.nearest(z, number, 3)
            )
            + "</ol></td>"
            for model, z in vectors.items()
        ]
        head = f"<p style='margin:8px 0 0'>{html.escape(texts[number][:400])}</p>"
        parts.append(f"{head}<table><tr>{''.join(columns)}</tr></table>")
    if len(numbers) > _LISTED:
        rest = [f"<li>{html.escape(texts[n][:200])}</li>" for n in numbers[_LISTED:60]]
        parts.append(f"<details><summary>the others</summary><ul>{''.join(rest)}</ul></details>")
    return "".join(parts)


def _named(task: Task, labels) -> list[str] | np.ndarray:
    """Names of classes; graded labels stay numbers."""
    if not task.classes:
        return np.round(np.asarray(labels, dtype=float), 2)
    return [task.classes[int(label)] for label in labels]
