"""How runs and comparisons are called."""

from predrecon import recipes
from predrecon.data import paths
from predrecon.workbook import labels


def test_tags_tell_comparisons_apart():
    plain = recipes.get("demo", corpus="wikipedia")
    assert labels.tag(plain, 0) == "demo-wikipedia"
    changed = recipes.get("demo", corpus="/x/my text.txt", max_steps=3000, tokenizer="/a/b")
    name = labels.tag(changed, 2)
    assert name.startswith("demo-my_text-")
    assert name.endswith("-tokenizer=_a_b-max_steps=3000-seed=2")
    one, other = (recipes.get("demo", corpus=f"/{folder}/my text.txt") for folder in "xy")
    assert labels.tag(one, 0) != labels.tag(other, 0)


def test_captions_say_what_the_numbers_cost():
    recipe = recipes.get("demo", corpus="wikipedia")
    cost = "preset demo, wikipedia, 800 steps, 1.64 M tokens an arm"
    assert labels.caption(recipe, 0) == f"{cost}, seed 0"
    assert labels.caption(recipe, 0, 1) == f"{cost}, seeds 0, 1"


def test_a_run_is_shown_without_the_folders_above_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PREDRECON_RUNS", str(tmp_path))
    run = paths.runs_dir() / "a-run"
    (run / "checkpoints").mkdir(parents=True)
    (run / ".lock").touch()
    assert labels.short_path(run) == f"{tmp_path.name}/a-run"
    assert labels.contents(run) == ["checkpoints"]
