"""Machines as they are: launchers, missing homes, folders that cannot be written, old terminals."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numba
import numpy as np
import psutil
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from safetensors.torch import load_file

import predrecon
from predrecon import recipes
from predrecon.audit import cache, projections
from predrecon.data import embedded_text, paths
from predrecon.data.corpus import load_corpus
from predrecon.data.progress import Progress
from predrecon.training import machine
from predrecon.training.loop import ensure, pretrain
from predrecon.workbook import demo, figures
from predrecon.workbook.figures import gallery

SMALL = recipes.get("smoke", arm="mlm", max_steps=3, validation_blocks=4, precision="fp32")
NOWHERE = "/dev/null/nowhere"  # not even root can write there
ROOT = Path(predrecon.__file__).parents[1]


@pytest.fixture
def launched(monkeypatch):
    """Resets Accelerate's state in this process; `launched(NAME=value)` imitates a launcher."""

    def reset():
        AcceleratorState._reset_state(True)
        GradientState._reset_state()

    def launch(**environment):
        reset()
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    yield launch
    reset()


@pytest.fixture(scope="module")
def plain(corpus, tmp_path_factory):
    return load_file(
        pretrain(SMALL, corpus, tmp_path_factory.mktemp("run")).folder / "model.safetensors"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MIXED_PRECISION", "bf16"),
        ("MIXED_PRECISION", "fp16"),
        ("GRADIENT_ACCUMULATION_STEPS", "4"),
        ("DYNAMO_BACKEND", "EAGER"),
    ],
)
def test_the_recipe_decides_whatever_a_launcher_says(
    corpus, plain, tmp_path, launched, name, value
):
    launched(**{f"ACCELERATE_{name}": value})
    run = pretrain(SMALL, corpus, tmp_path)
    weights = load_file(run.folder / "model.safetensors")
    assert all(torch.equal(weights[key], plain[key]) for key in plain | weights)
    facts = json.loads((tmp_path / "environment.json").read_text())
    assert (facts["precision"], facts["compiled"]) == ("fp32", False)


@pytest.mark.parametrize("plugin", ["DEEPSPEED", "FSDP", "MEGATRON_LM", "PARALLELISM_CONFIG"])
def test_what_cannot_be_overruled_is_refused(corpus, tmp_path, launched, plugin):
    launched(**{f"ACCELERATE_USE_{plugin}": "true"})
    with pytest.raises(ValueError, match=rf"{plugin} is set: launch with .*--shard"):
        pretrain(SMALL, corpus, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("before", "message"),
    [
        (lambda: Accelerator(cpu=True, mixed_precision="bf16"), "mixed_precision='no'"),
        (lambda: Accelerator(cpu=True, dynamo_backend="eager"), "Another Accelerator"),
        (lambda: torch.set_default_dtype(torch.float64), "default type is torch.float64"),
    ],
)
def test_settings_of_this_process_are_refused_too(corpus, tmp_path, launched, before, message):
    launched()
    try:
        before()
        with pytest.raises(ValueError, match=message):
            pretrain(SMALL, corpus, tmp_path / "run")
    finally:
        torch.set_default_dtype(torch.float32)
    assert not (tmp_path / "run").exists()


@pytest.fixture
def homeless(monkeypatch):
    """No HOME, and a uid without a name."""
    import pwd

    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", "XDG_CACHE_HOME", "PREDRECON_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_without_a_home_the_variable_is_used_or_asked_for(homeless, monkeypatch, tmp_path):
    with pytest.raises(RuntimeError, match=r"no home folder\. Set PREDRECON_CACHE"):
        paths.cache_dir()
    with pytest.raises(RuntimeError, match="Set PREDRECON_RUNS"):
        monkeypatch.setenv("PREDRECON_RUNS", "~/runs")
        paths.runs_dir()
    with monkeypatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert paths.cache_dir() == tmp_path / "predrecon"
    monkeypatch.setenv("PREDRECON_CACHE", str(tmp_path / "cache"))
    assert paths.cache_dir(write=True).is_dir() and paths.figures_dir()


def test_a_demo_gives_jupyter_a_home(homeless, monkeypatch, tmp_path):
    monkeypatch.setenv("PREDRECON_CACHE", str(tmp_path))
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        monkeypatch.delenv(name, raising=False)
    with monkeypatch.context() as patch:
        patch.setenv("HOME", NOWHERE)  # read, not written
        patch.setenv("JUPYTER_RUNTIME_DIR", "")
        patch.setenv("IPYTHONDIR", "")
        demo._give_jupyter_a_home()
        assert os.environ["HOME"] == NOWHERE
        assert os.environ["JUPYTER_RUNTIME_DIR"].startswith(str(tmp_path))
    monkeypatch.setenv("HOME", "")
    monkeypatch.delenv("HOME")
    demo._give_jupyter_a_home()
    assert Path(os.environ["HOME"]) == tmp_path / "home" and Path.home().is_dir()


