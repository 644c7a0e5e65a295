"""Run the notebooks headless, one after another, and print what came out (`make demo`)."""

import contextlib
import itertools
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import jupytext
import nbformat
import pandas as pd
import papermill

from predrecon import recipes
from predrecon.data import paths
from predrecon.data.tasks import MissingLabelsError
from predrecon.workbook import labels, pages, tables

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def run(out_dir: Path, parameters: dict):
    """Execute every notebook into `out_dir`, export HTML, print places and the table.

    A notebook whose output is newer than its source and the module is not run again, unless
    `parameters` differ from those it was run with. One that needs labels where there are none is
    left out, and a line says so.

    Raises:
        RuntimeError: a notebook failed; its partial output is kept as `<name>.failed.ipynb`.
    """
    for variable in paths.VARIABLES:  # the notebooks run in another folder
        if os.environ.get(variable):
            os.environ[variable] = str(Path(os.environ[variable]).expanduser().resolve())
    for name in ("corpus", "data_dir"):
        if name in parameters and Path(parameters[name]).expanduser().exists():
            parameters = parameters | {name: str(Path(parameters[name]).expanduser().resolve())}
    out_dir.mkdir(parents=True, exist_ok=True)
    sources = sorted(NOTEBOOKS.glob("0*.ipynb"), key=lambda f: (f.stem.startswith("00"), f.stem))
    if not sources:
        raise FileNotFoundError(f"No notebooks in {NOTEBOOKS}: run this from a checkout.")
    code = max(file.stat().st_mtime for file in Path(__file__).parents[1].rglob("*.py"))
    started, executed = time.monotonic(), []
    for number, source in enumerate(sources, start=1):
        target, title = out_dir / source.name, f"[{number}/{len(sources)}] {source.stem}"
        accepted = papermill.inspect_notebook(source)
        passed = {name: value for name, value in parameters.items() if name in accepted}
        page, newest = target.with_suffix(".html"), max(code, source.stat().st_mtime)
        if target.is_file() and page.is_file() and target.stat().st_mtime > newest:
            if _parameters(target) == passed:
                print(f"{title}: up to date")
                executed.append(target)
                continue
        notebook_started = time.monotonic()
        with _progress_line(title):
            missing = _execute(source, target, passed)
        if missing:
            print(f"{title}: left out. {missing}", flush=True)
            for old in (target, page):
                old.unlink(missing_ok=True)
            continue
        executed.append(target)
        pages.to_html(target, page)
        print(f"{title}: done in {time.monotonic() - notebook_started:.0f} s", flush=True)
    count = "All" if len(executed) == len(sources) else f"{len(executed)} of {len(sources)}"
    print(f"\n{count} notebooks ready after {time.monotonic() - started:.0f} s.\n")
    print("Executed notebooks:")
    for target in executed:
        print(f"  {_relative(target)}, and .html")
    print(f"Figures:\n  {_relative(paths.figures_dir())}/index.html shows all (numbers in data/)")
    print(f"Runs:\n  {_relative(paths.runs_dir())}/\n\n{_results(out_dir)}")


def adopt(out_dir: Path):
    """Put the outputs of executed notebooks into the paired ones in notebooks/.

    Inputs come from notebooks/*.py: cell by cell they must be what was executed.

    Raises:
        RuntimeError: a source has changed since its notebook was executed.
    """
    for source in sorted(NOTEBOOKS.glob("0*.py")):
        executed = nbformat.read(out_dir / f"{source.stem}.ipynb", as_version=4).cells
        executed = [c for c in executed if "injected-parameters" not in c.metadata.get("tags", [])]
        paired = jupytext.read(source)
        if [c.source for c in paired.cells] != [c.source for c in executed]:
            raise RuntimeError(f"{source.name} is not what {out_dir} executed: run make notebooks.")
        counts = itertools.count(1)
        for number, (cell, done) in enumerate(zip(paired.cells, executed, strict=True)):
            cell["id"] = f"cell-{number:02d}"  # stable, so that diffs show changes only
            if cell.cell_type == "code":
                cell["execution_count"], cell["outputs"] = next(counts), done.outputs
                for output in cell["outputs"]:
                    if "execution_count" in output:
                        output["execution_count"] = cell["execution_count"]
        pages.add_images(paired)
        nbformat.validate(paired)
        nbformat.write(paired, source.with_suffix(".ipynb"))


def _parameters(notebook: Path) -> dict:
    """What papermill passed to an executed notebook."""
    metadata = nbformat.read(notebook, as_version=4).metadata
    return metadata.get("papermill", {}).get("parameters", {})


def _execute(source: Path, target: Path, parameters: dict) -> str:
    """Returns what labels are missing, in a line, where nothing but labels is."""
    partial = target.with_name(f"{target.stem}.failed.ipynb")
    try:
        quiet = {"progress_bar": False, "extra_arguments": ["--log-level=50"]}  # of the kernel
        papermill.execute_notebook(source, partial, parameters, cwd=NOTEBOOKS, **quiet)
    except papermill.PapermillExecutionError as error:
        if error.ename == MissingLabelsError.__name__:
            partial.unlink()
            return error.evalue.splitlines()[0]
        raise RuntimeError(
            f"{source.name} failed in cell {error.exec_count}: {error.ename}: {error.evalue}\n"
            f"What it had done is in {partial}."
        ) from None
    partial.replace(target)
    return ""


@contextlib.contextmanager
def _progress_line(title: str):
    """Print the progress line that the kernel leaves in a file."""
    stop = threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "progress"
        os.environ["PREDRECON_PROGRESS"] = str(file)
        thread = threading.Thread(target=_print_progress, args=(title, file, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            del os.environ["PREDRECON_PROGRESS"]
            stop.set()
            thread.join()


def _print_progress(title: str, file: Path, stop: threading.Event):
    """On a terminal one line, rewritten in place; in a log a line every 20 s."""
    terminal = sys.stdout.isatty()
    printed, last = "", 0.0
    while not stop.wait(0.5):
        line = file.read_text(encoding="utf-8") if file.is_file() else "starting"
        if line != printed and time.monotonic() - last >= (1.0 if terminal else 20.0):
            printed, last = line, time.monotonic()
            text = f"{title}: {line}"
            if terminal:
                text = f"\r\x1b[2K{text}"[: os.get_terminal_size().columns + 4]
            print(text, end="" if terminal else "\n", flush=True)
    if terminal:
        print("\r\x1b[2K", end="")


def _results(out_dir: Path) -> str:
    """hybrid | MLM | published, from the numbers that notebooks 04 and 05 exported."""
    sources = [out_dir / f"{name}.ipynb" for name in ("04_glue_probing", "05_geometry")]
    if not all(map(Path.is_file, sources)):
        return "No table: it takes the notebooks 04 and 05."
    passed = _parameters(out_dir / "05_geometry.ipynb")
    names = {"preset", "corpus", "max_steps"} & set(passed)
    recipe = recipes.get(**{name: passed[name] for name in names})
    data = paths.figures_dir() / "data" / labels.tag(recipe, seed=0)
    files = [data / f"{name}.csv" for name in ("04_probes", "05_metrics")]
    if missing := [_relative(file) for file in files if not file.is_file()]:
        return f"No table: {missing[0]} is gone. `rm -r {_relative(out_dir)}` makes all anew."
    return tables.summary(*map(pd.read_csv, files))


def _relative(path: Path) -> Path:
    """To the working folder, for what lies in it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
