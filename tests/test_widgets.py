"""The explorers without a front end: what they draw, what they refuse, and who draws when."""

import base64
import dataclasses
import html
import json
import re
import shutil
import threading
import time
from pathlib import Path

import ipywidgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from predrecon import recipes
from predrecon.audit import projections
from predrecon.audit.geometry import seed_spectra
from predrecon.audit.mask_counts import masked_text
from predrecon.data import paths
from predrecon.data.tasks import Split
from predrecon.pooling import POOLINGS
from predrecon.probes import ProbeResult
from predrecon.workbook import widgets
from predrecon.workbook.figures import style
from predrecon.workbook.figures.maps import map_view
from predrecon.workbook.figures.masking import _STYLE
from predrecon.workbook.figures.panels import METRICS, titled
from predrecon.workbook.figures.probes import probing_view
from predrecon.workbook.figures.training import training_view
from predrecon.workbook.widgets import explorer as explorers
from predrecon.workbook.widgets import training
from predrecon.workbook.widgets.explorer import Explorer, Latest, Picture
from predrecon.workbook.widgets.geometry import CONVENTIONS
from predrecon.workbook.widgets.lab import CURVES
from predrecon.workbook.widgets.maps import chosen_html
from predrecon.workbook.widgets.probing import disagreements
from predrecon.workbook.widgets.training import begun


def settled(explorer, **changes):
    """The explorer's newest figure after its controls were set."""
    for name, value in changes.items():
        explorer.controls[name].value = value
    explorer.redraw()
    explorer.settle()
    return json.loads(explorer.view.content) if explorer.view.number else None


def values(packed):
    """Numbers of a figure's JSON, unpacked as plotly.js does."""
    if isinstance(packed, dict):
        return np.frombuffer(base64.b64decode(packed["bdata"]), packed["dtype"])
    return packed


def say(view, kind, **message):
    """What a front end sends."""
    view._handle_custom_msg({"kind": kind, **message}, [])


