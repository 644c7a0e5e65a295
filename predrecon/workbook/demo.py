"""Run the notebooks headless, one after another, and print the results (`make demo`)."""

import contextlib
import itertools
import os
import sys
import threading
import time
from pathlib import Path

import jupytext
import nbformat
import pandas as pd
import papermill
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from jupyter_core.paths import jupyter_runtime_dir

from predrecon import recipes
from predrecon.data import paths
from predrecon.data.files import make_writable
from predrecon.data.progress import one_line
from predrecon.data.tasks import MissingLabelsError
from predrecon.workbook import labels, pages, tables

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def run(out_dir: Path, parameters: dict):
    """Execute every notebook into `out_dir`, export HTML, print the places and the results.

    A notebook whose output is newer than its source and the module is not run again, unless
    `parameters` differ from those of that run. If one fails, the others still run; one that needs
    missing labels is left out, and a line says so.

    Raises:
        RuntimeError: notebooks failed; their partial output is kept as `<name>.failed.ipynb`.
        PermissionError: a needed folder cannot be written to; says what to set.
    """
    for variable in paths.VARIABLES:  # the notebooks run in another folder
        if os.environ.get(variable):
            os.environ[variable] = str(Path(os.environ[variable]).expanduser().resolve())
    for name in ("corpus", "tokenizer", "data_dir"):
        if name in parameters and Path(parameters[name]).expanduser().exists():
            parameters = parameters | {name: str(Path(parameters[name]).expanduser().resolve())}
    make_writable(out_dir, "Name another with --out.")
    for folder in (paths.cache_dir, paths.runs_dir, paths.figures_dir):
        folder(write=True)
    _give_jupyter_a_home()
    sources = sorted(NOTEBOOKS.glob("0*.ipynb"), key=lambda f: (f.stem.startswith("00"), f.stem))
    if not sources:
        raise FileNotFoundError(f"No notebooks in {NOTEBOOKS}: run this from a checkout.")
    started, failures = time.monotonic(), []
    for number, source in enumerate(sources, start=1):
        title = f"[{number}/{len(sources)}] {source.stem}"
        notebook_started = time.monotonic()
        try:
            state = _run_one(source, out_dir / source.name, parameters, title)
        except Exception as error:
            failures.append(f"{error}")
            print(f"{title}: failed ({one_line(error)})", flush=True)
        else:
            state = state or f"done in {time.monotonic() - notebook_started:.0f} s"
            print(f"{title}: {state}", flush=True)
    ready = [file for file in (out_dir / source.name for source in sources) if file.is_file()]
    count = "All" if len(ready) == len(sources) else f"{len(ready)} of {len(sources)}"
    print(f"\n{count} notebooks ready after {time.monotonic() - started:.0f} s.")
    folders = [_relative(folder) for folder in (out_dir, paths.figures_dir(), paths.runs_dir())]
    print("Pages {}/*.html, figures {}/index.html, trained runs {}/".format(*folders))
    print(f"Start with {folders[0]}/00_paper_map.html; for the explorers: make lab\n")
    print(_results(out_dir))
    if failures:
        raise RuntimeError("\n".join(failures))


def _run_one(source: Path, target: Path, parameters: dict, title: str) -> str:
    """Execute a notebook and write its page; returns a message if anything was skipped."""
    accepted = papermill.inspect_notebook(source)
    passed = {name: value for name, value in parameters.items() if name in accepted}
    code = max(file.stat().st_mtime for file in Path(__file__).parents[1].rglob("*.py"))
    newest, page = max(code, source.stat().st_mtime), target.with_suffix(".html")
    current = target.is_file() and target.stat().st_mtime > newest and _parameters(target) == passed
    if not current:
        with _progress_line(title, target.with_name(".progress")):
            missing = _execute(source, target, passed)
        if missing:
            for old in (target, page):
                old.unlink(missing_ok=True)
            return f"left out. {missing}"
    elif page.is_file() and page.stat().st_mtime >= target.stat().st_mtime:
        return "up to date"
    try:
        pages.to_html(target, page)
    except Exception as error:
        page.unlink(missing_ok=True)  # the page of an older run
        return f"done, without {page.name} ({one_line(error)})"
    return ""


