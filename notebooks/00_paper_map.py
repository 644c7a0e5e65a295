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
# 2606.05173) stand, as far as the runs on this disk can tell.
#
# **How to read.** Every status is computed from results, none is typed:
#
# - *reproduced*: our 95 % interval lies on the published side of 0 and reaches half to twice the
#   published size (for a claim of likeness: it lies within the stated margin);
# - *direction only*: on that side, but another size;
# - *not reproduced*: on the other side, or too narrow around 0 for half the published size;
# - *cannot tell at this budget*: anything else, no runs at all, or a run that has not left the
#   plateau of word frequencies, whose geometry is not yet that of an objective.
#
# Numbers are differences, hybrid minus MLM-only, mean of the five tasks, unless the claim says
# otherwise. The interval is over seeds, or over texts where there is one seed. With the embedded
# tasks "SST-2" is the embedded task of its shape. Figure 1 is a drawing of the model: notebook 01
# and `predrecon/model.py`. Tables 1 and 2 are settings: `predrecon.recipes.get("paper")`.

# %% tags=["parameters"]
preset = "auto"  # smoke, demo or paper; auto: paper on a CUDA machine, demo elsewhere
corpus = "auto"  # docstrings, wikitext-103, wikipedia, or a path; auto: the preset's
tokenizer = "auto"  # a hub name or a folder; auto: the corpus's own
max_steps = None  # optimiser steps; None: the preset's
tasks = "auto"  # glue, embedded, or names; auto: embedded for the embedded corpus, else glue
max_samples = 2000  # of a validation split
max_train = None  # training samples of a probe at most; None: all
data_dir = None  # local copies of the real data; None: the variable PREDRECON_DATA
overrides = {}  # any other field of a recipe

# %% tags=["nbval-ignore-output"]
import dataclasses

from predrecon import recipes
from predrecon.audit import claims, encoders, linear_probes, seeds
from predrecon.audit.geometry import measure_all
from predrecon.data.corpus import load_corpus
from predrecon.data.tasks import load_tasks
from predrecon.training.run_folder import finished_runs
from predrecon.workbook import figures, labels, tables, typeset  # fmt: skip

recipe = recipes.get(preset, corpus=corpus, tokenizer=tokenizer, max_steps=max_steps, **overrides)
text = load_corpus(recipe.corpus, tokenizer=recipe.tokenizer, data_dir=data_dir)
arms = {arm: finished_runs(dataclasses.replace(recipe, arm=arm), text) for arm in recipes.ARMS}
for arm, found in arms.items():
    print(f"{arm}: {len(found)} finished runs, seeds {[run.facts['seed'] for run in found]}")

# %% [markdown]
# ## What stands

# %% tags=["nbval-ignore-output"]
geometry = None
if all(arms.values()):
    labelled = load_tasks(tasks, corpus=recipe.corpus, data_dir=data_dir)
    compared = encoders.models(arms, text.tokenizer)
    geometry = measure_all(compared, labelled, max_samples=max_samples)
    probed = linear_probes.linear_probing(compared, labelled, max_train=max_train)
    geometry = seeds.with_probes(geometry, probed)
stands = claims.paper_map(geometry, arms)
where = figures.Gallery(labels.tag(recipe, 0)).keep("00_map", stands)
typeset.show(typeset.styled(tables.map_table(stands), f"What stands ({where.name})."))

# %% tags=["nbval-ignore-output"]
stands["status"].value_counts()
