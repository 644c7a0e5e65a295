"""Map explorer (notebook 05c)."""

import functools
import html
import json

import ipywidgets
import numpy as np
import pandas as pd

from predrecon import probes
from predrecon.audit import projections
from predrecon.audit.encoders import Model
from predrecon.audit.geometry import Geometry
from predrecon.data.tasks import Task
from predrecon.workbook.figures.maps import map_view
from predrecon.workbook.figures.style import name
from predrecon.workbook.widgets.controls import buttons, choice, text_field
from predrecon.workbook.widgets.explorer import Explorer, Latest, Picture

_COLORS = ["label", "predicted label", "sentence length", "most frequent token"]
_STILL = 150  # points per task in the static figure, which must hold them all
_UMAP = 10_000  # maximum for UMAP, whose time grows faster than their number
_HINT = "Click a point, or draw a box: sentences and neighbours show here."
_FIRST = (
    "draw a box around some points: their sentences and nearest neighbours in each arm are listed; "
    "set <i>Colour</i> to sentence length: where colours run from one side to the other, the map "
    "shows length; type a word into <i>Search</i>: its texts are ringed, together or scattered."
)
_LISTED = 8  # chosen sentences that are written out


def map_explorer(
    geometry: Geometry,
    tasks: list[Task],
    models: list[Model],
    *,
    max_samples: int = 100_000,
    seed: int = 0,
) -> Explorer:
    """UMAP or PCA of all encoders side by side; click or select points for their sentences.

    Colour by label, by the answer of the semantic probe (out of fold), by the number of tokens that
    the encoder read, or by the most frequent token.

    Args:
        geometry: `geometry.measure_all`; tasks, models: what it was measured on.
        max_samples: maximum number of points of a map, up to those in `geometry`. UMAP and the
            static figure show a sample of them, and state its size.
        seed: of UMAP, of the samples and of the probe's folds.
    """
    by_name = {task.name: task for task in tasks}
    by_model = {model.name: model for model in reversed(models)}  # the first seed of each
    titles = dict(zip(geometry.table["task"], geometry.table["title"], strict=True))
    poolings = list(dict.fromkeys(pooling for _, pooling, _ in geometry.embeddings))

    def embedded(task: str, pooling: str) -> dict[str, np.ndarray]:
        return {m: z[:max_samples] for (t, p, m), z in geometry.embeddings.items()
                if (t, p) == (task, pooling)}  # fmt: skip

    @functools.cache
    def numbered(task: str, method: str) -> np.ndarray:
        """`[n]` numbers of the texts that a map shows."""
        return _sample(len(texts(task)), _UMAP if method == "UMAP" else None, seed)

    @functools.cache
    def placed(task: str, pooling: str, model: str, method: str) -> np.ndarray:
        z = embedded(task, pooling)[model][numbered(task, method)]
        return projections.place(z, method, seed=seed).astype(np.float32)

    @functools.cache
    def texts(task: str) -> list[str]:
        count = len(next(iter(embedded(task, poolings[0]).values())))
        split = by_name[task].validation.head(count)
        if split.second is None:
            return split.first
        return [f"{a} ‖ {b}" for a, b in zip(split.first, split.second, strict=True)]

    @functools.cache
    def hovers(task: str) -> list[str]:
        return [html.escape(text) for text in projections.shortened(texts(task))]

    @functools.cache
    def packed(task: str) -> str:
        return json.dumps(hovers(task), ensure_ascii=False)

    @functools.cache
    def colored(task: str, pooling: str, color: str, model: str) -> tuple[np.ndarray | list, str]:
        """`[N]` values and, if they are numbers, their name."""
        kind, split = by_name[task].kind, by_name[task].validation.head(len(texts(task)))
        graded = "" if by_name[task].classes else color
        if color in ("label", "predicted label"):
            labels, z = split.labels, embedded(task, pooling)[model]
            if color == "predicted label":
                labels = probes.semantic_probe(z, labels, kind=kind, seed=seed).predictions
            if graded:
                return np.round(np.asarray(labels, dtype=float), 2), graded
            return [by_name[task].classes[int(label)] for label in labels], ""
        reader = by_model[model]
        ids = reader.token_ids(split.first, split.second)
        if color == "sentence length":
            return np.array([len(i) for i in ids]), "tokens"
        tokens = probes.frequent_tokens(ids, reader.special_ids)
        return projections.frequent_words(tokens, reader.tokenizer), ""

    def draw(task, pooling, method, color, search, points=None) -> Picture:
        if task not in by_name:
            raise ValueError(
                f"{task}: its texts are not here, only {', '.join(by_name)}. Load it with "
                "load_tasks and pass it too."
            )
        parts, numbers, count = [], numbered(task, method), len(texts(task))
        shown = _sample(len(numbers), points, seed)
        for model in embedded(task, pooling):
            values, continuous = colored(task, pooling, color, model)
            x, y = placed(task, pooling, model, method)[shown].T
            rows = dict(model=model, x=x, y=y, number=numbers[shown])
            parts.append(pd.DataFrame(rows).assign(color=np.asarray(values)[numbers[shown]]))
        if points:  # a static figure holds its texts
            parts = [part.assign(text=np.take(hovers(task), part["number"])) for part in parts]
        amount = f"{len(shown):,} of " if len(shown) < count else ""
        heading = f"{titles[task]}, {pooling} pooling, {method}, colour: {color} · "
        heading += f"{amount}{count:,} texts"
        matches, notes = None, ""
        if search:
            matches = np.flatnonzero([search.lower() in text.lower() for text in texts(task)])
            found = f"{len(matches):,} of {count:,} texts"
            notes = f"<p>{found} hold “{html.escape(search)}”.</p>"
            if len(matches):
                notes += chosen_html(matches[:3], texts(task), embedded(task, pooling))
        figure = map_view(pd.concat(parts), heading, continuous=continuous, matches=matches)
        return Picture(figure, numbers=notes, texts="" if points else packed(task))

    chosen = {
        "task": choice("Task", [(v, k) for k, v in titles.items()], "data set"),
        "pooling": buttons("Pooling", poolings, "token vectors to one vector a text"),
        "method": buttons("Map", projections.METHODS, "PCA keeps distances, UMAP neighbours"),
        "color": choice("Colour", _COLORS, "what colour stands for"),
        "search": text_field("Search", "ring the texts that hold this (Enter)"),
    }
    listing = ipywidgets.HTML(_HINT, layout=dict(max_height="420px", overflow="auto"))

    def list_chosen(numbers: list):
        task, pooling = explorer.current["task"], explorer.current["pooling"]
        listing.value = chosen_html(numbers, texts(task), embedded(task, pooling))

    for control in (chosen["task"], chosen["pooling"]):
        control.observe(lambda _: setattr(listing, "value", _HINT), names="value")
    options = dict(menus=("task",), still=dict(points=_STILL), extra=(listing,))
    explorer = Explorer(draw, chosen, _FIRST, **options, on_chosen=Latest(list_chosen).submit)
    return explorer


