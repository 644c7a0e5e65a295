"""Run the notebooks headless, one after another, and say what came out (`make demo`)."""

import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import pandas as pd

from predrecon import recipes
from predrecon.data import paths
from predrecon.workbook import labels, pages, stills, tables

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def run(out_dir: Path, parameters: dict):
    """Execute every notebook into `out_dir`, export HTML, print places and the table.

    A notebook whose output is newer than its source and the module is not run again, unless
    `parameters` differ from those it was run with.

    Raises:
        RuntimeError: a notebook failed; its partial output is kept as `<name>.failed.ipynb`.
    """
    import papermill

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
    begun = time.monotonic()
    for number, source in enumerate(sources, start=1):
        target = out_dir / source.name
        head = f"[{number}/{len(sources)}] {source.stem}"
        known = papermill.inspect_notebook(source)
        own = {name: value for name, value in parameters.items() if name in known}
        if _fresh(target, max(code, source.stat().st_mtime), own):
            print(f"{head}: up to date")
            continue
        spent = _execute(source, target, own, head)
        pages.to_html(target, target.with_suffix(".html"))
        print(f"{head}: done in {spent:.0f} s", flush=True)
    print(f"\nAll notebooks ready after {time.monotonic() - begun:.0f} s.\n")
    print(_places(out_dir, sources))
    print(_table(out_dir))


def _fresh(target: Path, newest: float, parameters: dict) -> bool:
    if not target.is_file() or not target.with_suffix(".html").is_file():
        return False
    asked = _metadata(target).get("parameters", {})
    return target.stat().st_mtime > newest and asked == parameters


def _metadata(notebook: Path) -> dict:
    import nbformat

    return nbformat.read(notebook, as_version=4).metadata.get("papermill", {})


def _execute(source: Path, target: Path, parameters: dict, head: str) -> float:
    import papermill

    begun = time.monotonic()
    part = target.with_name(f"{target.stem}.failed.ipynb")
    with _watch_progress(head):
        try:
            papermill.execute_notebook(
                source,
                part,
                parameters=parameters,
                progress_bar=False,
                cwd=NOTEBOOKS,
                extra_arguments=["--log-level=50"],  # of the kernel: no chatter on the terminal
            )
        except papermill.PapermillExecutionError as error:
            raise RuntimeError(
                f"{source.name} failed in cell {error.exec_count}: {error.ename}: {error.evalue}\n"
                f"What it had done is in {part}."
            ) from None
    part.replace(target)
    return time.monotonic() - begun


class _watch_progress:  # noqa: N801
    """Prints the progress line that the kernel leaves in a file: one line, rewritten in place."""

    def __init__(self, head: str):
        self.head, self.stop = head, threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.file = Path(self.folder.name) / "progress"
        os.environ["PREDRECON_PROGRESS"] = str(self.file)
        self.thread.start()

    def __exit__(self, *_):
        os.environ.pop("PREDRECON_PROGRESS")
        self.stop.set()
        self.thread.join()
        self.folder.cleanup()
        if sys.stdout.isatty():
            print("\r\x1b[2K", end="")

    def _watch(self):
        shown, last = "", 0.0
        pause = 1.0 if sys.stdout.isatty() else 20.0  # a log gets a line every 20 s
        while not self.stop.wait(0.5):
            line = self.file.read_text(encoding="utf-8") if self.file.is_file() else "starting"
            if line != shown and time.monotonic() - last >= pause:
                shown, last = line, time.monotonic()
                if sys.stdout.isatty():
                    width = os.get_terminal_size().columns
                    print(f"\r\x1b[2K{self.head}: {line}"[: width + 4], end="", flush=True)
                else:
                    print(f"{self.head}: {line}", flush=True)


def _places(out_dir: Path, sources: list[Path]) -> str:
    rows = [f"  {_here(out_dir / s.name)}, and .html" for s in sources]
    figures = f"  {_here(paths.figures_dir())}/index.html shows all (numbers in data/)"
    return "\n".join(["Executed notebooks:", *rows, "Figures:", figures, "Runs:",
                      f"  {_here(paths.runs_dir())}/", ""])  # fmt: skip


def _here(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _table(out_dir: Path) -> str:
    """hybrid | MLM | published, from the numbers that notebooks 04 and 05 exported."""
    given = _metadata(out_dir / "05_geometry.ipynb").get("parameters", {})
    recipe = recipes.get(**{k: given[k] for k in ("preset", "corpus", "max_steps") if k in given})
    data = paths.figures_dir() / "data" / labels.tag(recipe, seed=0)
    files = [data / f"{name}.csv" for name in ("04_probes", "05_metrics")]
    if missing := [f for f in files if not f.is_file()]:
        return f"No table: {_here(missing[0])} is gone. `rm -r {_here(out_dir)}` makes all anew."
    return tables.summary(*map(pd.read_csv, files))


def adopt(out_dir: Path):
    """Put the outputs of executed notebooks into the paired ones in notebooks/.

    Inputs come from notebooks/*.py, so that source and notebook stay paired; cell by cell they
    must be what was executed. Figures get a PNG beside them, for hosts that run no scripts.

    Raises:
        RuntimeError: a source has changed since its notebook was executed.
    """
    import jupytext
    import nbformat

    for source in sorted(NOTEBOOKS.glob("0*.py")):
        executed = nbformat.read(out_dir / f"{source.stem}.ipynb", as_version=4)
        ran = [c for c in executed.cells if "injected-parameters" not in c.metadata.get("tags", [])]
        paired = jupytext.read(source)
        if [c.source for c in paired.cells] != [c.source for c in ran]:
            raise RuntimeError(f"{source.name} is not what {out_dir} executed: run make notebooks.")
        count = 0
        for number, (cell, done) in enumerate(zip(paired.cells, ran, strict=True)):
            cell["id"] = f"cell-{number:02d}"  # stable, so that diffs show changes only
            if cell.cell_type == "code":
                count += 1
                cell["execution_count"], cell["outputs"] = count, done.outputs
                for output in cell["outputs"]:
                    if "execution_count" in output:
                        output["execution_count"] = count
        stills.add_images(paired)
        nbformat.validate(paired)
        nbformat.write(paired, source.with_suffix(".ipynb"))
