# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 00 · Paper map
#
# **What this answers.** Which claims, tables and figures of "Predict and Reconstruct" (arXiv
# 2606.05173) hold for the runs on this disk.
#
# **How to read.** Every status is computed from results:
#
# - *reproduced*: our 95 % interval lies on the published side of 0 and overlaps half to twice the
#   published size (if the claim is that both arms are alike: it lies within the stated margin);
# - *direction only*: on that side, but of another size;
# - *not reproduced*: on the other side, or too narrow around 0 for half the published size;
# - *cannot tell at this budget*: anything else, no runs at all, or a run that is still on the
#   plateau of word frequencies, where its geometry does not depend on the objective yet.
#
# Numbers are differences, hybrid minus MLM-only, mean of the five tasks, unless the claim says
# otherwise. The interval is over seeds, or over texts if there is one seed. With the embedded
# tasks, "SST-2" is the embedded task of the same shape. Not in the map: Figure 1 draws the model
# (notebook 01 and `predrecon/model.py`), Tables 1 and 2 are settings
# (`predrecon.recipes.get("paper")`).

# %% tags=["parameters"]
preset = "auto"  # demo, demo-published, modern, paper, smoke; auto: demo, on a GPU paper
corpus = "auto"  # docstrings, wikitext-103, wikipedia, or a path; auto: the preset's
tokenizer = "auto"  # a hub name or a folder; auto: the corpus's own
max_steps = None  # optimiser steps; None: the preset's
tasks = "auto"  # glue, embedded, or names; auto: embedded for the embedded corpus, else glue
max_samples = 2000  # of a validation split
max_train = None  # training samples of a probe at most; None: all
data_dir = None  # local copies of the real data; None: the variable PREDRECON_DATA
overrides = {}  # any other field of a recipe

# %% tags=["nbval-ignore-output"]
import pandas as pd

from predrecon.audit import claims
from predrecon.workbook import Notebook, tables, typeset

book = Notebook(preset, corpus=corpus, tokenizer=tokenizer, max_steps=max_steps,
                tasks=tasks, data_dir=data_dir, overrides=overrides, max_samples=max_samples,
                max_train=max_train)  # fmt: skip

# %% tags=["nbval-ignore-output"]
for architecture, arms in book.by_architecture.items():
    for arm, runs in arms.items():
        print(f"{architecture}, {tables.runs_line(arm, runs)}")

# %% [markdown]
# ## The status of every claim
#
# The paper's architecture and recipe at this size, and the modern one, which learns more than word
# frequencies in the same time.

# %% tags=["nbval-ignore-output"]
limits = {"max_samples": book.max_samples, "max_train": book.max_train}
columns = []
for architecture, arms in book.by_architecture.items():
    measured = claims.measure_runs(arms, book.corpus, book.tasks, **limits)
    columns.append(claims.paper_map(measured, arms).assign(architecture=architecture))
statuses = pd.concat(columns, ignore_index=True)
file = book.gallery.keep("00_map", statuses)
typeset.show(tables.map_table(statuses), caption=f"Claims and their status ({file.name}).")

# %% tags=["nbval-ignore-output"]
statuses.groupby("architecture", sort=False)["status"].value_counts().unstack(0, fill_value=0)