def _sample(count: int, most: int | None, seed: int) -> np.ndarray:
    """`most` random numbers below `count`, ascending; all of them if there are no more."""
    drawn = np.random.default_rng(seed).permutation(count)[:most]
    return np.sort(drawn).astype(np.int32)


def chosen_html(numbers: list, texts: list[str], vectors: dict[str, np.ndarray]) -> str:
    """Chosen sentences, and the nearest neighbours of the first ones in every model."""
    numbers = list(dict.fromkeys(int(n) for n in numbers if 0 <= int(n) < len(texts)))
    if not numbers:
        return "Nothing chosen."
    parts = [f"<b>{len(numbers):,} chosen</b>"]
    for number in numbers[:_LISTED]:
        columns, style = "", "vertical-align:top;text-align:left"
        for model, z in vectors.items():
            near = projections.nearest(z, number, 3)
            items = (f"<li>{cos:.3f} {html.escape(texts[n][:160])}</li>" for n, cos in near)
            columns += f"<td style='{style}'><i>{name(model)}</i><ol>{''.join(items)}</ol></td>"
        head = f"<p style='margin:8px 0 0'>{html.escape(texts[number][:400])}</p>"
        parts.append(f"{head}<table><tr>{columns}</tr></table>")
    if len(numbers) > _LISTED:
        rest = [f"<li>{html.escape(texts[n][:200])}</li>" for n in numbers[_LISTED:60]]
        parts.append(f"<details><summary>the others</summary><ul>{''.join(rest)}</ul></details>")
    return "".join(parts)