def measure():
    return cache.cached("some", ("key",), lambda: pytest.fail("measured, and nowhere to keep it"))


@pytest.mark.parametrize(
    ("variable", "work"),
    [
        ("PREDRECON_CACHE", measure),
        ("PREDRECON_CACHE", load_corpus),
        ("PREDRECON_CACHE", embedded_text.documents),
        ("PREDRECON_RUNS", lambda: ensure(SMALL, load_corpus())),
        ("PREDRECON_FIGURES", lambda: figures.Gallery("tag").keep("name", None)),
    ],
)
def test_a_folder_that_cannot_be_written_is_named_with_its_variable(monkeypatch, variable, work):
    monkeypatch.setenv(variable, NOWHERE)
    with pytest.raises(PermissionError, match=rf"{NOWHERE}: cannot be written .*Set {variable} "):
        work()


def test_a_finished_run_opens_where_nothing_can_be_written(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("PREDRECON_RUNS", str(tmp_path))
    run = ensure(SMALL, corpus)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr("predrecon.data.paths.make_writable", lambda *_: pytest.fail("written"))
    monkeypatch.setattr("predrecon.training.loop.FileLock", lambda *_: pytest.fail("locked"))
    assert ensure(SMALL, corpus).folder == run.folder and sorted(tmp_path.rglob("*")) == before


def test_a_progress_file_that_cannot_be_written_ends_nothing(monkeypatch, capsys):
    monkeypatch.setenv("PREDRECON_PROGRESS", f"{NOWHERE}/progress")
    for _ in range(2):
        with Progress("work", 2, "steps") as bar:
            bar.update(2)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines if "Not watched" in line] == ["Not watched"]
    assert sum("work · 100% · 2/2 steps" in line for line in lines) == 2


def test_a_log_gets_a_line_a_minute_and_the_last(monkeypatch, capsys):
    now = 0.0
    monkeypatch.setattr("predrecon.data.progress.time.monotonic", lambda: now)
    logged = {}
    with Progress("work", 200, "steps") as bar:
        for done in range(200):
            now = float(done)
            bar.update(done)
            if line := capsys.readouterr().err:
                logged[done] = line
    assert list(logged) == [60, 120, 180] and "60/200 steps · 2:20 left\n" in logged[60]
    assert capsys.readouterr().err.endswith("done in 3:19\n")


def test_numba_keeps_its_code_where_that_can_be(monkeypatch, tmp_path):
    monkeypatch.setenv("PREDRECON_CACHE", str(tmp_path))
    monkeypatch.setenv("NUMBA_CACHE_DIR", NOWHERE)
    try:
        projections._give_numba_a_folder()
        assert numba.config.CACHE_DIR == os.environ["NUMBA_CACHE_DIR"] == str(tmp_path / "numba")
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "mine"))
        projections._give_numba_a_folder()
        assert os.environ["NUMBA_CACHE_DIR"] == str(tmp_path / "mine")
    finally:
        monkeypatch.undo()
        numba.config.reload_config()


def test_a_map_that_fails_leaves_the_other(monkeypatch, capsys):
    place = projections.place

    def fail(z, method, **options):
        if method == "UMAP":
            raise RuntimeError("cannot cache function\nno locator")
        return place(z, method, **options)

    monkeypatch.setattr(projections, "place", fail)
    z = np.random.default_rng(0).normal(size=(20, 4))
    points = projections.points({"mlm": z, "hybrid": z}, ["x"] * 20, ["t"] * 20)
    assert set(points["method"]) == {"PCA"} and len(points) == 40
    assert capsys.readouterr().out == "No UMAP: cannot cache function\n"
    assert len(figures.embedding_map(points, "a map").data) == 2
    with pytest.raises(ValueError, match="min"):
        projections.points({"mlm": z[:0]}, [], [])


