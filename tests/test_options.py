"""The headless entry point."""

import dataclasses
import json

import pytest

from predrecon import recipes
from predrecon.__main__ import main
from predrecon.workbook import options

TINY = ["--preset", "smoke", "--max-steps", "4", "--validation-blocks", "4"]


def test_every_field_is_an_option_that_is_explained(capsys):
    fields = {f.name for f in dataclasses.fields(recipes.Recipe)} - {"preset"}
    assert set(options.HELP) == fields
    with pytest.raises(SystemExit):
        main(["pretrain", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    for field in fields:
        assert f"--{field.replace('_', '-')} " in told
    assert "peak learning rate. Default: smoke 0.001, demo 0.001, paper 5e-05" in told


def test_options_reach_the_run(corpus, tmp_path, capsys):
    more = ["--arm", "mlm", "--lr", "0.0005", "--context-scale", "0.7,0.8", "--compile", "no"]
    assert main(["pretrain", *TINY, *more, "--out", str(tmp_path / "run"), "--seed", "3"]) == 0
    told = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert told["seed"] == 3
    recipe = told["recipe"]
    assert recipe["lr"] == 0.0005 and recipe["context_scale"] == [0.7, 0.8]
    assert recipe["compile"] is False and recipe["arm"] == "mlm"
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
    told = capsys.readouterr().err
    assert named in told and "Traceback" not in told


def test_mistyped_values_say_what_was_expected(capsys):
    with pytest.raises(SystemExit):
        main(["pretrain", "--ema", "0.9"])
    assert "expected two numbers" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["pretrain", "--compile", "perhaps"])
    assert "yes, no, auto" in capsys.readouterr().err
