"""No result in prose is typed: the README's findings are built, and a number in a notebook's text
is a setting or stands in the file that the text names.
"""

import re
from pathlib import Path

import jupytext
import numpy as np
import pandas as pd
import pytest

from predrecon.audit import lab
from predrecon.workbook import findings, tables

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "notebooks").glob("0*.py"))
README = (ROOT / "README.md").read_text(encoding="utf-8")

# numbers from definitions, settings, the paper or worked examples, not from our runs
SETTINGS = {"0.02", "0.2", "0.25", "0.05", "0.5", "0.75", "1.6", "0.1", "0.9"}
EXAMPLES = {
    "02_pretrain": {"0.996"},
    "03_lambda_dynamics": {"0.003", "1.5", "0.001", "0.95"},
    "06_why": {"4.3", "1.0"},
}


def numbers(text: str) -> list[str]:
    """Decimal numbers of prose, without those in code, formulas, links and names."""
    patterns = (r"```.*?```", r"`[^`]*`", r"\$\$.*?\$\$", r"\$[^$]+\$", r"\]\([^)]*\)")
    for pattern in (*patterns, r"</?[a-z][^>]*>", r"\d{4}\.\d{5}"):
        text = re.sub(pattern, " ", text, flags=re.DOTALL)
    return re.findall(r"(?<![\w.])\d+\.\d+(?![\w.]|\d)", text)


def holds(table: pd.DataFrame, number: str) -> bool:
    """Whether a value of the table, whatever its sign, rounds to the number."""
    values = np.abs(table.select_dtypes("number").to_numpy(float))
    digits = len(number.partition(".")[2])
    return bool((np.abs(values - float(number)) <= 0.5 * 10**-digits + 1e-9).any())


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_a_number_in_a_notebooks_text_is_a_setting_or_in_the_file_that_it_names(source):
    cells = [c.source for c in jupytext.read(source).cells if c.cell_type == "markdown"]
    for text in cells:
        files = [ROOT / name for name in re.findall(r"`(figures/data/[\w/.-]+\.csv)`", text)]
        named = [pd.read_csv(file) for file in files]
        typed = [n for n in numbers(text) if not any(holds(table, n) for table in named)]
        allowed = SETTINGS | EXAMPLES.get(source.stem, set())
        assert set(typed) <= allowed, f"{source.name}: {typed} in\n{text[:300]}"


def built() -> list[str]:
    """Every sentence that the README may take."""
    grid, gpu = findings.evidence("eight-seeds"), findings.evidence("h100")
    gaps, (_, histories, ends) = grid["06_contrasts"], lab.first_answer()
    return [
        findings.grid_budget(grid),
        *findings.objective(gaps),
        *findings.operations(gaps),
        *findings.attention_ratio(grid["00_map"]),
        *findings.stuck(grid["06_ends"]),
        *findings.h100(gpu),
        *findings.wikipedia(findings.evidence("wikipedia"), gpu),
        *tables.lab_sentences(lab.contrasts(ends), lab.pulls(histories)),
    ]


def test_the_findings_of_the_readme_are_built_from_the_committed_results():
    section = README.split("## Five findings\n")[1].split("\nAll findings")[0]
    budget, *bullets = [line for line in section.splitlines() if line.strip()]
    sentences = built()
    assert budget.replace(" 95 % intervals over seeds.", "") == sentences[0]
    assert len(bullets) == 5
    for bullet in bullets:
        text = re.sub(r"^- \*\*[^*]+\*\* | \[\d\w*\]\([^)]+\)$", "", bullet)
        assert text, bullet
        for sentence in sorted(sentences, key=len, reverse=True):
            text = text.replace(sentence, "")
        assert not text.strip(), f"not built from results: {text}"


def test_the_readme_is_short_and_its_links_lead_somewhere():
    assert len(README.encode()) <= 8192
    for link in re.findall(r"\]\((?!https:)([^)#]+)", README):
        assert (ROOT / link).exists(), link
    outside = README.split("## Five findings\n")[0]
    known = pd.read_csv(ROOT / "figures/data/minilm/sts.csv")
    typed = {n for n in numbers(outside) if not holds(known, n)}
    assert typed <= {"3.11", "1.6", "1.0"}, "a result belongs to the findings"


def test_a_wrong_number_would_be_seen():
    table = pd.DataFrame({"value": [-0.1791], "name": ["a"]})
    assert holds(table, "0.18") and holds(table, "0.179") and not holds(table, "0.17")
    assert numbers("by −0.18 [−0.29, −0.07] at `0.5` and $0.7$, Python 3.11") == [
        "0.18", "0.29", "0.07", "3.11"
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["eight-seeds", "wikipedia"])
def test_the_committed_maps_point_to_sections_that_are_there(name):
    table = findings.evidence(name)["00_map"]
    files = {source.stem.partition("_")[0]: source for source in SOURCES}
    for number, section in {tuple(cell.split(" · ")) for cell in table["cell"]}:
        assert f"# ## {section}\n" in files[number].read_text(encoding="utf-8"), section
