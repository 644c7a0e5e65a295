"""The notebooks' form, opening and headless runs; nbval runs every cell besides."""

import ast
import base64
import inspect
import re
from pathlib import Path

import jupytext
import nbformat
import papermill
import pytest
from lab_page import chromium

from predrecon.workbook import Notebook, demo, pages
from predrecon.workbook.figures import gallery

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "notebooks").glob("0*.py"))
STEMS = [source.stem for source in SOURCES]


def read(stem):
    return nbformat.read(ROOT / "notebooks" / f"{stem}.ipynb", as_version=4)


def test_all_notebooks_are_there_and_in_order():
    names = "00_paper_map 01_masking 02_pretrain 03_lambda_dynamics 04_glue_probing 05_geometry "
    names += "05b_confounders 05c_spectra_and_maps 06_why 07_lab 08_any_encoder"
    assert names.split() == STEMS


@pytest.mark.parametrize("stem", [*STEMS, "START"])
def test_source_and_notebook_are_paired_cell_by_cell(stem):
    source, built = jupytext.read(ROOT / "notebooks" / f"{stem}.py"), read(stem)

    def cells(notebook):
        return [(c.cell_type, c.source, c.metadata.get("tags", [])) for c in notebook.cells]

    assert cells(source) == cells(built), "run: make notebooks"


def test_start_page_leads_to_every_notebook_and_runs_nothing():
    start = read("START")
    assert {cell.cell_type for cell in start.cells} == {"markdown"}
    links = re.findall(r"\]\(([^)#]+)", "".join(cell.source for cell in start.cells))
    assert all((ROOT / "notebooks" / link).is_file() for link in links)
    assert {f"{stem}.ipynb" for stem in STEMS} <= set(links)
    opened = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "default_url=/lab/tree/notebooks/START.ipynb" in opened


@pytest.mark.parametrize("stem", STEMS)
def test_committed_outputs_are_complete_small_and_of_no_machine(stem):
    built = read(stem)
    code = [c for c in built.cells if c.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1)), "run top to bottom"
    assert not [o for c in code for o in c.outputs if o.output_type == "error"]
    text = (ROOT / "notebooks" / f"{stem}.ipynb").read_text(encoding="utf-8")
    assert len(text) <= 1_500_000
    assert not re.search(r"/(home|root|Users|tmp|work)/", text)


def code_cells(stem):
    """Source of the parameters cell, of the opening, and of all cells of code after it."""
    cells = jupytext.read(ROOT / "notebooks" / f"{stem}.py").cells
    parameters, opening, *others = (cell for cell in cells if cell.cell_type == "code")
    assert parameters.metadata["tags"] == ["parameters"]
    return parameters.source, opening.source, [cell.source for cell in others]


@pytest.mark.parametrize("stem", STEMS)
def test_parameters_are_plain_literals_and_functions_short(stem):
    parameters, *_ = code_cells(stem)
    for statement in ast.parse(parameters).body:
        ast.literal_eval(statement.value)
    tree = ast.parse((ROOT / "notebooks" / f"{stem}.py").read_text(encoding="utf-8"))
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    assert all(f.end_lineno - f.lineno < 10 for f in functions)


@pytest.mark.parametrize("stem", STEMS)
def test_all_notebooks_open_alike_in_at_most_six_lines(stem):
    parameters, opening, others = code_cells(stem)
    assert len([line for line in opening.splitlines() if line.strip()]) <= 6
    imports = (ast.Import, ast.ImportFrom)
    assert not [n for cell in others for n in ast.walk(ast.parse(cell)) if isinstance(n, imports)]
    calls = [n for n in ast.walk(ast.parse(opening)) if isinstance(n, ast.Call)]
    (call,) = [n for n in calls if getattr(n.func, "id", "") == "Notebook"]
    names = {statement.targets[0].id for statement in ast.parse(parameters).body}
    accepted = set(inspect.signature(Notebook).parameters)
    passed = {n.arg for n in call.keywords if getattr(n.value, "id", "") == n.arg}
    assert passed == (names & accepted) - {"preset"} and call.args[0].id == "preset"


def test_opening_a_notebook_loads_nothing_that_its_cells_do_not_use(monkeypatch):
    for name in ("load_corpus", "load_tasks", "ensure_arms"):
        monkeypatch.setattr(f"predrecon.workbook.notebook.{name}", None)
    book = Notebook("smoke", arms="mlm", seed=3, overrides={"lr": 5e-4, "max_steps": 7})
    assert book.recipe.lr == 5e-4 and book.recipe.max_steps == 7 and book.arms == ["mlm"]
    assert book.gallery.caption == book.caption(3) and "7 steps" in book.caption(3)
    with pytest.raises(TypeError, match="NoneType"):
        _ = book.tasks
    with pytest.raises(ValueError, match="arm='jepa': expected one of"):
        Notebook("smoke", arms="jepa")
    with pytest.raises(ValueError, match="No such field of a recipe: learning_rate"):
        Notebook("smoke", overrides={"learning_rate": 1})
    for name in ("max_samples", "max_train"):
        with pytest.raises(ValueError, match=f"{name}='many'"):
            Notebook("smoke", **{name: "many"})


