"""`python -m predrecon analyse`: encoders of two widths, one with a pooling of its own."""

import dataclasses
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import test_loading
from test_loading import KINDS, saved, sentence_folder

from predrecon.audit import encoders, seeds
from predrecon.audit.geometry import RANKS, measure_all
from predrecon.audit.statistics import bootstrap_interval
from predrecon.workbook import figures, tables
from predrecon.workbook.commands import main
from predrecon.workbook.figures.panels import METRICS


@pytest.fixture
def wide(monkeypatch, corpus):
    """Tiny encoders of the embedded text's words; "wide" is of another width."""
    monkeypatch.setattr(test_loading, "words_tokenizer", lambda kind: corpus.tokenizer)
    sizes = {"vocab_size": len(corpus.tokenizer)}
    for kind, more in {
        "bert": {"max_position_embeddings": 48},
        "gpt2": {"n_positions": 48},
        "wide": {"hidden_size": 48, "num_attention_heads": 4},
    }.items():
        config = KINDS["bert" if kind == "wide" else kind]
        changed = type(config)(**config.to_dict() | sizes | more)
        monkeypatch.setitem(KINDS, kind, changed)


def test_encoders_get_readable_names_of_their_own(tmp_path, monkeypatch):
    for place in ("one/model", "two/model", "other"):
        saved(tmp_path / place)
    places = [str(tmp_path / place) for place in ("one/model", "two/model", "other/")]
    models = encoders.load_encoders(",".join(places))
    assert [model.name for model in models] == ["one/model", "two/model", "other"]
    (alone,) = encoders.load_encoders(places[:1])
    assert alone.name == "one/model", "model says little"
    with pytest.raises(ValueError, match="other is named twice"):
        encoders.load_encoders([places[2], places[2].rstrip("/")])
    with pytest.raises(ValueError, match="none is named"):
        encoders.load_encoders(" , ")


def test_pairs_share_their_draws_and_widths_forbid_ranks(tmp_path, wide, labelled):
    places = [sentence_folder(tmp_path / "narrow", "mean_tokens"), saved(tmp_path / "wide", "wide")]
    places.append(saved(tmp_path / "gpt", "gpt2"))
    models = encoders.load_encoders(places)
    measured = measure_all(models, labelled[:1], max_samples=90)
    gaps = seeds.pairwise(measured)
    assert set(zip(gaps["one"], gaps["other"], strict=True)) == {
        ("narrow", "wide"), ("narrow", "gpt"), ("wide", "gpt"),
    }  # fmt: skip
    assert "own" not in set(gaps["pooling"]), "one encoder alone has it"
    ranks, narrow_gpt = gaps["metric"].isin(RANKS), gaps["dim"] == gaps["other_dim"]
    assert gaps.loc[ranks & ~narrow_gpt, "value"].isna().all() and (ranks & ~narrow_gpt).any()
    assert gaps.loc[~ranks | narrow_gpt, "value"].notna().all()
    task, key = labelled[0].name, ("mean", "uniformity")
    draws = [measured.replicates[task, "mean", m, 0, "uniformity"] for m in ("narrow", "wide")]
    row = gaps[(gaps["pooling"] == key[0]) & (gaps["metric"] == key[1])].iloc[0]
    margin = bootstrap_interval(0.0, draws[0] - draws[1], 1).high
    np.testing.assert_allclose(row["high"] - row["value"], margin, rtol=1e-9)
    text = tables.pairs_table(gaps)
    assert text.loc[("narrow − wide", "mean", labelled[0].title), "effective_rank"] == (
        "D = 32 and 48"
    )
    with pytest.raises(ValueError, match="Only narrow: a difference needs two"):
        one = measured.table.query("model == 'narrow'")
        seeds.pairwise(dataclasses.replace(measured, table=one))


