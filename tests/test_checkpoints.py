"""What happens to a run when its process, its disk or its files fail."""

import dataclasses
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from predrecon import recipes
from predrecon.training import checkpoints, run_folder
from predrecon.training.checkpoints import CheckpointWarning
from predrecon.training.loop import pretrain
from predrecon.training.machine import Interrupted

pytestmark = pytest.mark.slow

SMOKE = recipes.get("smoke", max_steps=40, checkpoint_every=3, validation_blocks=4)
COMMAND = [
    sys.executable, "-m", "predrecon", "pretrain", "--preset", "smoke", "--max-steps", "40",
    "--checkpoint-every", "3", "--validation-blocks", "4",
]  # fmt: skip
CLOCKS = ["tokens_per_s", "seconds"]


def weights(folder):
    return load_file(folder / "model.safetensors")


def assert_same(one, other):
    """Weights and history bit for bit, but for the clock."""
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    histories = [pd.read_csv(f / "history.csv").drop(columns=CLOCKS) for f in (one, other)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory):
    return pretrain(SMOKE, corpus, tmp_path_factory.mktemp("finished"), seed=0).folder


@pytest.fixture
def interrupted(corpus, tmp_path):
    """A run that stopped at step 10, with checkpoints of steps 9 and 10."""
    pretrain(SMOKE, corpus, tmp_path, seed=0, stop_after=10)
    return tmp_path