def test_a_notebook_trains_what_is_missing_and_finds_other_seeds(tmp_path, monkeypatch, corpus):
    monkeypatch.setenv("PREDRECON_RUNS", str(tmp_path))
    options = dict(max_steps=4, overrides={"validation_blocks": 4})
    book = Notebook("smoke", arms="mlm", seed=1, **options)
    book.train("hybrid")  # not one of its arms
    assert book.finished_runs == {"mlm": []}
    run = book.runs["mlm"]
    assert run.facts["seed"] == 1 and book.runs["mlm"] is run
    assert book.all_runs == {"mlm": [run]} and book.seeds == [1]

    both = Notebook("smoke", arms="mlm", every_seed=True, **options)
    assert both.seeds == [0, 1] and "seeds 0, 1" in both.gallery.caption
    assert [model.seed for model in both.encoders] == [0, 1]
    first = Notebook("smoke", arms="mlm", seed=1, every_seed=True, **options)
    assert [model.seed for model in first.encoders] == [1, 0], "that of `seed` comes first"
    names = [(model.name, model.seed) for model in first.models]
    assert names == [("mlm", 1), ("untrained", 1), ("mlm", 0), ("untrained", 0)]


COMPARED = {"01_masking": 6, "02_pretrain": 6, "03_lambda_dynamics": 4}


@pytest.mark.parametrize("stem", COMPARED)
def test_outputs_that_cannot_differ_are_compared(stem):
    """nbval compares what depends on neither preset nor clock, the worked examples; the rest is
    tagged."""
    compared = [
        cell for cell in read(stem).cells
        if cell.cell_type == "code" and "nbval-ignore-output" not in cell.metadata.get("tags", [])
        and any("text/plain" in o.get("data", {}) or "text" in o for o in cell.outputs)
    ]  # fmt: skip
    assert len(compared) >= COMPARED[stem]


@pytest.mark.slow
def test_papermill_overrides(tmp_path):
    """The GPU line with its options, at the size of a test."""
    out = tmp_path / "out.ipynb"
    parameters = dict(preset="smoke", arms="mlm", max_steps=6, overrides={"lr": 5e-4})
    papermill.execute_notebook(
        ROOT / "notebooks" / "02_pretrain.ipynb", out, parameters, progress_bar=False
    )
    text = out.read_text(encoding="utf-8")
    assert "smoke-docstrings-mlm-seed0" in text and "hybrid-seed0" not in text
    assert "0.0005" in text


def test_exported_pages_show_figures_without_kernel_or_network(tmp_path):
    page = tmp_path / "05.html"
    pages.to_html(ROOT / "notebooks" / "05_geometry.ipynb", page)
    html = page.read_text(encoding="utf-8")
    figures = sum(
        gallery.PLOTLY in o.get("data", {}) for c in read("05_geometry").cells
        for o in c.get("outputs", [])
    )  # fmt: skip
    assert figures >= 4 and html.count("Plotly.newPlot(") == figures
    assert 'src="plotly.min.js"></script>' in html and (tmp_path / "plotly.min.js").is_file()
    assert "plot.ly" not in re.sub(r"https://plot\.ly\"", "", html)
    assert page.stat().st_size <= 3_000_000


@pytest.mark.parametrize("stem", STEMS)
def test_inline_mathematics_stays_on_its_line_for_code_hosts(stem):
    for cell in read(stem).cells:
        text = re.sub(r"\$\$.*?\$\$|`[^`]*`", "", cell.source, flags=re.DOTALL)
        if cell.cell_type == "markdown":
            assert not [m for m in re.findall(r"\$[^$]+\$", text) if "\n" in m]


@pytest.mark.parametrize("stem", STEMS)
def test_every_figure_has_a_picture_for_hosts_without_scripts(stem):
    outputs = [o for c in read(stem).cells for o in c.get("outputs", [])]
    figures = [o["data"] for o in outputs if gallery.PLOTLY in o.get("data", {})]
    assert all("image/png" in data for data in figures), "run: make notebooks (needs a Chromium)"
    for data in figures:  # 90 characters are the 620 pixels of a cell in a narrow window
        title = data[gallery.PLOTLY]["layout"].get("title", {}).get("text") or ""
        assert max(len(gallery.words(line)) for line in title.split("<br>")) <= 90, title


@pytest.mark.slow
def test_pictures_are_small_and_only_where_a_browser_is(monkeypatch):
    figure = {"data": [{"y": [1, 3, 2]}], "layout": {"height": 300}}
    output = nbformat.v4.new_output("display_data", {gallery.PLOTLY: figure})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=[output])])
    with monkeypatch.context() as patch:
        patch.setattr(pages, "write_images", lambda *_, **__: "no Chrome or Chromium found")
        assert pages.add_images(notebook) == 0
    if chromium() is None:
        pytest.skip("no Chrome or Chromium on this machine")
    assert pages.add_images(notebook) == 1
    data = notebook.cells[0].outputs[0]["data"]
    png = base64.b64decode(data["image/png"])
    assert data[gallery.PLOTLY] == figure and len(png) < 20_000
    assert png[:8] == b"\x89PNG\r\n\x1a\n" and int.from_bytes(png[16:20]) == 620