def test_the_command_writes_tables_figures_and_one_page(tmp_path, wide, monkeypatch, capsys):
    monkeypatch.setattr(figures.gallery, "write_images", lambda *_, **__: "not in this test")
    first, second = sentence_folder(tmp_path / "st", "cls_token"), saved(tmp_path / "wide", "wide")
    out = tmp_path / "out"
    words = ["analyse", str(first), str(second), "--tasks", "docs-library,docs-overlap"]
    assert main([*words, "--max-samples", "120", "--out", str(out)]) == 0
    assert "index.html shows everything" in capsys.readouterr().out
    for name in ("geometry", "differences", "layers"):
        assert {f.suffix for f in (out / "tables").glob(f"{name}.*")} == {".csv", ".md", ".tex"}
    numbers = pd.read_csv(out / "tables" / "geometry.csv")
    assert set(numbers["pooling"]) == {"mean", "max", "weighted", "attention", "own"}
    assert (
        set(numbers.query("pooling == 'own'")["model"]) == {"st"} and numbers["low"].notna().all()
    )
    page = (out / "index.html").read_text(encoding="utf-8")
    assert page.count("Plotly.newPlot(") >= 4 and "D = 32 and 48" in page
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page), "nothing from elsewhere"
    assert len(list((out / "figures" / "analysis").glob("*.html"))) == 5
    assert "effective rank<br>(higher is richer)</th>" in page
    shutil.rmtree(out)


def test_graded_pairs_minimal_pairs_and_more(tmp_path, wide, smoke_runs, monkeypatch, capsys):
    monkeypatch.setattr(figures.gallery, "write_images", lambda *_, **__: "not in this test")
    (tmp_path / "sts" / "sts13").mkdir(parents=True)
    rows = {"sentence1": [f"the {n} array" for n in "abcdefghij"] * 3}
    rows |= {"sentence2": [f"the {n} matrix" for n in "bcdefghija"] * 3}
    grades = np.linspace(0, 5, 30)
    pd.DataFrame(rows | {"score": grades}).to_parquet(tmp_path / "sts" / "sts13" / "test.parquet")
    (tmp_path / "blimp").mkdir()
    pairs = {
        "sentence_good": ["the array is", "it does"],
        "sentence_bad": ["the array are", "it do"],
    }
    pairs |= {"UID": "agreement", "linguistics_term": "verbs", "field": "syntax"}
    pd.DataFrame(pairs).to_parquet(tmp_path / "blimp" / "train.parquet")
    run, other, out = smoke_runs["mlm"].folder, saved(tmp_path / "bert"), tmp_path / "out"
    words = ["analyse", str(run), str(other), "--data-dir", str(tmp_path), "--out", str(out)]
    assert main([*words, "--tasks", "sts13,blimp"]) == 0
    assert "BLiMP is left out for bert: no MLM head" in capsys.readouterr().out
    assert {f.stem for f in (out / "tables").iterdir()} == {"similarity", "blimp"}
    blimp = pd.read_csv(out / "tables" / "blimp.csv")
    assert set(blimp["level"]) == {"overall", "field", "linguistics_term", "UID"}
    assert set(blimp["model"]) == {run.name}
    similarity = pd.read_csv(out / "tables" / "similarity.csv")
    assert set(similarity["n"]) == {30} and len(similarity) == 8
    assert main([*words, "--tasks", "docs-edit", "--max-samples", "90", "--more"]) == 0
    added = {"retrieval", "heads", "other_metrics", "agreement"}
    assert {f.stem for f in (out / "tables").glob("*.csv")} >= added
    for name in ("similarity", "blimp", *added):
        measured = set(pd.read_csv(out / "tables" / f"{name}.csv")["metric"])
        assert measured <= set(METRICS), "each is named on the page, and its direction"
    agreement = pd.read_csv(out / "tables" / "agreement.csv")
    text = (out / "tables" / "agreement.md").read_text(encoding="utf-8")
    assert agreement["chance"].nunique() == len(agreement) == text.count("(chance "), "each its own"
    page = (out / "index.html").read_text(encoding="utf-8")
    for word in ("Retrieval", "Heads", "Other metrics", "Agreement"):
        assert f">{word}<" in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["/no/such"], "/no/such: no such file or folder"),
        (["/no/such", "--num-heads", "none at all"], "num_heads='none at all': expected a whole"),
        (["/no/such", "--max-samples", "0"], "max_samples='?0'?: expected a whole number"),
        (["/no/such", "--tasks", "sst9"], "sst9"),
    ],
)
def test_mistakes_are_said_before_anything_is_measured(tmp_path, capsys, words, message):
    words = ["--tasks", "docs-library", *words] if "--tasks" not in words else words
    assert main(["analyse", *words, "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert re.search(message, error) and "Traceback" not in error
