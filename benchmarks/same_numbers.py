"""Did a code change affect a number? Compares two trees of results file by file.

Make one tree with the code before and one with the code after, each with its own folders:

    PREDRECON_CACHE=A/cache PREDRECON_RUNS=A/runs PREDRECON_FIGURES=A/figures \\
        python -m predrecon demo --preset smoke --out A/out
    python benchmarks/same_numbers.py A B

Compares the weights, histories and metrics of the runs, and every table behind a figure
(figures/data), without times. Rows are matched by their keys (task, metric, model, ...), so a table
with a new metric is compared in the rows that both have.
"""

import argparse
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

TIMES = ("tokens_per_s", "seconds", "device_seconds")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--tolerance", type=float, default=1e-9)
    arguments = parser.parse_args()
    differences = [*runs(arguments.before, arguments.after)]
    differences += tables(arguments.before / "figures/data", arguments.after / "figures/data")
    width = max(len(name) for name, _, _ in differences)
    for name, difference, note in differences:
        verdict = "equal" if difference == 0 else f"{difference:.1e}"
        print(f"{name:<{width}}  {verdict:>8}  {note}".rstrip())
    beyond = [name for name, difference, _ in differences if not difference <= arguments.tolerance]
    equal = sum(difference == 0 for _, difference, _ in differences)
    counts = f"{len(differences)} compared, {equal} equal, {len(beyond)} beyond"
    print(f"\n{counts} {arguments.tolerance:g}")
    return len(beyond) > 0


def runs(before: Path, after: Path):
    """`(name, largest difference, note)` of the weights, history and metrics of every run."""
    for old, new in paired(before / "runs", after / "runs"):
        name = re.sub(r"-[0-9a-f]{8}$", "", old.name)
        for file in sorted(old.rglob("model.safetensors")):
            part = file.relative_to(old)
            ours, theirs = load_file(file), load_file(new / part)
            gap = np.nan if ours.keys() != theirs.keys() else 0.0
            gap = max([gap, *(float(np.abs(ours[k] - theirs[k]).max()) for k in ours)])
            yield f"{name}/{part}", gap, f"{len(ours)} tensors"
        yield f"{name}/history.csv", *frames(*(pd.read_csv(f / "history.csv") for f in (old, new)))
        metrics = [json.loads((f / "metrics.json").read_text()) for f in (old, new)]
        yield f"{name}/metrics.json", *frames(*(pd.DataFrame([m]) for m in metrics))


def paired(before: Path, after: Path):
    """Folders with the same name except for the digest at the end."""
    named = {re.sub(r"-[0-9a-f]{8}$", "", f.name): f for f in after.iterdir() if f.is_dir()}
    for old in sorted(f for f in before.iterdir() if f.is_dir()):
        yield old, named[re.sub(r"-[0-9a-f]{8}$", "", old.name)]


def tables(before: Path, after: Path):
    for file in sorted(before.rglob("*.csv")):
        part = file.relative_to(before)
        if not (after / part).is_file():
            yield str(part), np.nan, "missing"
            continue
        yield str(part), *frames(pd.read_csv(file), pd.read_csv(after / part))


def frames(old: pd.DataFrame, new: pd.DataFrame) -> tuple[float, str]:
    """The largest difference of numbers, relative above 1, and what only one of the two has."""
    old, new = (f.drop(columns=[c for c in TIMES if c in f]) for f in (old, new))
    notes = [f"lost column {c}" for c in old if c not in new]
    notes += [f"new column {c}" for c in new if c not in old]
    columns = [c for c in old if c in new]
    numeric = pd.api.types.is_numeric_dtype
    keys = [c for c in columns if not numeric(old[c]) or c in ("seed", "step", "rank", "draw")]
    values = [c for c in columns if c not in keys]
    old, new = (numbered(f[columns], keys) for f in (old, new))
    both = old.index.intersection(new.index)
    notes += [f"{len(old) - len(both)} rows lost"] * (len(both) < len(old))
    notes += [f"{len(new) - len(both)} rows new"] * (len(both) < len(new))
    if not len(both) and len(old):
        return np.nan, "; ".join(notes)
    a, b = (f.loc[both, values].to_numpy(float) for f in (old, new))
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return np.nan, "; ".join([*notes, "missing values differ"])
    with np.errstate(invalid="ignore"):
        gap = np.where(a == b, 0.0, np.abs(a - b) / np.maximum(1, np.abs(a)))
    return float(np.nan_to_num(gap).max(initial=0.0)), "; ".join(notes)


def numbered(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Indexed by the keys; rows with the same keys are numbered in order."""
    if not keys:
        return frame
    frame = frame.assign(**{k: frame[k].astype(str) for k in keys})
    order = frame.groupby(keys, sort=False).cumcount().rename("order")
    return frame.set_index([*keys, order])


if __name__ == "__main__":
    raise SystemExit(main())