def test_demo_skips_what_is_done_and_names_what_failed(tmp_path, monkeypatch, capsys):
    done = []

    def execute(source, target, parameters, **_):
        notebook = nbformat.read(source, as_version=4)
        notebook.metadata["papermill"] = {"parameters": parameters}
        nbformat.write(notebook, target)
        if source.stem.startswith("03"):
            raise papermill.PapermillExecutionError(5, 3, "1 / 0", "ZeroDivisionError", "by 0", [])
        done.append(source.stem)

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    for name in ("RUNS", "FIGURES"):
        monkeypatch.setenv(f"PREDRECON_{name}", str(tmp_path / name))
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"03_lambda_dynamics\.ipynb failed in cell 3: Zero"):
            demo.run(tmp_path, {"preset": "smoke"})
    assert (tmp_path / "03_lambda_dynamics.failed.ipynb").is_file()
    assert not (tmp_path / "03_lambda_dynamics.ipynb").is_file()
    others = [stem for stem in STEMS if not stem.startswith("03")]
    assert sorted(done) == others, "one that fails keeps no other from running"
    assert capsys.readouterr().out.count("up to date") == len(others)
    with pytest.raises(RuntimeError):
        demo.run(tmp_path, {"preset": "demo"})
    assert len(done) == 2 * len(others), "other parameters are another run"


def test_demo_leaves_out_what_needs_labels_where_there_are_none(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PREDRECON_FIGURES", str(tmp_path / "figures"))
    monkeypatch.setattr(pages, "to_html", lambda notebook, page: page.write_text(""))
    labelled = []

    def execute(source, target, parameters, **_):
        notebook = nbformat.read(source, as_version=4)
        nbformat.write(notebook, target)
        if "book.tasks" in "".join(cell.source for cell in notebook.cells[-30:]):
            labelled.append(source.stem)
            error = ("MissingLabelsError", "No labels: SST-2 is not here.\nNot found. Tried: a, b")
            raise papermill.PapermillExecutionError(3, 2, "book.tasks", *error, [])

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    out = tmp_path / "out"
    out.mkdir()
    (out / "05_geometry.ipynb").write_text("of an earlier demo")
    demo.run(out, {"preset": "smoke"})
    printed = capsys.readouterr().out
    need_labels = "00_paper_map 04_glue_probing 05_geometry 05b_confounders 05c_spectra_and_maps"
    assert {*need_labels.split(), "06_why"} <= set(labelled)
    for stem in STEMS:
        left_out = f"{stem}: left out. No labels: SST-2 is not here.\n" in printed
        assert left_out == (stem in labelled) == (not (out / f"{stem}.ipynb").exists())
    assert f"{len(STEMS) - len(labelled)} of {len(STEMS)} notebooks ready" in printed
    assert "No table: it needs notebook 06." in printed and "Tried" not in printed
    assert not list(out.glob("*.failed.ipynb"))


def test_a_page_that_fails_costs_no_second_run(tmp_path, monkeypatch, capsys):
    def execute(source, target, parameters, **_):
        done.append(source.stem)
        notebook = nbformat.read(source, as_version=4)
        notebook.metadata["papermill"] = {"parameters": parameters}
        nbformat.write(notebook, target)

    def fail(notebook, page):
        raise OSError("no space left\non the device")

    done, to_html = [], pages.to_html
    monkeypatch.setattr(papermill, "execute_notebook", execute)
    monkeypatch.setattr(demo, "NOTEBOOKS", tmp_path / "notebooks")
    (tmp_path / "notebooks").mkdir()
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "", "language": "python"}
    nbformat.write(made, tmp_path / "notebooks" / "05_geometry.ipynb")
    for name in ("RUNS", "FIGURES"):
        monkeypatch.setenv(f"PREDRECON_{name}", str(tmp_path / name))
    for write, state in ((fail, "done, without"), (to_html, "done in"), (fail, "up to date")):
        monkeypatch.setattr(pages, "to_html", write)
        demo.run(tmp_path / "out", {})
        out = capsys.readouterr().out
        assert f"05_geometry: {state}" in out and "No table: " in out
        assert done == ["05_geometry"]
        assert (tmp_path / "out" / "05_geometry.html").is_file() == (state != "done, without")


@pytest.mark.parametrize("variable", ["PREDRECON_CACHE", "PREDRECON_RUNS", "PREDRECON_FIGURES"])
def test_a_demo_stops_first_where_it_could_not_write(tmp_path, monkeypatch, variable):
    monkeypatch.setattr(papermill, "execute_notebook", lambda *_, **__: pytest.fail("too late"))
    monkeypatch.setenv(variable, "/dev/null/nowhere")
    with pytest.raises(PermissionError, match=f"Set {variable}"):
        demo.run(tmp_path, {})
    with pytest.raises(PermissionError, match="--out"):
        demo.run(Path("/dev/null/nowhere"), {})
