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
    assert "demo 0.001, paper 5e-05" in text
    assert "--lam X lambda, fixed between 0 and 1; None (auto): learned" in text


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
        ("--ema 0.9", "expected two numbers"),
        ("--ema 0.9,0.99,1", "expected two numbers"),
        ("--compile perhaps", "'perhaps': expected yes, no or auto"),
        ("--lam half", "'half': expected a number or auto"),
        ("--lr auto", "'auto': expected a number"),
        ("--max-steps auto", "'auto': expected a whole number"),  # of no preset: 30, 500, none
        ("--batch-size 2.5", "'2.5': expected a whole number"),
    ],
)
def test_mistyped_values_say_what_was_expected(capsys, words, expected):
    with pytest.raises(SystemExit):
        main(["pretrain", *words.split()])
    assert expected in capsys.readouterr().err