def start(out):
    return subprocess.Popen(
        [*COMMAND, "--out", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )  # fmt: skip


def wait_for_step(out, step, process, limit=90):
    """Until history.csv holds a step (or the process ends)."""
    started = time.monotonic()
    file = out / "history.csv"
    while process.poll() is None and time.monotonic() - started < limit:
        if file.is_file() and f"\n{step}," in file.read_text():
            return
        time.sleep(0.005)


def test_killed_at_any_moment_it_ends_with_the_same_weights(corpus, finished, tmp_path):
    """SIGKILL, some while a checkpoint is written. `KILLS=20` for the long version."""
    draw, kills = random.Random(0), int(os.environ.get("KILLS", 2))
    out = tmp_path / "run"
    for number in range(kills):
        process = start(out)
        wait_for_step(out, 3 + 35 * number // kills, process)
        time.sleep(draw.random() * 0.05)
        process.kill()
        process.communicate()
        for folder in checkpoints.folders(out):
            assert checkpoints.damage(folder) == "", "what has its name is whole"
    process = start(out)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert_same(out, finished)
    assert not list((out / "checkpoints").glob(".*")), "nothing half-written is left"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_writes_a_checkpoint_and_says_how_to_go_on(
    corpus, finished, tmp_path, number
):
    out = tmp_path / "run"
    process = start(out)
    wait_for_step(out, 2, process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert f"Stopped by {number.name} at step" in output and "continues from there" in output
    newest = checkpoints.folders(out)[-1]
    last = pd.read_csv(out / "history.csv")["step"].max()
    assert checkpoints.step_of(newest) == last and checkpoints.damage(newest) == ""
    if number == signal.SIGTERM:
        process = start(out)
        output, _ = process.communicate(timeout=120)
        assert f"Continuing from run/checkpoints/{newest.name}." in output
        assert_same(out, finished)


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGE = {
    "truncated": lambda f: f.write_bytes(f.read_bytes()[:-7]),
    "flipped": flip,
    "empty": lambda f: f.write_bytes(b""),
    "missing": lambda f: f.unlink(),
}


@pytest.mark.parametrize("file", [checkpoints.WEIGHTS, checkpoints.MOMENTS, checkpoints.FACTS])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_passed_over_by_name(corpus, finished, interrupted, file, damage):
    newest = checkpoints.folders(interrupted)[-1]
    DAMAGE[damage](newest / file)
    with pytest.warns(CheckpointWarning, match=newest.name):
        pretrain(SMOKE, corpus, interrupted, seed=0)
    assert_same(interrupted, finished)


def test_no_flipped_bit_of_the_facts_goes_unseen(interrupted):
    newest = checkpoints.folders(interrupted)[-1]
    file = newest / checkpoints.FACTS
    content, facts = file.read_bytes(), checkpoints.read_facts(newest)
    for bit in range(0, 8 * len(content), 13):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        try:
            same = checkpoints.read_facts(newest) == facts  # a flipped blank changes nothing
        except ValueError:
            same = False
        assert same or checkpoints.damage(newest), bit


def test_damaged_later_ones_do_not_push_out_what_is_written_now(corpus, interrupted):
    once = dataclasses.replace(SMOKE, keep_last=1)
    flip(checkpoints.folders(interrupted)[-1] / checkpoints.WEIGHTS)  # step 10
    flip(checkpoints.folders(interrupted)[0] / checkpoints.WEIGHTS)  # step 9
    with pytest.warns(CheckpointWarning):
        pretrain(once, corpus, interrupted, seed=0, stop_after=5, may_differ=("keep_last",))
    newest = [f for f in checkpoints.folders(interrupted) if not checkpoints.damage(f)]
    assert [checkpoints.step_of(f) for f in newest] == [5]


def test_a_folder_of_another_name_is_not_a_checkpoint(corpus, finished, interrupted):
    checkpoint = checkpoints.folders(interrupted)[0]
    shutil.copytree(checkpoint, checkpoint.with_name("step-00000009-backup"))
    pretrain(SMOKE, corpus, interrupted, seed=0)
    assert_same(interrupted, finished)


@pytest.mark.parametrize("left", [None, ""])
def test_without_its_recipe_a_run_is_known_by_its_checkpoint(corpus, finished, interrupted, left):
    (interrupted / "recipe.json").unlink()
    if left is not None:
        (interrupted / "recipe.json").write_text(left)
    with pytest.raises(ValueError, match=r"lr: 0.001 there, 0.5 requested"):
        pretrain(dataclasses.replace(SMOKE, lr=0.5), corpus, interrupted, seed=0)
    pretrain(SMOKE, corpus, interrupted, seed=0)
    assert_same(interrupted, finished)


def test_a_lost_history_is_said(corpus, interrupted):
    (interrupted / "history.csv").unlink()
    with pytest.warns(UserWarning, match="missing or empty: it starts again at step 10"):
        pretrain(SMOKE, corpus, interrupted, seed=0)


def test_a_field_that_may_differ_is_written_down(corpus, interrupted):
    changed = dataclasses.replace(SMOKE, precision="fp32", keep_last=5)
    with pytest.raises(ValueError, match="--may-differ"):
        pretrain(changed, corpus, interrupted, seed=0)
    run = pretrain(changed, corpus, interrupted, seed=0, may_differ=("precision", "keep_last"))
    assert (run.recipe.precision, run.recipe.keep_last) == ("fp32", 5)


def test_all_checkpoints_damaged_is_a_fresh_start(corpus, finished, interrupted):
    for folder in checkpoints.folders(interrupted):
        flip(folder / checkpoints.WEIGHTS)
    with pytest.warns(CheckpointWarning):
        pretrain(SMOKE, corpus, interrupted, seed=0)
    assert_same(interrupted, finished)


def test_a_history_with_half_a_line(corpus, finished, interrupted):
    file = interrupted / "history.csv"
    file.write_text(file.read_text() + "11,4224,3.0")
    pretrain(SMOKE, corpus, interrupted, seed=0)
    assert_same(interrupted, finished)


def test_a_full_disk_leaves_the_last_checkpoint_and_says_what_is_needed(
    corpus, finished, interrupted, monkeypatch
):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "save_file", full)
        with pytest.raises(
            OSError, match=r"step 12 .*No space left.* needs \d.* MB.*step-00000010"
        ):
            pretrain(SMOKE, corpus, interrupted, seed=0)
    names = [f.name for f in checkpoints.folders(interrupted)]
    assert names == ["step-00000009", "step-00000010"]
    assert [p.name for p in (interrupted / "checkpoints").iterdir() if p.name not in names] == []
    pretrain(SMOKE, corpus, interrupted, seed=0)
    assert_same(interrupted, finished)


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no file-size limits here")
def test_a_real_limit_on_file_size(corpus, interrupted):
    """The operating system, not a patch, refuses the write."""
    limit = "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); " \
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); " \
        "from predrecon.__main__ import main; sys.exit(main(sys.argv[1:]))"  # fmt: skip
    command = [sys.executable, "-c", limit, *COMMAND[3:], "--out", str(interrupted)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert done.returncode == 1
    assert "could not be written" in done.stderr and "step-00000010" in done.stderr
    assert all(checkpoints.damage(f) == "" for f in checkpoints.folders(interrupted))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused_before_training(corpus, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="cannot be written to"):
        pretrain(SMOKE, corpus, tmp_path, seed=0)


def test_a_folder_that_cannot_be_made_is_refused_before_training(corpus, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PermissionError, match="cannot be written to"):
        pretrain(SMOKE, corpus, tmp_path / "file" / "run", seed=0)


def test_two_processes_in_one_folder(corpus, tmp_path):
    with run_folder.lock(tmp_path):
        with pytest.raises(RuntimeError, match="Another process is training in"):
            pretrain(SMOKE, corpus, tmp_path, seed=0)
    pretrain(SMOKE, corpus, tmp_path, seed=0, stop_after=2)


def test_fields_that_may_differ_have_to_be_named(corpus, finished, interrupted):
    changed = dataclasses.replace(SMOKE, checkpoint_every=7, keep_last=1)
    with pytest.raises(ValueError, match=r"may_differ=\('checkpoint_every', 'keep_last'\)"):
        pretrain(changed, corpus, interrupted, seed=0)
    allowed = ("checkpoint_every", "keep_last")
    pretrain(changed, corpus, interrupted, seed=0, may_differ=allowed)
    assert_same(interrupted, finished)
    with pytest.raises(ValueError, match="the weights depend on it"):
        pretrain(SMOKE, corpus, interrupted, seed=0, may_differ=("lr",))


def test_checkpoints_by_the_clock(corpus, tmp_path):
    often = dataclasses.replace(SMOKE, checkpoint_every=1000, checkpoint_minutes=1e-6, keep_last=50)
    pretrain(often, corpus, tmp_path, seed=0, stop_after=5)
    assert [checkpoints.step_of(f) for f in checkpoints.folders(tmp_path)] == [1, 2, 3, 4, 5]


def test_the_last_good_checkpoint_is_never_one_of_nan(corpus, interrupted):
    exploding = dataclasses.replace(SMOKE, lr=1e30)
    shutil.rmtree(interrupted / "checkpoints")
    (interrupted / "recipe.json").unlink()
    with pytest.raises(FloatingPointError, match=r"step \d+.*lower lr"):
        pretrain(exploding, corpus, interrupted, seed=0)
    for folder in checkpoints.folders(interrupted):
        assert all(v.isfinite().all() for v in load_file(folder / checkpoints.WEIGHTS).values())


def test_nothing_is_unpickled(interrupted):
    files = {p.suffix for p in interrupted.rglob("*") if p.is_file() and p.name != ".lock"}
    assert files <= {".json", ".csv", ".safetensors"}


def test_a_run_explains_itself(finished):
    run = run_folder.Run(finished)
    environment = pd.read_json(finished / "environment.json", typ="series")
    facts = {"versions", "commit", "device", "processes", "threads", "precision"}
    assert facts <= set(environment.index)
    assert environment["versions"]["torch"] == torch.__version__
    assert run.metrics["flops"] == run.history["flops"].iloc[-1] > 0
    assert run.metrics["tokens"] == run.history["tokens"].iloc[-1]
    assert run.metrics["seconds"] == run.metrics["device_seconds"] > 0


def test_an_interrupt_inside_a_notebook_is_a_keyboard_interrupt():
    assert issubclass(Interrupted, KeyboardInterrupt)
