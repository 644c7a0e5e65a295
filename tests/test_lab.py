"""The laboratory: what is combined, refused, trained and compared."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from predrecon import recipes
from predrecon.audit import contrasts, grid, lab
from predrecon.data.tasks import load_task
from predrecon.training.run_folder import folder_of
from predrecon.workbook import figures, tables, widgets
from predrecon.workbook.commands import main

BASE = recipes.get("smoke", max_steps=12, validation_blocks=8)


def test_every_choice_by_itself_beside_the_controls(corpus):
    cells = lab.cells(BASE, corpus, seeds=1)
    made = {cell.condition: cell.recipe for cell in cells}
    assert list(made)[:2] == ["hybrid", "mlm-flops"] and made["hybrid"] == BASE
    assert made["infonce"] == dataclasses.replace(BASE, latent_loss="infonce")
    assert made["top-k"] == dataclasses.replace(BASE, target="top-k")
    assert made["fixed-0.9"].lam == 0.9 and made["leak"].leak
    choices = sum(len(names) - 1 for names in lab.AXES.values())
    assert len(made) == len(cells) == 2 + choices
    assert len({folder_of(recipe, corpus, 0) for recipe in made.values()}) == len(made)


def test_products_name_what_differs_from_the_paper():
    made = lab.product(latent_loss="cosine, sigreg", target=["ema", "live"], mask="block")
    assert made == ["live", "sigreg", "sigreg + live"]
    fields = lab.fields_of("sigreg + live + spans")
    assert fields == {"latent_loss": "sigreg", "target": "live", "mask": "spans"}
    assert lab.product(latent_loss="cosine") == []


@pytest.mark.parametrize(
    ("combination", "named"),
    [
        ("siglip", "latent_loss: cosine, smooth-l1"),
        ("infonce + barlow", "both a latent_loss"),
        ("leak + spans", "both a mask"),
        ("fixed-0.5 + scheduled", "both a balance"),
    ],
)
def test_unknown_and_impossible_combinations_are_refused_before_training(
    corpus, combination, named
):
    with pytest.raises(ValueError, match=named):
        lab.cells(BASE, corpus, [combination])


def test_a_base_with_an_objective_of_its_own_is_refused(corpus):
    with pytest.raises(ValueError, match="latent_loss='vicreg'"):
        lab.cells(dataclasses.replace(BASE, latent_loss="vicreg"), corpus)
    with pytest.raises(ValueError, match="axis 'loss'"):
        lab.product(loss="cosine")
    with pytest.raises(ValueError, match="mask='lines'"):
        lab.product(mask="lines")


@pytest.mark.slow
def test_the_command_trains_and_the_contrasts_are_of_seeds(corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PREDRECON_RUNS", str(tmp_path / "runs"))
    file = tmp_path / "lab.yaml"
    file.write_text("seeds: 2\nlatent_loss: [infonce]\ntarget: [ema, live]\nmax_steps: 12\n")
    command = ["lab", "--preset", "smoke", "--file", str(file), "--validation-blocks", "8"]
    assert main(command) == 0
    assert "[8/8]" in capsys.readouterr().out
    cells = lab.cells(BASE, corpus, ["infonce", "infonce + live"], 2)
    runs = grid.finished(cells, corpus)
    assert len(runs) == 8
    history = lab.histories(runs)
    hybrid = history.query("condition != 'mlm-flops'")
    assert hybrid[["jepa_gradient", "mlm_gradient", "gradient_cosine"]].notna().all(axis=None)
    ends = contrasts.endpoints(
        runs, [load_task("docs-library")], corpus.tokenizer, max_samples=60, released=False
    )
    table = lab.contrasts(ends)
    assert set(table["combination"]) == {"hybrid", "infonce", "infonce + live"}
    nats = ends.query("metric == 'below_unigram'").pivot(
        index="seed", columns="condition", values="value"
    )
    row = table.query("combination == 'infonce' and against == 'mlm-flops'").set_index("metric")
    expected = (nats["infonce"] - nats["mlm-flops"]).mean()
    assert row.at["below_unigram", "value"] == pytest.approx(expected)
    assert (table["p_corrected"] >= table["p"]).all() and (row["seeds"] == 2).all()
    assert np.isfinite(table["value"]).all() and isinstance(table, pd.DataFrame)


def test_a_file_that_is_no_laboratory_is_one_line(tmp_path, capsys):
    for text, named in (("- a\n", "name: value"), ("a: [\n", "not YAML"), ("losses: x", "losses")):
        (tmp_path / "lab.yaml").write_text(text)
        assert main(["lab", "--file", str(tmp_path / "lab.yaml")]) == 1
        assert named in capsys.readouterr().err
    assert main(["lab", "--combinations", "siglip", "--preset", "smoke"]) == 1
    assert "siglip" in capsys.readouterr().err


def made_facts() -> pd.DataFrame:
    """Three seeds: `good` is better than MLM-only, `bad` worse than the paper's objective."""
    nats = {"hybrid": 1.9, "mlm-flops": 2.3, "good": 2.5, "bad": 0.4}
    rows = [
        {"condition": name, "title": name, "seed": seed, "steps": 8, "tokens": 10, "flops": 2e12,
         "seconds": 3.0, "below_unigram": value + 0.01 * seed * (1 if name == "good" else -1),
         "state": "collapse to a point" if name == "bad" and seed else None}
        for name, value in nats.items()
        for seed in range(3)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def made_history(facts: pd.DataFrame) -> pd.DataFrame:
    rows = [
        row | {"step": step, "tokens": step, "mlm_loss": 3.0, "jepa_loss": 0.5, "lam": 0.5,
               "jepa_gradient": 0.1 * step, "mlm_gradient": 1.0, "gradient_cosine": 0.02}
        for row in facts[["condition", "title", "seed"]].to_dict("records")
        for step in (2, 4, 6, 8)
    ]  # fmt: skip
    history = pd.DataFrame(rows)
    of_mlm = history["condition"] == "mlm-flops"
    history.loc[of_mlm, ["jepa_loss", "jepa_gradient", "gradient_cosine"]] = np.nan
    return history


def made_ends(facts: pd.DataFrame) -> pd.DataFrame:
    """`endpoints` with the nats of `facts`, and a uniformity that only `bad` changes."""
    nats = facts.assign(task="", metric="below_unigram", value=facts["below_unigram"])
    shift = facts["condition"].map({"bad": -0.5}).fillna(0) + 0.001 * facts["seed"] ** 2
    spread = facts["condition"].map({"good": 1, "bad": 2}).fillna(0) * 0.001 * facts["seed"]
    geometry = facts.assign(task="a", metric="uniformity", value=shift + spread - 1)
    return pd.concat([nats, geometry], ignore_index=True)


def test_sentences_and_table_say_what_the_numbers_say():
    facts = made_facts()
    gaps, pulls = lab.contrasts(made_ends(facts)), lab.pulls(made_history(facts))
    first, second, third, fourth, fifth = tables.lab_sentences(gaps, pulls)
    assert first.startswith("good learns more than MLM-only with")
    assert second.startswith("Less than with the paper's objective is learned with bad (least with")
    assert "with bad: −1.50 [" in second and ", more with good (Student's t, p < 0.05" in second
    assert "Holm's correction for 10 differences" in second
    assert third == "By single intervals, less is also learned with none and more with none."
    assert fourth == (
        "With 3 seeds bad changes uniformity or the semantic probe after the same correction; by "
        "single intervals uniformity is lower (more uniform) with bad and higher with none, the "
        "semantic probe is lower with none and higher with none."
    )
    assert "has 0.70 times the norm of MLM's" in fifth and "(cosine 0.02)" in fifth
    worse = made_ends(facts[facts["condition"] != "good"])
    assert "None of 2" in tables.lab_sentences(lab.contrasts(worse), pulls)[0]
    nats = gaps[gaps["metric"] == "below_unigram"]
    assert len(tables.lab_sentences(nats, pulls)) == 4, "nothing of geometry without geometry"
    table = tables.lab_table(facts, gaps).set_index("combination")
    assert list(table.index) == ["good", "mlm-flops", "hybrid", "bad"]
    assert table.at["bad", "minus hybrid"].startswith("-1.500") and table.at["bad", "seeds"] == 3
    assert table.at["bad", "minus hybrid"].endswith(" *")
    assert table["monitor"].tolist() == ["–", "–", "–", "collapse to a point"]


def test_pulls_are_of_the_second_half_and_of_runs_with_two_losses():
    pulls = lab.pulls(made_history(made_facts()))
    assert list(pulls.index) == ["hybrid", "good", "bad"]
    assert pulls["share"].tolist() == pytest.approx([0.7] * 3)
    assert (pulls["seeds"] == 3).all()


def test_pictures_of_the_laboratory():
    facts = made_facts()
    gaps, history = lab.contrasts(made_ends(facts)), made_history(facts)
    forest = figures.laboratory(gaps, "mlm-flops", "title")
    assert list(forest.data[0].y) == ["good", "hybrid", "bad"], "the best first"
    bars = figures.pulls(lab.pulls(history))
    assert list(bars.data[0].y) == ["hybrid", "good", "bad"]
    explorer = widgets.lab_explorer(facts, history)
    chosen = {name: control.value for name, control in explorer.controls.items()}
    picture = explorer.draw(**chosen | {"chosen": ("good", "bad"), "curve": "JEPA gradient"})
    assert {trace.name for trace in picture.figure.data} == {"good", "bad"}
    assert "2.51" in picture.numbers
    with pytest.raises(ValueError, match="Nothing is chosen"):
        explorer.draw(**chosen | {"chosen": ()})
    with pytest.raises(ValueError, match="python -m predrecon lab"):
        widgets.lab_explorer(facts, history.head(0))
