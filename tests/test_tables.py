"""The paper's tables: which numbers they hold, with intervals, and the files they become."""

import numpy as np
import pandas as pd
import pytest

from predrecon.audit import published
from predrecon.workbook import tables, typeset

RANGE = {"n": 100, "dim": 8, "note": ""}


@pytest.fixture
def displayed(monkeypatch):
    """What the notebook displays."""
    outputs = []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: outputs.append(data))
    return outputs


@pytest.fixture
def table():
    """Two tasks whose value, geometric mean of two seeds, is half the published one."""
    paper = published.geometry().query("task in ['sst2', 'cola']")
    names = {"semantic_probe_score": "semantic_probe", "token_probe_accuracy": "token_probe"}
    paper = paper.assign(metric=paper["metric"].replace(names))
    paper = paper[paper["metric"].isin(["uniformity", "effective_rank", "semantic_probe"])]
    parts = []
    for seed, ratio in ((0, 0.4), (1, 0.625)):
        part = paper.assign(**RANGE, seed=seed, title=paper["task"].str.upper())
        part["value"] *= ratio
        parts.append(part.assign(low=part["value"] - 1, high=part["value"] + 1))
    return pd.concat(parts)


def test_ours_stands_beside_the_published_number(table):
    wide = tables.paper_table(4, table)
    assert set(wide.index.get_level_values("title")) == {"SST2", "COLA"} and len(wide) == 8
    for arm in tables.ARMS:
        assert np.allclose(wide[arm]["value"] / wide[arm]["published"], 0.5)
        assert (wide[arm]["seeds"] == 2).all() and (wide[arm]["basis"] == "seeds").all()
    paper = published.geometry().set_index(["task", "pooling", "model", "metric"])["value"]
    row = wide.loc[("SST2", "attention", "uniformity")]
    assert row["hybrid", "published"] == paper["sst2", "attention", "hybrid", "uniformity"]


def test_a_task_has_its_own_table(table):
    wide = tables.paper_table(7, table)
    assert set(wide.index.get_level_values("title")) == {"SST2"}
    with pytest.raises(ValueError, match="Table 8 needs mrpc: not measured here"):
        tables.paper_table(8, table)
    with pytest.raises(ValueError, match="Table 2: expected one of 4, 5"):
        tables.paper_table(2, table)


def test_no_number_of_ours_goes_without_its_interval(table, tmp_path):
    one = table[table["seed"] == 0]
    text = tables.paper_table_text(tables.paper_table(4, one))
    assert text["hybrid"].str.fullmatch(r"-?\d+\.\d+ \[-?[\d.]+, -?[\d.]+\] 1 seed").all()
    files = tables.export_paper_tables(table, tmp_path / "made")
    csv, markdown, latex = (file for file in files if file.stem == "table_05")
    assert [f.suffix for f in (csv, markdown, latex)] == [".csv", ".md", ".tex"]
    numbers = pd.read_csv(csv)
    assert {"hybrid_value", "hybrid_low", "mlm_published"} <= set(numbers.columns)
    assert "2 seeds" in markdown.read_text() and r"effective\_rank & " in latex.read_text()


def test_seeds_that_agree_exactly_say_so(table):
    """Their interval is over texts, as wide as the widest of theirs."""
    one = table[table["seed"] == 0]
    text = tables.paper_table_text(tables.paper_table(4, pd.concat([one, one.assign(seed=1)])))
    assert text["hybrid"].str.endswith("] 2 equal seeds").all()


