"""The command line."""

import dataclasses
import json
import re

import pytest

from predrecon import recipes
from predrecon.workbook.commands import main

TINY = ["--preset", "smoke", "--max-steps", "4", "--validation-blocks", "4"]


def help_of(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("command", ["pretrain", "grid"])
def test_every_field_is_an_option_that_is_explained(capsys, command):
    text = help_of(command, capsys)
    for field in dataclasses.fields(recipes.Recipe):
        if field.name != "preset":
            option = f"--{field.name.replace('_', '-')}"
            assert re.search(rf"{option} \S+ \w.+?\. Default: \S", text), option
    assert "peak learning rate; linear warm-up, then cosine to 0. Default: smoke 0.001, " in text
    assert "demo-published 0.001, paper 5e-05" in text
    assert "--lam X|auto lambda, fixed between 0 and 1; None (auto): learned" in text


def test_options_reach_the_run(corpus, tmp_path, capsys):
    more = ["--arm", "mlm", "--lr", "0.0005", "--context-scale", "0.7,0.8", "--compile", "no"]
    more += ["--lam", "auto", "--checkpoint-minutes", "auto"]
    assert main(["pretrain", *TINY, *more, "--out", str(tmp_path / "run"), "--seed", "3"]) == 0
    facts = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert facts["seed"] == 3
    recipe = facts["recipe"]
    assert recipe["lr"] == 0.0005 and recipe["context_scale"] == [0.7, 0.8]
    assert recipe["compile"] is False and recipe["arm"] == "mlm"
    assert recipe["lam"] is None and recipe["checkpoint_minutes"] is None
    assert "mlm: smoke preset" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--corpus", "/no/such/place"], "/no/such/place"),
        (["--length", "20"], "min_context"),
        (["--batch-size", "0"], "batch_size=0"),
    ],
)
def test_mistakes_are_one_line_on_stderr(corpus, tmp_path, capsys, more, named):
    assert main(["pretrain", *TINY, *more, "--out", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert named in error and "Traceback" not in error


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--ema 0.9", "ema='0.9': expected two numbers, each from 0 to 1."),
        ("--ema 0.9,0.99,1", "expected two numbers"),
        ("--compile perhaps", "compile='perhaps': expected yes or no, or none (auto)."),
        ("--lam half", "lam='half': expected a number, between 0 and 1, or none (auto)."),
        ("--lr auto", "lr='auto': expected a number, 0 or more."),
        ("--batch-size 2.5", "batch_size='2.5': expected a whole number, at least 1."),
        ("--validation-blocks 0", "validation_blocks=0: expected a whole number, at least 1."),
        ("--seed 1.5", "seed='1.5': expected a whole number"),
    ],
)
def test_mistyped_values_say_what_was_expected(capsys, words, expected):
    assert main(["pretrain", *words.split()]) == 1
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("words", ["--seeds 0", "--seeds two", "--workers 0", "--workers 1.5"])
def test_a_grid_of_nothing_is_refused(capsys, words):
    assert main(["grid", *words.split()]) == 1
    name, value = words.removeprefix("--").split()
    assert re.search(f"{name}='?{value}'?: expected a whole number", capsys.readouterr().err)


@pytest.mark.parametrize("steps", ["0", "2.5", "-1", "many", "nan"])
def test_the_demo_refuses_values_before_its_first_notebook(capsys, tmp_path, steps):
    assert main(["demo", f"--max-steps={steps}", "--out", str(tmp_path / "out")]) == 1
    assert re.search(f"max_steps='?{steps}'?: expected", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()