def _give_jupyter_a_home():
    """A home folder in the cache, if there is none: kernels keep connections and history there.

    A home folder that is read-only stays the home, for the hub's cache.
    """
    home = paths.cache_dir() / "home"
    try:
        make_writable(Path(jupyter_runtime_dir()), "")
    except RuntimeError:
        os.environ["HOME"] = str(make_writable(home, "Set HOME."))
    except PermissionError:
        os.environ |= {"JUPYTER_RUNTIME_DIR": str(home / "runtime"), "IPYTHONDIR": str(home)}


def adopt(out_dir: Path):
    """Put the outputs of executed notebooks into the paired ones in notebooks/.

    Inputs come from notebooks/*.py; every cell must be the one that was executed.

    Raises:
        RuntimeError: a source has changed since its notebook was executed.
    """
    for source in sorted(NOTEBOOKS.glob("0*.py")):
        executed = nbformat.read(out_dir / f"{source.stem}.ipynb", as_version=4).cells
        executed = [c for c in executed if "injected-parameters" not in c.metadata.get("tags", [])]
        paired = jupytext.read(source)
        if [c.source for c in paired.cells] != [c.source for c in executed]:
            raise RuntimeError(f"{source.name} changed since {out_dir} ran it: run make notebooks.")
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
    """What papermill passed to an executed notebook; empty if the file is damaged."""
    try:
        metadata = nbformat.read(notebook, as_version=4).metadata
    except (ValueError, nbformat.reader.NotJSONError, nbformat.ValidationError):
        return {}
    return metadata.get("papermill", {}).get("parameters", {})


def _execute(source: Path, target: Path, parameters: dict) -> str:
    """Returns a line that names the missing labels, if only labels are missing."""
    partial = target.with_name(f"{target.stem}.failed.ipynb")
    try:
        options = {"progress_bar": False, "extra_arguments": ["--log-level=50"]}  # of the kernel
        options |= {"kernel_manager_class": OwnPython, "cwd": NOTEBOOKS}
        papermill.execute_notebook(source, partial, parameters, **options)
    except papermill.PapermillExecutionError as error:
        if error.ename == MissingLabelsError.__name__:
            partial.unlink()
            return error.evalue.splitlines()[0]
        raise RuntimeError(
            f"{source.name} failed in cell {error.exec_count}: {error.ename}: {error.evalue}\n"
            f"Its output so far is in {partial}."
        ) from None
    partial.replace(target)
    return ""


class OwnPython(AsyncKernelManager):
    """Kernels with this Python and this package, whatever kernel specs say."""

    @property
    def kernel_spec(self) -> KernelSpec:
        known = os.environ.get("PYTHONPATH", "")
        here = os.pathsep.join(filter(None, [str(Path(__file__).resolve().parents[2]), known]))
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        options = {"display_name": "Python 3", "language": "python", "env": {"PYTHONPATH": here}}
        return KernelSpec(argv=command, **options)


@contextlib.contextmanager
def _progress_line(title: str, file: Path):
    """Print the progress line that the kernel leaves in a file."""
    stop = threading.Event()
    file.unlink(missing_ok=True)
    os.environ["PREDRECON_PROGRESS"] = str(file)
    thread = threading.Thread(target=_print_progress, args=(title, file, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.environ.pop("PREDRECON_PROGRESS", None)
        stop.set()
        thread.join()
        file.unlink(missing_ok=True)


def _print_progress(title: str, file: Path, stop: threading.Event):
    """On a terminal: one line, rewritten in place. In a log: a line every 20 s."""
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
    """Both arms in four numbers, from the tables that notebook 06 exported."""
    source = out_dir / "06_why.ipynb"
    if not source.is_file():
        return "No table: it needs notebook 06."
    passed = _parameters(source)
    names = {"preset", "corpus", "max_steps"} & set(passed)
    recipe = recipes.get(**{name: passed[name] for name in names})
    file = paths.figures_dir() / "data" / labels.tag(recipe, seed=0) / "06_ends.csv"
    if not file.is_file():
        return f"No table: {_relative(file)} is missing. To rebuild: rm -r {_relative(out_dir)}"
    try:
        return tables.summary(pd.read_csv(file))
    except Exception as error:  # a file of another version, or a truncated one
        return f"No table: {one_line(error)}"


def _relative(path: Path) -> Path:
    """Relative to the working folder, if inside it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
