"""Tables, figures and summaries of the notebooks, from smoke runs."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from predrecon.audit import length, linear_probes, projections, seeds
from predrecon.audit.geometry import seed_spectra
from predrecon.audit.mask_counts import coverage_shares, leak_without_removal, roles, token_fates
from predrecon.data.tasks import Split
from predrecon.training.batches import draw_batch
from predrecon.workbook import figures, tables


@pytest.fixture(scope="module")
def measured(geometry):
    return geometry.table, geometry.embeddings


@pytest.fixture(scope="module")
def probed(compared, labelled):
    return linear_probes.linear_probing(compared, labelled)


def test_run_reports(smoke_runs, corpus):
    table = tables.balance_table(smoke_runs["hybrid"])
    assert table["lam"].iloc[-1] == pytest.approx(table["predicted"].iloc[-1], abs=0.01)
    assert (table["gradient"] < 0).all()
    with pytest.raises(ValueError, match="MLM-only run"):
        tables.balance_table(smoke_runs["mlm"])
    line = tables.budget("hybrid", [smoke_runs["hybrid"]])
    assert "seed 0" in line and "0.01 M tokens in 30 steps" in line and " each" not in line
    both = tables.budget("both", list(smoke_runs.values()))
    assert "seeds 0, 0" in both and " s each on cpu" in both
    assert tables.budget("hybrid", []) == "hybrid: no finished run"
    run = smoke_runs["mlm"]
    guesses = tables.fill_masks(run.model(), corpus, run.recipe, n=3)
    assert len(guesses) == 3 and guesses["text"].str.contains(" [?] ", regex=False).all()


def ends_of(nats, seeds):
    rows = []
    for arm, shift in (("hybrid", 0.2), ("mlm", 0.0)):
        for seed in range(seeds):
            common = {"condition": arm, "title": arm, "seed": seed}
            rows.append(common | {"task": "", "metric": "below_unigram", "value": nats + shift})
            for metric in ("uniformity", "effective_rank", "semantic_probe"):
                for number, task in enumerate("ab"):
                    value = 1 + shift + number + 0.01 * seed
                    bounds = {"low": value - 0.1, "high": value + 0.1}
                    rows.append(common | {"task": task, "metric": metric, "value": value} | bounds)
    return pd.DataFrame(rows)


def test_the_last_screen_of_the_demo_is_short_and_says_what_its_numbers_are():
    text = tables.summary(ends_of(1.9, seeds=1))
    assert len(text.splitlines()) <= 7
    assert max(map(len, text.splitlines())) <= 100
    assert re.search(r"nats below word frequencies +2\.10 +1\.90\n", text)
    assert "1 seed per arm, 95 % intervals over texts" in text
    (row,) = [line for line in text.splitlines() if line.startswith("uniformity")]
    # mean of two tasks, each +- 0.1: +- 0.1 / sqrt(2)
    assert re.findall(r"[\d.]+", row) == ["1.70", "1.63", "1.77", "1.50", "1.43", "1.57"]
    assert "2 seeds per arm, 95 % intervals over seeds" in tables.summary(ends_of(1.9, seeds=2))
    only = tables.summary(ends_of(1.9, seeds=1).query("condition == 'mlm'"))
    assert "MLM-only" in only and "hybrid" not in only


def test_on_the_plateau_the_demo_ends_with_a_reason_and_no_table():
    text = tables.summary(ends_of(0.0, seeds=1))
    assert text.startswith("No table: MLM-only learned little but word frequencies (0.00 nats")


def test_length_control_finds_length_and_nothing_else(compared, labelled):
    """An untrained encoder tells texts apart by their length alone."""
    table = length.length_control(compared, labelled[:1])
    values = table.query("model == 'untrained'").set_index("metric")
    every, equal = values.loc["uniformity"], values.loc["equal_length"]
    assert values.value["explained"] > 0.9 > values.value["by_chance"]
    assert abs(equal.value) < 0.2 * abs(every.value) and every.low < every.value < every.high

    one = tables.length_table(seeds.over_seeds(table))
    again = table.assign(seed=1, value=table["value"] * 1.1)
    two = tables.length_table(seeds.over_seeds(pd.concat([table, again])))
    assert list(one.index) == list(two.index) and set(one["seeds"]) == {1}
    assert set(two["seeds"]) == {2} and two["explained"].str.contains(r"\[").all()


def all_figures(corpus, smoke_runs, geometry, probed):
    recipe = smoke_runs["hybrid"].recipe
    batch = draw_batch(recipe, corpus, corpus.blocks("train", recipe.length), 0, 0)
    shares, _ = coverage_shares(recipe, corpus, 0, batches=5)
    table, embeddings, spectra = (
        geometry.table,
        geometry.embeddings,
        seed_spectra(geometry),
    )
    chosen = {m: embeddings["docs-swap", "mean", m][:40] for m in smoke_runs}
    points = projections.points(chosen, ["a", "b"] * 20, ["some text"] * 40)
    histories = {arm: run.history for arm, run in smoke_runs.items()}
    return {
        "blocks": figures.block_diagram(batch["context"], batch["targets"], recipe.length),
        "coverage": figures.coverage(shares),
        "fates": figures.token_fates(token_fates(recipe, corpus, 0, batches=3)),
        "curves": figures.training_curves(histories, unigram=6.0),
        "lambda": figures.lambda_dynamics(tables.balance_table(smoke_runs["hybrid"])),
        "probes": figures.probe_bars(tables.probes_with_published(probed)),
        "metrics": figures.metric_bars(tables.geometry_with_published(table), "mean"),
        "ablation": figures.pooling_ablation(
            tables.geometry_with_published(table), "docs-swap", "Docs-swap"
        ),
        "radar": figures.radar(
            tables.geometry_with_published(table), "docs-swap", "Docs-swap", "mean"
        ),
        "both probes": figures.probe_comparison(tables.geometry_with_published(table), "attention"),
        "spectrum": figures.eigenspectra(spectra, "docs-swap", "mean", "Docs-swap"),
        "length": figures.length_control(
            pd.DataFrame(
                {"title": ["a"] * 2, "model": ["mlm"] * 2, "metric": ["uniformity", "equal_length"]}
                | {"value": [-1.0, -0.1], "low": [-1.2, -0.2], "high": [-0.8, 0.0]}
            )
        ),
        "plane": figures.alignment_uniformity(tables.geometry_with_published(table), "max"),
        "map": figures.embedding_map(points, "a map"),
    }


@pytest.mark.slow
def test_every_figure_draws_its_data_and_exports(
    corpus, smoke_runs, geometry, probed, tmp_path, monkeypatch
):
    monkeypatch.setenv("PREDRECON_FIGURES", str(tmp_path))
    monkeypatch.setattr(
        "predrecon.workbook.figures.gallery.write_images",
        lambda *_, **__: "no Chrome or Chromium found",
    )
    gallery = figures.Gallery("tag")
    for stem, fig in all_figures(corpus, smoke_runs, geometry, probed).items():
        assert len(fig.data) > 0 and fig.layout.title.text
        assert fig.layout.template.layout.colorway, "the shared template"
        named = [trace.name for trace in fig.data if trace.name and trace.showlegend is not False]
        assert len(named) == len(set(named)), "no entry of the legend twice"
        gallery.entries[stem] = (fig, pd.DataFrame({"value": [1.0]}))
    line = gallery.export()
    assert "no PNG: no Chrome or Chromium found" in line and "\n" not in line
    for stem in gallery.entries:
        page = (tmp_path / "tag" / f"{stem}.html").read_text(encoding="utf-8")
        assert 'src="../plotly.min.js"' in page and "https://cdn" not in page.lower()
        assert (tmp_path / "data" / "tag" / f"{stem}.csv").is_file()
    assert (tmp_path / "plotly.min.js").stat().st_size > 1_000_000


def test_masking_audit(corpus, smoke_runs):
    recipe = smoke_runs["hybrid"].recipe
    batch = draw_batch(recipe, corpus, corpus.blocks("train", recipe.length), 0, 0)
    jepa, mlm = roles(batch, 0)
    assert jepa.count("context") == batch["context"].shape[1] and "both" not in jepa
    assert mlm.count("masked") == (batch["labels"][0] >= 0).sum()
    batch["context"][0, 0] = batch["targets"][0, 0, 0]
    assert "both" in roles(batch, 0)[0], "a leak would be seen"
    _, sizes = coverage_shares(recipe, corpus, 0, batches=5)
    assert sizes["leaked"].sum() == 0
    leak = leak_without_removal(length=128, samples=20_000, seed=0)
    assert 0.8 < leak["tokens"] < 0.9 and 0.6 < leak["blocks"] < 0.75
    html = figures.sentence_html(["<b>", "&"], ["context", "target"], "caption")
    assert "&lt;b&gt;" in html and "&amp;" in html


def test_maps_are_repeatable():
    z = np.random.default_rng(0).normal(size=(60, 8))
    assert np.array_equal(projections.place(z, "PCA"), projections.place(z, "PCA"))
    points = projections.points({"mlm": z}, ["x"] * 60, ["t" * 200] * 60)
    assert points["text"].str.len().max() == 70 and len(points) == 120


def test_figures_are_json_the_notebook_can_hold(measured):
    bundle = figures.bundle(
        figures.metric_bars(tables.geometry_with_published(measured[0]), "mean")
    )
    assert bundle["text/plain"].startswith("[figure: Geometry under mean pooling")
    assert len(json.dumps(bundle)) < 60_000
    assert Split(["a"], None, np.array([1])).head(5).first == ["a"]