@pytest.mark.parametrize("missing", ["compiler", "headers"])
def test_nothing_is_compiled_where_nothing_can_be(monkeypatch, capsys, missing):
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    monkeypatch.setattr(machine.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(machine.sysconfig, "get_path", lambda name: "/include")
    monkeypatch.setattr(Path, "is_file", lambda self: True)
    assert machine.compiles(None, gpu) and machine.compiles(True, cpu)
    if missing == "compiler":
        monkeypatch.setattr(machine.shutil, "which", lambda name: None)
        monkeypatch.setenv("CC", "/no/such/cc")
    else:
        monkeypatch.setattr(Path, "is_file", lambda self: False)
    assert not machine.compiles(None, gpu) and not machine.compiles(None, cpu)
    assert not machine.compiles(False, gpu)
    lines = capsys.readouterr().out.splitlines()
    assert (
        len(lines) == 1 and f"no {'C compiler' if missing == 'compiler' else 'headers'}" in lines[0]
    )
    with pytest.raises(RuntimeError, match=r"compile=True: no .*Install it"):
        machine.compiles(True, cpu)


def run_command(*arguments, **environment):
    environment = {k: v for k, v in {**os.environ, **environment}.items() if v is not None}
    command = [sys.executable, "-m", "predrecon", *arguments]
    options = dict(capture_output=True, timeout=300, env=environment)
    return subprocess.run(command, **options)


@pytest.mark.slow
def test_a_command_finishes_in_locale_c(corpus, tmp_path):
    """What it prints cannot be encoded there."""
    facts = dict(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="ascii")
    facts |= dict(PYTHONPATH=str(ROOT), PREDRECON_CACHE=str(paths.cache_dir()))
    more = ["--max-steps", "2", "--validation-blocks", "4", "--out", str(tmp_path / "run")]
    done = run_command("pretrain", "--preset", "smoke", *more, **facts)
    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "run" / "metrics.json").is_file()
    assert b"\\xb7" in done.stdout + done.stderr and done.stdout.isascii()


@pytest.mark.slow
def test_a_notebook_runs_in_this_python_whatever_kernel_specs_say(tmp_path, monkeypatch):
    spec = {"argv": ["/bin/false", "{connection_file}"], "display_name": "x", "language": "python"}
    folder = tmp_path / "kernels" / "python3"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    code = "import sys, predrecon\nprint(sys.executable, predrecon.__file__, value)"
    cells = [
        nbformat.v4.new_code_cell("value = 1", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(code),
    ]
    for number, name in enumerate(("python3", "no-such-kernel", "julia-1.9")):
        made = nbformat.v4.new_notebook(cells=cells)
        made.metadata["kernelspec"] = {"name": name, "display_name": "x", "language": "python"}
        nbformat.write(made, tmp_path / "some.ipynb")
        demo._execute(tmp_path / "some.ipynb", tmp_path / "out.ipynb", {"value": number})
        (output,) = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[-1].outputs
        assert output.text.split() == [sys.executable, predrecon.__file__, str(number)]


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """A gallery of one figure."""
    monkeypatch.setenv("PREDRECON_FIGURES", str(tmp_path / "figures"))
    monkeypatch.setattr(gallery, "show", lambda fig: None)
    shown = figures.Gallery("tag")
    points = projections.points({"mlm": np.eye(9)}, ["x"] * 9, ["t"] * 9)
    shown.show("one", figures.embedding_map(points, "a map"), points)
    return shown


def lives(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("script", ["exec sleep 600", "sleep 600 & wait", "echo hello; sleep 600"])
def test_a_browser_that_hangs_is_given_up_in_one_line(shown, tmp_path, monkeypatch, script):
    browser, pids = tmp_path / "browser", tmp_path / "pids"
    browser.write_text(f"#!/bin/sh\necho $$ >> {pids}\n{script}\n")
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER_PATH", str(browser))
    monkeypatch.setattr(gallery, "PATIENCE", 30)
    started = time.monotonic()
    line = shown.export()
    assert time.monotonic() - started < 90
    assert line.endswith("no PNG: the browser did not answer for 30 s") and "\n" not in line
    assert line.startswith("1 figures as HTML and CSV")
    assert not [pid for pid in map(int, pids.read_text().split()) if lives(pid)]
    files = {file.name for file in (tmp_path / "figures").rglob("*") if file.is_file()}
    assert files == {"one.html", "one.csv", "index.html", "plotly.min.js"}


def test_numbers_are_on_disk_before_anything_is_exported(shown, tmp_path):
    assert (tmp_path / "figures" / "data" / "tag" / "one.csv").is_file()


@pytest.mark.parametrize("fault", ["a figure", "the folder", "the index", "no temporary folder"])
def test_an_export_that_fails_is_one_line(shown, tmp_path, monkeypatch, fault):
    if fault == "no temporary folder":
        monkeypatch.setattr(gallery.tempfile, "tempdir", NOWHERE)
    else:
        monkeypatch.setattr(gallery, "write_images", lambda *_, **__: "")
    if fault == "a figure":
        shown.entries["bad"] = (object(), shown.entries["one"][1])
    if fault == "the folder":
        monkeypatch.setenv("PREDRECON_FIGURES", NOWHERE)
    if fault == "the index":
        (tmp_path / "figures" / "index.html").mkdir(parents=True)
    line = shown.export()
    assert "\n" not in line
    if fault == "the folder":
        assert line.startswith("No figures exported: ") and "Set PREDRECON_FIGURES" in line
        return
    named = {"a figure": "bad (", "the index": "index.html (", "no temporary folder": "no PNG: "}
    assert line.startswith("1 figures as") and named[fault] in line
    assert (tmp_path / "figures" / "tag" / "one.html").is_file()