def test_ranks_say_n_and_d(table, tmp_path):
    """A published rank says its D where ours is another, and only a rank does."""
    text = tables.paper_table_text(tables.paper_table(5, table))
    assert set(text["N"]) == {"100"} and set(text["D"]) == {"8"}
    assert text["published mlm"].str.fullmatch(r"\d+\.\d{3} \(D = 512\)").all()
    assert (
        tables.paper_table_text(tables.paper_table(4, table))["published mlm"]
        .str.fullmatch(r"-\d+\.\d{3}")
        .all()
    )
    same = tables.paper_table_text(tables.paper_table(5, table.assign(dim=512)))
    assert not same["published mlm"].str.contains("D =").any()
    dims = tables.geometry_with_published(table).groupby("model")["dim"].unique()
    assert dims["hybrid"].tolist() == [8] and dims["published hybrid"].tolist() == [512]
    tables.export_paper_tables(table, tmp_path)
    assert (pd.read_csv(tmp_path / "table_05.csv")[["hybrid_dim", "mlm_dim"]] == 8).all(axis=None)


def test_tables_of_tasks_are_shown_with_the_papers_number(table, displayed):
    shown = [t for t in tables.paper_tables(table) if "All metrics" in t.caption]
    assert [t.caption.split(".")[0] for t in shown] == ["Table 7", "Table 10"]
    typeset.show(*shown)
    (output,) = displayed
    html, plain = output["text/html"], output["text/plain"]
    assert html.count("<details") == 2 and html.count("<details open>") == 1
    assert "published hybrid" in html and "2 seeds" not in html
    assert "over seeds. Published: one seed, D = 512" in html
    assert plain == "[Table 7. All metrics, SST-2; Table 10. All metrics, CoLA]"
    assert "GLUE task of the same shape" not in html and "N = 100 texts, D = 8" in html


def test_an_embedded_task_is_not_shown_beside_the_number_of_another(table, tmp_path):
    twin = table.replace({"task": {"sst2": "docs-library"}, "title": {"SST2": "Docs-library"}})
    styled = tables.styled_paper_table(7, twin)
    assert list(styled.data) == ["hybrid", "mlm"] and "title" not in styled.data.index.names
    assert "Docs-library instead of SST-2. N = 100 texts, D = 8" in styled.caption
    files = tables.export_paper_tables(twin, tmp_path)
    (csv,) = (file for file in files if file.name == "table_07.csv")
    assert pd.read_csv(csv)["hybrid_published"].notna().any()
    assert "another task" in csv.with_suffix(".md").read_text()


def test_one_arm_has_its_tables_too(table):
    one = table[(table["model"] == "mlm") & (table["seed"] == 0)]
    text = tables.paper_table_text(tables.paper_table(7, one))
    assert (text["hybrid"] == "–").all() and (text["N"] == "100").all()
    assert "over texts (one seed)" in tables.styled_paper_table(7, one).caption


def test_styled_tables_are_light_and_mute_what_is_published(displayed):
    text = pd.DataFrame({"hybrid": ["0.1 [0.0, 0.2]"], "published hybrid": ["0.3"], "n": [1500]})
    typeset.show(typeset.styled(text, "Table 3. A <name>."))
    html = displayed[0]["text/html"]
    assert "td:nth-last-child(2) {\n  opacity" in html and "text-align: right" in html
    assert "<td>0.1 [0.0, 0.2]</td><td>0.3</td><td>1,500</td>" in html
    typeset.show(typeset.styled(text, "Table 3. A <name>."))
    typeset.show(text, caption="Table 3. A <name>.")
    assert displayed[2] == displayed[1] == displayed[0], "the same table is the same output"


def test_exported_latex_has_no_glyph_that_plain_latex_lacks(tmp_path):
    text = pd.DataFrame({"a_b": ["10 % – x", "λ ± 0.1, ρ & # √D × 2"], "n": ["−1", "{$}"]})
    files = typeset.export(text, text.set_index("a_b"), tmp_path, "some", "Caption.")
    csv, markdown, latex = (file.read_text(encoding="utf-8") for file in files)
    assert csv.startswith("a_b,n\n") and "| 10 % – x | −1 |" in markdown
    assert r"10 \% -- x & $-$1 \\" in latex and r"a\_b & n \\" in latex
    assert r"$\lambda$ $\pm$ 0.1, $\rho$ \& \# $\surd$D $\times$ 2 & \{\$\} \\" in latex
    assert latex.isascii()