def eventually(condition, seconds=4):
    """Whether a condition holds before the time is over."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def arrays(figure):
    """Every number that a figure draws, as text."""
    return json.dumps([{k: t.get(k) for k in ("x", "y", "z")} for t in figure["data"]])


# who draws when


def test_the_latest_request_wins_and_none_queues():
    done, busy, begun = [], threading.Lock(), threading.Event()

    def work(request):
        assert busy.acquire(blocking=False), "one at a time"
        begun.set()
        time.sleep(0.05)
        done.append(request)
        busy.release()

    latest = Latest(work)
    started = time.monotonic()
    latest.submit(0)
    begun.wait()
    for request in range(1, 50):
        latest.submit(request)
    seconds = time.monotonic() - started
    latest.settle()
    assert done == [0, 49]
    assert seconds < 0.05 * 50, "a request waits for nobody"


def test_work_that_fails_does_not_end_the_thread(caplog):
    done = []

    def work(request):
        if request == "bad":
            raise KeyError(request)
        done.append(request)

    latest = Latest(work)
    for request in ("bad", "good"):
        latest.submit(request)
        latest.settle()
    assert done == ["good"] and "could not serve 'bad'" in caplog.text


def test_what_cannot_be_drawn_at_first_says_so():
    def draw(n) -> Picture:
        raise ValueError("nothing to draw: train something first.")

    explorer = Explorer(draw, {"n": ipywidgets.IntSlider()}, "n")
    assert "train something first" in explorer.still.layout.title.text


def test_old_pictures_make_room(monkeypatch):
    monkeypatch.setattr(explorers, "MEMORY", 3000)
    order = []

    def draw(n) -> Picture:
        order.append(n)
        return Picture(go.Figure(go.Scatter(y=list(range(400)), name=f"{n}")))

    made = Explorer(draw, {"n": ipywidgets.IntSlider(0, 0, 9)}, "n")
    for n in (1, 2, 1, 1):
        settled(made, n=n)
    assert order == [0, 1, 2, 1], "two do not fit, the newest stays"


def test_a_picture_is_drawn_once_and_kept():
    order = []

    def draw(number) -> Picture:
        order.append(number)
        if number == 3:
            raise ValueError("number=3: expected another <number>.")
        if number == 4:
            raise ZeroDivisionError("division by zero")
        return Picture(go.Figure(layout_title_text=f"n{number}"), above="<i>up</i>")

    explorer = Explorer(draw, {"number": ipywidgets.IntSlider(1, 0, 9)}, "n")
    assert explorer.still.layout.title.text == "n1", "the first picture, drawn before any front end"
    for number in (1, 2, 1):
        assert settled(explorer, number=number)["layout"]["title"]["text"] == f"n{number}"
    assert order.count(1) == 2 and order.count(2) == 1, "the still, and once each"
    assert explorer.above.value == "<i>up</i>" and explorer.message.value == ""
    assert settled(explorer, number=3)["layout"]["title"]["text"] == "n1", "the last good picture"
    assert "number=3: expected another &lt;number&gt;." in explorer.message.value
    assert 'role="alert"' in explorer.message.value and "Traceback" not in explorer.message.value
    settled(explorer, number=4)
    assert "ZeroDivisionError: division by zero" in explorer.message.value
    settled(explorer, number=2)
    assert explorer.message.value == ""


def test_a_static_figure_until_a_front_end_answers(monkeypatch):
    """Headless runs keep figure and note; a front end's hello puts the widget in the note's place.

    The figure's own output never holds the widget: opened again without a kernel, it is there.
    """
    shown, updates = [], []

    class Handle:
        def update(self, data, raw):
            updates.append(data)

    def display(data, raw, display_id):
        shown.append(data)
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr(explorers, "display", display)
    figure = go.Figure(go.Scatter(y=[1, 2]), layout_title_text="still")
    explorer = Explorer(lambda n: Picture(figure), {"n": ipywidgets.IntSlider()}, "n")
    explorer._ipython_display_()
    plotly, widget = "application/vnd.plotly.v1+json", "application/vnd.jupyter.widget-view+json"
    still, note = shown
    assert plotly in still and widget not in still and plotly not in note and widget not in note
    say(explorer.view, "hello")
    assert len(shown) == 2 and len(updates) == 1
    assert widget in updates[0] and updates[0]["text/html"] == note["text/html"]
    say(explorer.view, "hello")
    assert len(updates) == 1
    say(explorer.view, "view")
    explorer.settle()
    assert explorer.view.number == 1


def test_a_deaf_view_is_replaced_and_a_hearing_one_stays(monkeypatch):
    """anywidget drops all messages to a model that a busy page kept waiting for two seconds."""
    monkeypatch.setattr(explorers, "PATIENCE", 0.05)
    chosen, controls = [], {"n": ipywidgets.IntSlider()}
    explorer = Explorer(lambda n: Picture(go.Figure()), controls, "n", on_chosen=chosen.append)
    deaf = explorer.view
    say(deaf, "view")
    assert eventually(lambda: explorer.view is not deaf)
    fresh = explorer.view
    picture = explorer.parts["picture"].children
    assert fresh in picture and deaf not in picture
    say(fresh, "view")
    say(fresh, "heard")
    explorer.settle()
    time.sleep(0.3)
    assert explorer.view is fresh and fresh.number >= 1
    say(fresh, "chosen", points=[1], number=fresh.number)
    assert chosen == [[1]]


def test_figures_are_no_part_of_the_saved_state(geometry):
    explorer = widgets.geometry_explorer(geometry)
    settled(explorer)
    state = explorer.view.get_state()
    assert len(json.dumps({k: v for k, v in state.items() if k not in ("_esm", "_css")})) < 2000
    assert len(state["_esm"]) < 10_000, "plotly.js is no part of the widget"


def contrast(one, other):
    """WCAG 2 contrast of two colours, `[3]` in 0 to 1."""

    def luminance(color):
        linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722] + 0.05

    return max(luminance(one) / luminance(other), luminance(other) / luminance(one))


def on_dark(color):
    """What the filter of explorer.css makes of a colour, step by step as CSS defines it."""
    css = (Path(explorers.__file__).parent / "explorer.css").read_text()
    amount, turn, bright = re.search(
        r"invert\((.+?)\) hue-rotate\((.+?)deg\) brightness\((.+?)\)", css
    ).groups()
    assert turn == "180"
    color = color * (1 - 2 * float(amount)) + float(amount)
    grey = np.array([0.213, 0.715, 0.072])
    color = np.clip(2 * grey @ color - color, 0, 1)  # hue-rotate(180deg)
    return np.clip(color * float(bright), 0, 1)


def test_text_and_marks_of_plots_are_readable_on_both_themes():
    """4.5 for text, 3 for marks on JupyterLab's dark ground; on white text alone is 4.5.

    Of pale colours (MLM-only's orange, published arms) white keeps less than 3: they carry
    symbols, hatches or labels too.
    """
    white, dark = parsed("#FFFFFF"), parsed("#111111")
    assert np.abs(on_dark(white) - dark).max() < 1 / 255, "paper is the theme's ground"
    for text in (style.TEMPLATE.layout.font.color, "#222222", "#555555"):
        assert contrast(parsed(text), white) > 4.5
        assert contrast(on_dark(parsed(text)), dark) > 4.5, text
    for text in ("#222222",):  # in the cells of confusion matrices
        cell = parsed("#8CBBE0")
        assert contrast(parsed(text), cell) > 4.5
        assert contrast(on_dark(parsed(text)), on_dark(cell)) > 4.5
    marks = [style.COLORS[arm] for arm in ("hybrid", "mlm", "untrained")]
    for color in [*marks, *style.CLASSES, *style._OTHERS]:
        assert contrast(on_dark(parsed(color)), dark) > 3, color
    for role, look in _STYLE.items():  # chips are no part of a plot: their colours stay
        ground, ink = (re.search(rf"{k}:(#\w+)", look) for k in ("background", "(?<!-)color"))
        assert (ground is None) == (role == "unused"), "the theme's own text on a pale veil"
        assert ground is None or contrast(parsed(ground[1]), parsed(ink[1])) > 4.5, role


def parsed(color):
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    return np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)]) / 255


def test_every_explorer_says_what_to_try_and_names_its_controls(
    geometry, labelled, compared, corpus, smoke_runs, monkeypatch
):
    monkeypatch.setenv("PREDRECON_RUNS", str(smoke_runs["hybrid"].folder.parent))
    facts = pd.DataFrame({"title": ["hybrid"], "seed": 0, "flops": 1.0, "seconds": 1.0})
    curves = {column: [1.0] for column in CURVES.values()}
    steps = {"condition": ["hybrid"], "title": ["hybrid"], "seed": [0], "tokens": [1]}
    for explorer in (
        widgets.geometry_explorer(geometry),
        widgets.map_explorer(geometry, labelled, compared),
        widgets.masking_explorer(recipes.get("smoke"), corpus),
        widgets.training_explorer(),
        widgets.lab_explorer(facts.assign(below_unigram=1.0), pd.DataFrame(steps | curves)),
    ):
        hint, body = explorer.box.children
        assert hint.value.startswith("<p><b>Try first:</b> ")
        named = set(re.findall("<i>(.+?)</i>", hint.value))
        controls = explorer.controls.values()
        assert named and named <= {c.description for c in controls}, "it speaks of what is there"
        assert not re.search(r"\d\.\d", hint.value), "no result is typed"
        assert all(control.description and control.tooltip for control in controls)
        parts = [explorer.parts[name] for name in ("controls", "picture", "numbers")]
        assert list(body.children) == parts, "as the Tab key goes"


def test_tiny_values_have_short_ticks(geometry):
    """2e-8, not 0.00000002: long labels would overlap."""
    figure = widgets.geometry_explorer(geometry).still
    assert (figure.layout.xaxis3.exponentformat, figure.layout.yaxis3.exponentformat) == ("e", "e")
    history = pd.DataFrame({"tokens": [1, 2], "step": [1, 2], "uniformity": [-2e-8, -1e-8]})
    assert training_view({"run": history}, {"run": "mlm"}).layout.yaxis5.exponentformat == "e"


# geometry


def test_geometry_shows_layers_where_they_are_measured(geometry):
    task = geometry.table["task"].iloc[0]
    rows = [
        {"task": task, "pooling": "mean", "model": model, "seed": 0, "layer": layer,
         "metric": metric, "value": layer - 3.0, "low": layer - 3.5, "high": layer - 2.5}
        for model in ("hybrid", "mlm") for layer in range(3)
        for metric in ("effective_rank", "uniformity", "alignment")
    ]  # fmt: skip
    explorer = widgets.geometry_explorer(geometry, pd.DataFrame(rows))
    figure = settled(explorer, task=task, pooling="mean")
    layered = [trace for trace in figure["data"] if trace.get("xaxis") in ("x4", "x5", "x6")]
    assert len(layered) == 6, "a line a model in each of three panels"
    assert figure["layout"]["height"] > 600, "two rows of panels, each as high as one alone"
    assert "xaxis4" not in settled(explorer, pooling="max")["layout"]
    assert "By layer, only mean pooling was measured" in explorer.numbers.value


def test_geometry_follows_every_control(geometry):
    explorer = widgets.geometry_explorer(geometry)
    before = settled(explorer)
    assert "mean pooling" in before["layout"]["title"]["text"]
    for control, value in [
        ("task", "docs-overlap"), ("pooling", "max"), ("arms", ("mlm",)), ("components", 7),
        ("convention", "the literature"),
    ]:  # fmt: skip
        after = settled(explorer, **{control: value})
        assert arrays(after) != arrays(before), control
        before = after
    assert settled(explorer, scale="linear")["layout"]["yaxis"].get("type") != "log"
    assert "Docs-overlap, max pooling" in before["layout"]["title"]["text"]
    shares = seed_spectra(geometry).query(
        "task == 'docs-overlap' and pooling == 'max' and model == 'mlm' and rank <= 7"
    )
    curve = explorer.draw(**explorer.values).figure.data[0]
    assert np.allclose(curve.y, shares["share"])


def test_geometry_shows_the_convention_that_is_asked_for(geometry):
    explorer = widgets.geometry_explorer(geometry)
    for convention, metrics in CONVENTIONS.items():
        settled(explorer, convention=convention)
        for metric in METRICS:
            here = (geometry.table["metric"] == metric) & (geometry.table["task"] == "docs-swap")
            wanted = metric in metrics and here.any()
            assert (titled(metric, " ") in explorer.numbers.value) == wanted, convention
    value = geometry.table.query(
        "task == 'docs-swap' and pooling == 'mean' and model == 'hybrid' and metric == 'rankme'"
    )["value"].item()
    assert f"{value:.3f}<br><small>[" in explorer.numbers.value
    assert "hybrid (n = 120, 1 seed)" in explorer.numbers.value


def test_geometry_refuses_in_words(geometry):
    explorer = widgets.geometry_explorer(geometry)
    settled(explorer, arms=())
    assert "No arm is chosen" in explorer.message.value
    settled(explorer, arms=("hybrid",), published=True)
    assert explorer.message.value == "" and "Nothing is published" in explorer.numbers.value


# maps


def test_map_follows_every_control(geometry, labelled, compared):
    explorer = widgets.map_explorer(geometry, labelled, compared)
    first = settled(explorer)
    texts = labelled[0].validation.first
    assert first["layout"]["title"]["text"].endswith("120 texts")
    numbers = [number for t in first["data"] for number in values(t["customdata"])]
    assert sorted(numbers) == sorted([*range(len(texts))] * 2)
    said = json.loads(explorer.view.texts)
    assert len(said) == len(texts) and said[7][:60] == html.escape(texts[7])[:60]
    for color in ("predicted label", "sentence length", "most frequent token"):
        figure = settled(explorer, color=color)
        assert color in figure["layout"]["title"]["text"]
    assert (
        settled(explorer, task="docs-overlap")["layout"]["title"]["text"]
        != (first["layout"]["title"]["text"])
    )
    word = labelled[2].validation.first[0].split()[0]
    figure = settled(explorer, search=word.upper())
    both = [f"{a} ‖ {b}" for a, b in zip(*_sides(labelled[2]), strict=True)]
    hits = sum(word.lower() in text.lower() for text in both)
    ringed = [t for t in figure["data"] if (t.get("name") or "").startswith("search")]
    assert [t["name"] for t in ringed] == [f"search ({hits})"] * 2 and hits > 0
    settled(explorer, search="<b>no such text")
    assert "0 of 120 texts hold “&lt;b&gt;no such text”" in explorer.numbers.value


def test_colours_count_the_tokens_that_the_encoder_read(geometry, labelled, compared):
    """The smoke encoder reads 48 tokens, the protocol up to 128."""
    split = labelled[0].validation
    long = dataclasses.replace(split, first=[f"{'the ' * 40}{'of ' * 80}{t}" for t in split.first])
    task = dataclasses.replace(labelled[0], validation=long)
    explorer = widgets.map_explorer(geometry, [task], compared)
    lengths = settled(explorer, color="sentence length")["data"]
    assert {tuple(np.unique(values(t["marker"]["color"]))) for t in lengths} == {(48,)}
    words = settled(explorer, color="most frequent token")["data"]
    assert {t["name"] for t in words} == {"the"}, "of is commoner after the cut"


def test_large_maps_are_light_and_state_their_samples(
    geometry, labelled, compared, monkeypatch, tmp_path
):
    """100,000 points: hover texts travel once, UMAP and the page without a kernel show samples."""
    monkeypatch.setenv("PREDRECON_CACHE", str(tmp_path))
    count, rng = 100_000, np.random.default_rng(0)
    split = Split([f"text {i} & more" for i in range(count)], None, np.arange(count) % 2)
    task = dataclasses.replace(labelled[0], validation=split)
    z = {(task.name, pooling, model.name): rng.normal(size=(count, 3)).astype(np.float32)
         for pooling in ("mean", "max") for model in compared[:2]}  # fmt: skip
    large = dataclasses.replace(geometry, embeddings=z)
    explorer = widgets.map_explorer(large, [task], compared)
    assert sum(len(t.text) for t in explorer.still.data) == 2 * 150
    by_number = {int(n): said for t in explorer.still.data
                 for n, said in zip(t.customdata, t.text, strict=True)}  # fmt: skip
    assert len(by_number) == 150 and max(by_number) > count / 2, "drawn from all texts"
    assert all(said == f"text {n} &amp; more" for n, said in by_number.items())
    assert "150 of 100,000 texts" in explorer.still.layout.title.text
    sent = []
    monkeypatch.setattr(explorer.view, "send", lambda message, buffers=(): sent.append(buffers))
    for pooling in ("max", "mean"):
        figure = settled(explorer, pooling=pooling)
        assert sum(len(values(t["x"])) for t in figure["data"]) == 2 * count
        assert figure["layout"]["title"]["text"].endswith("· 100,000 texts")
    drawn = [buffers for buffers in sent if buffers]
    assert [len(buffers) for buffers in drawn] == [2] + [1] * (len(drawn) - 1)
    assert len(json.loads(drawn[0][1])) == count
    assert len(drawn[-1][0]) < 20 * 2 * count, "x, y and number, 4 bytes each, as base64"
    say(explorer.view, "view")
    assert len(sent[-1]) == 2, "a new view has no texts yet"
    monkeypatch.setattr(projections, "place", lambda z, method, seed: z[:, :2])
    figure = settled(explorer, method="UMAP")
    assert "10,000 of 100,000 texts" in figure["layout"]["title"]["text"]
    trace = figure["data"][0]
    xs = dict(zip(values(trace["customdata"]), values(trace["x"]), strict=True))
    vectors = z[task.name, "mean", compared[0].name]
    assert all(vectors[number, 0] == x for number, x in xs.items()), "numbers name their texts"


def test_both_solvers_place_alike():
    z = np.random.default_rng(0).normal(size=(400, 8)) * np.arange(1, 9)
    whole = z - z.mean(0)
    u, s, _ = np.linalg.svd(whole, full_matrices=False)
    for rows in (projections.place(z, "PCA"), projections.place(z.astype(np.float32), "PCA")):
        np.testing.assert_allclose(abs(rows), abs(u[:, :2] * s[:2]), rtol=1e-3, atol=1e-3)


def test_map_of_a_task_without_texts_says_so(geometry, labelled, compared):
    explorer = widgets.map_explorer(geometry, labelled[:2], compared)
    (menu,) = explorer.still.layout.updatemenus
    assert [b.label for b in menu.buttons] == [task.title for task in labelled[:2]]
    settled(explorer, task="docs-overlap")
    assert "docs-overlap: its texts are not here" in explorer.message.value


def test_chosen_points_list_their_neighbours_in_each_arm(geometry, labelled, compared):
    explorer = widgets.map_explorer(geometry, labelled, compared)
    settled(explorer)
    listing = explorer.parts["numbers"].children[-1]
    say(explorer.view, "chosen", points=[5, 5, 7])
    assert eventually(lambda: "2 chosen" in listing.value)
    z = geometry.embeddings["docs-swap", "mean", "mlm"].astype(float)
    cosines = (z @ z[5]) / np.linalg.norm(z, axis=1) / np.linalg.norm(z[5])
    cosines[5] = -2
    best = int(cosines.argmax())
    assert html.escape(labelled[0].validation.first[best][:60]) in listing.value
    assert f"{cosines[best]:.3f}" in listing.value
    assert projections.nearest(z, 5, 1) == [(best, pytest.approx(cosines[best]))]


def test_points_of_an_older_picture_choose_nothing(geometry, labelled, compared):
    explorer = widgets.map_explorer(geometry, labelled, compared)
    settled(explorer)
    settled(explorer, task="docs-overlap")
    listing = explorer.parts["numbers"].children[-1]
    say(explorer.view, "chosen", points=[3], number=1)
    time.sleep(0.1)
    assert "chosen" not in listing.value
    say(explorer.view, "chosen", points=[3], number=explorer.view.number)
    assert eventually(lambda: "1 chosen" in listing.value)
    assert html.escape(labelled[2].validation.first[3][:40]) in listing.value


def test_both_arms_share_one_scale_of_colour_and_every_class_a_legend():
    facts = {"x": [0.0, 1.0], "y": [0.0, 1.0], "number": [0, 1], "text": ["a", "b"]}
    both = [
        pd.DataFrame(facts | {"model": "hybrid", "color": [0.0, 1.0]}),
        pd.DataFrame(facts | {"model": "mlm", "color": [5.0, 9.0]}),
    ]
    fig = map_view(pd.concat(both), "h", continuous="tokens")
    assert {t.marker.coloraxis for t in fig.data} == {"coloraxis"}
    named = [table.assign(color=c) for table, c in zip(both, (["a", "a"], ["a", "b"]), strict=True)]
    fig = map_view(pd.concat(named), "h")
    assert sorted(t.name for t in fig.data if t.showlegend) == ["a", "b"]


def test_chosen_text_is_escaped():
    texts = ["<script>alert(1)</script>", "b", "c"]
    listing = chosen_html([0, 99, -1], texts, {"hybrid": np.eye(3)})
    assert "<script>" not in listing and "1 chosen" in listing
    assert chosen_html([], texts, {}) == "Nothing chosen."


def test_frequent_words_are_named_and_the_rest_are_other(corpus):
    ids = np.array([10] * 5 + [11] * 3 + [12, -1])
    words = projections.frequent_words(ids, corpus.tokenizer, shown=2)
    names = corpus.tokenizer.convert_ids_to_tokens([10, 11])
    assert words == [names[0]] * 5 + [names[1]] * 3 + ["other"] * 2


# masks


@pytest.fixture(scope="module")
def masks(corpus):
    return widgets.masking_explorer(recipes.get("smoke"), corpus)


def test_masks_follow_every_control(masks):
    text = " ".join(["alpha beta gamma delta"] * 6)
    before = settled(masks, text=text)
    for control, value in [("seed", 3), ("step", 2), ("target", (0.3, 0.4)), ("targets", 1)]:
        after = settled(masks, **{control: value})
        assert masks.message.value == "" and arrays(after) != arrays(before), control
        before = after
    settled(masks, probability=0.0)
    assert 'title="masked"' not in masks.above.value
    settled(masks, probability=1.0)
    assert masks.above.value.count('title="masked"') > 10
    settled(masks, seed=0, step=0, target=(0.1, 0.25), targets=2, probability=0.15)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "The text is empty"), ("   ", "The text is empty"), ("\ud800", "")],
)
def test_masks_refuse_in_words(masks, text, message):
    settled(masks, text=text)
    assert masks.message.value and message in masks.message.value
    assert "Traceback" not in masks.message.value
    assert settled(masks, text="one two three four five six seven eight nine ten eleven")
    assert masks.message.value == ""


def test_masks_take_any_script_and_cut_what_is_long(masks, corpus):
    for text in ("🙂🚀 " * 12, "שלום עולם " * 8, "مرحبا بالعالم " * 8, "a < b & c > d " * 6):
        settled(masks, text=text)
        assert masks.message.value == "", text
    settled(masks, text="one word or two")
    assert masks.message.value == "" and "Min context 16 lowered to" in masks.above.value
    settled(masks, text="word " * 2000)
    assert "Cut to the first 48 of 2,002 tokens" in masks.above.value


def test_masks_with_scales_crossed_over_say_which_to_change(masks):
    text = " ".join(["alpha beta gamma delta"] * 6)
    settled(masks, text=text, context=(0.05, 0.05), target=(0.9, 1.0), keep=30)
    assert "min_context" in masks.message.value
    settled(masks, context=(0.65, 0.85), target=(0.1, 0.25), keep=4)
    assert masks.message.value == ""


def test_masked_text_draws_what_training_draws(corpus):
    text = " ".join(["alpha beta gamma delta"] * 8)
    masked = masked_text(text, corpus.tokenizer, 48, min_context=8, batches=60)
    assert len(masked.tokens) == len(masked.jepa_roles) == len(masked.mlm_roles)
    assert masked.tokens[0] == "[CLS]" and masked.tokens[-1] == "[SEP]" and masked.cut == 0
    for row, blocks in zip(masked.context, masked.targets, strict=True):
        assert not set(row) & set(blocks.ravel())
    shares = masked.shares.groupby("branch")["share"].mean()
    inner = (len(masked.tokens) - 2) / len(masked.tokens)
    assert shares["masked"] == pytest.approx(0.15 * inner, abs=0.02)
    again = masked_text(text, corpus.tokenizer, 48, min_context=8, batches=2)
    assert np.array_equal(again.context, masked.context)


# probing


@pytest.mark.slow
def test_probing_follows_and_lists_disagreements(compared, labelled):
    explorer = widgets.probing_explorer(compared, labelled, max_train=80)
    (menu,) = explorer.still.layout.updatemenus
    choices = [f"{task.title} · {pooling}" for task in labelled for pooling in POOLINGS]
    assert menu.name == "Task, Pooling" and [b.label for b in menu.buttons] == choices
    before = settled(explorer)
    assert [t["type"] for t in before["data"]] == ["bar"] * 3 + ["heatmap"] * 2
    counts = explorer.draw(**explorer.values).figure.data[-1].customdata
    assert counts.sum() == 120
    assert "max pooling" in settled(explorer, pooling="max")["layout"]["title"]["text"]
    assert arrays(settled(explorer, task="docs-relation")) != arrays(before)
    settled(explorer, task="docs-overlap", arms=("hybrid", "untrained"))
    assert "texts furthest apart" in explorer.numbers.value and explorer.message.value == ""
    settled(explorer, arms=("mlm",))
    assert "Choose two arms" in explorer.numbers.value
    settled(explorer, arms=())
    assert "No encoder is chosen" in explorer.message.value


def test_heads_fitted_on_threads_are_those_fitted_alone(labelled):
    from concurrent.futures import ThreadPoolExecutor

    from predrecon.probes import linear_probe

    draw = np.random.default_rng(0)
    train, validation = (
        (draw.normal(size=(n, 8)).astype(np.float32), draw.integers(0, 2, n)) for n in (200, 80)
    )

    def fit(_):
        return linear_probe(train, validation, metric="accuracy", num_classes=2, epochs=4)

    expected = fit(0).confidence
    with ThreadPoolExecutor(3) as pool:
        assert all(
            np.array_equal(fitted.confidence, expected) for fitted in pool.map(fit, range(6))
        )


def test_disagreements_are_the_surest_first(labelled):
    task = labelled[0]
    n = len(task.validation)
    one, other = np.zeros(n, int), np.zeros(n, int)
    other[[3, 8]] = 1
    sure = np.full(n, 0.5)
    sure[8] = 0.9
    results = {
        "hybrid": ProbeResult(0.5, "accuracy", n, predictions=one, confidence=sure),
        "mlm": ProbeResult(0.5, "accuracy", n, predictions=other, confidence=sure),
    }
    table = disagreements(task, results)
    assert f"2 of {n} texts" in table and table.index("0.90") < table.index("0.50")


@pytest.mark.parametrize(("classes", "arms"), [(2, 2), (3, 3), (5, 2), (10, 2), (10, 1)])
def test_confusion_matrices_say_whose_they_are_and_what_they_count(classes, arms):
    draw, names = np.random.default_rng(0), tuple(f"class {i}" for i in range(classes))
    models = ["hybrid", "mlm", "untrained"][:arms]
    labels = draw.integers(0, classes, 300)
    answers = {model: draw.integers(0, classes, 300) for model in models}
    scores = pd.DataFrame({"model": [*models, "majority"], "score": 0.5, "low": 0.4, "high": 0.6})
    fig = probing_view(scores, answers, labels, names, "Task", "accuracy")
    matrices = [trace for trace in fig.data if trace.type == "heatmap"]
    titles = [a.text for a in fig.layout.annotations if a.text]
    assert titles == [style.name(model) for model in models]
    for trace, answer in zip(matrices, answers.values(), strict=True):
        counts = pd.crosstab(labels, answer).reindex(index=range(classes), columns=range(classes))
        assert np.array_equal(trace.customdata, counts.fillna(0))
        assert np.allclose(np.sum(trace.z, axis=1), 1), "rows are true classes"
        assert tuple(trace.x) == tuple(trace.y) == names
        assert trace.text[0][1] == f"{trace.customdata[0][1]:.0f}<br>{trace.z[0][1]:.0%}"
        x, y = (fig.layout[axis[0] + "axis" + axis[1:]] for axis in (trace.xaxis, trace.yaxis))
        assert (x.title.text, y.title.text) == ("predicted class", "true class")
        width, height = (np.diff(axis.domain)[0] for axis in (x, y))
        assert width * 600 / classes > 28 and height * fig.layout.height / classes > 24, (
            "both lines fit"
        )


# training


def test_training_follows_runs_on_disk(smoke_runs, labelled, corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("PREDRECON_RUNS", str(smoke_runs["hybrid"].folder.parent))
    names = {run.folder.name for run in smoke_runs.values()}
    assert {folder.name for folder in begun(paths.runs_dir())} == names
    folders = [run.folder for run in smoke_runs.values()]
    explorer = widgets.training_explorer(folders)
    steps = settled(explorer, axis="steps")
    assert max(explorer.draw(**explorer.values).figure.data[0].x) == 30
    assert arrays(settled(explorer, axis="seconds")) != arrays(steps)
    figure = explorer.draw(**explorer.values).figure
    lam, guess = (t for t in figure.data if t.xaxis == "x3")
    assert guess.name.startswith("σ(Σ lr)") and np.ptp(lam.y) > 3e-3
    assert np.allclose(lam.y, guess.y, atol=3e-4), "a constant 0.5 would be 4e-3 off"
    settled(explorer, chosen=())
    assert "No run is chosen" in explorer.message.value


def test_training_goes_on_with_a_run_that_goes_on(smoke_runs, tmp_path, monkeypatch):
    """A run without metrics.json, whose history grows between two looks."""
    monkeypatch.setenv("PREDRECON_RUNS", str(tmp_path))
    folder, source = tmp_path / "growing", smoke_runs["hybrid"].folder
    folder.mkdir()
    (folder / "recipe.json").write_bytes((source / "recipe.json").read_bytes())
    lines = (source / "history.csv").read_text().splitlines(keepends=True)
    (folder / "history.csv").write_text("".join(lines[:6]))
    explorer = widgets.training_explorer()
    settled(explorer)
    assert "growing: step 5" in explorer.numbers.value
    (folder / "history.csv").write_text("".join(lines[:11]))
    settled(explorer)
    assert "growing: step 10" in explorer.numbers.value
    (folder / "recipe.json").unlink()
    settled(explorer)
    assert "growing: no run that has logged a step" in explorer.message.value
    monkeypatch.setenv("PREDRECON_RUNS", str(tmp_path / "none"))
    with pytest.raises(ValueError, match="No run in"):
        widgets.training_explorer()


def _sides(task):
    return task.validation.first, task.validation.second


def test_lambda_is_predicted_while_a_run_of_unknown_length_goes_on(tmp_path):
    """No max_steps and no metrics.json: the schedule's length is read off the learning rate."""
    from predrecon.audit.snapshots import along
    from predrecon.objectives import lambda_before, learning_rate, total_steps

    recipe = dataclasses.replace(recipes.get("paper"), arm="hybrid")
    total, steps = 20_000, np.arange(10, 5001, 10)
    rates = [learning_rate(recipe, step - 1, total) for step in steps]
    history = {"step": steps, "tokens": steps * 7, "lr": rates, "lam": 0.5, "flops": 1.0}
    pd.DataFrame(history | {"seconds": 1.0}).to_csv(tmp_path / "history.csv", index=False)
    facts = {"seed": 0, "corpus": "x", "recipe": dataclasses.asdict(recipe)}
    (tmp_path / "recipe.json").write_text(json.dumps(facts))
    history, arm = along(tmp_path)
    assert arm == "hybrid"
    assert np.allclose(history["predicted"], lambda_before(recipe, total, steps), atol=1e-9)
    assert total_steps(recipe, 5000, rates[-1]) == total
    assert total_steps(recipe, recipe.warmup_steps, 1.0) is None


def test_snapshots_stand_at_their_own_tokens(tmp_path, corpus, labelled, monkeypatch):
    """Measured encoders neither tear the other curves nor borrow their neighbours' tokens."""
    from predrecon.audit.snapshots import along
    from predrecon.training.loop import pretrain

    run = pretrain(recipes.get("smoke", max_steps=12, snapshots=4, log_every=5), corpus, tmp_path)
    history, _ = along(run.folder, labelled[0], corpus.tokenizer)
    measured = history[history["uniformity"].notna()]
    assert measured["step"].tolist() == [3, 6, 9, 12]
    assert np.allclose(measured["tokens"], measured["step"] * 8 * 48)
    logged = history[history["lam"].notna()]
    assert logged["step"].tolist() == run.history["step"].tolist()
    explorer = widgets.training_explorer([run.folder], task=labelled[0], tokenizer=corpus.tokenizer)
    figure = explorer.draw(**explorer.values).figure
    assert all(np.isfinite(np.asarray(t.y, dtype=float)).all() for t in figure.data)


def test_the_same_run_twice_is_one_run(smoke_runs, tmp_path, monkeypatch):
    monkeypatch.setenv("PREDRECON_RUNS", str(tmp_path))
    folder = smoke_runs["hybrid"].folder
    explorer = widgets.training_explorer([folder, folder])
    assert explorer.controls["chosen"].value == (folder.name,)


def test_a_run_that_begins_later_is_offered(smoke_runs, tmp_path, monkeypatch):
    monkeypatch.setenv("PREDRECON_RUNS", str(tmp_path))
    shutil.copytree(smoke_runs["mlm"].folder, tmp_path / "first")
    monkeypatch.setattr(training, "EVERY", 0.02)
    explorer = widgets.training_explorer()
    shutil.copytree(smoke_runs["hybrid"].folder, tmp_path / "second")
    explorer.controls["live"].value = True
    control = explorer.controls["chosen"]
    assert eventually(lambda: set(control.options) == {"first", "second"})
    assert control.value == ("first",)
    assert eventually(lambda: not explorer.controls["live"].value), "both have finished"
    explorer.settle()
    assert "step 30" in explorer.numbers.value
