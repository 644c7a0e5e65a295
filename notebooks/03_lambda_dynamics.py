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
# # 03 · The balance λ follows the learning rate
#
# **Claim.** λ = σ(w) is "learned", but what it learns is the sum of the learning rates. Its
# gradient
#
# > ∂L/∂w = λ (1 − λ) (L_JEPA − L_MLM)
#
# is negative whenever the JEPA loss (at most 2, soon below 1) is smaller than the
# cross-entropy (several nats), which is always. AdamW divides a gradient by its own size, so w
# grows by about one learning rate a step: w(t) ≈ Σ lr, and λ(t) ≈ σ(Σ lr) whatever the text.
#
# **How to read.** Left: λ as trained (solid) and the prediction from the schedule alone (dashed).
# Right: the gradient. If the claim were wrong, the two left curves would part.

# %% tags=["parameters"]
preset = "auto"  # demo, demo-published, modern, paper, smoke; auto: demo, on a GPU paper
corpus = "auto"  # docstrings, wikitext-103, wikipedia, or a path; auto: the preset's
tokenizer = "auto"  # a hub name or a folder; auto: the corpus's own
seed = 0
max_steps = None  # optimiser steps; None: the preset's
data_dir = None  # local copies of the real data; None: the variable PREDRECON_DATA
overrides = {}  # any other field of a recipe

# %% tags=["nbval-ignore-output"]
import pandas as pd

from predrecon import recipes
from predrecon.objectives import predicted_lambda
from predrecon.workbook import Notebook, figures, tables, widgets

book = Notebook(preset, corpus=corpus, tokenizer=tokenizer, max_steps=max_steps, seed=seed,
                arms="hybrid", data_dir=data_dir, overrides=overrides)  # fmt: skip

# %% [markdown]
# ## Prediction and outcome

# %% tags=["nbval-ignore-output"]
run = book.runs["hybrid"]
table = tables.balance_table(run)
book.gallery.show("03_lambda", figures.lambda_dynamics(table), table)

# %% tags=["nbval-ignore-output"]
last = table.iloc[-1]
print(tables.budget(book.runs))
print(f"steps {int(last.step):,}, sum of learning rates {last.sum_lr:.3f}")
print(f"lambda trained {last.lam:.3f}, predicted {last.predicted:.3f}")
print(f"logged steps with a negative gradient: {(table.gradient < 0).mean():.1%} of {len(table)}")

# %% [markdown]
# ## Explore
#
# With a running kernel you choose runs on disk and plot them against steps, tokens, operations or
# time; "live" follows runs that are in training.

# %% tags=["nbval-ignore-output"]
widgets.training_explorer([run.folder], task=book.first_task, tokenizer=book.corpus.tokenizer)

# %% [markdown]
# ## What that means for long runs
#
# λ at the end of training by number of steps, for three peak learning rates under the same cosine
# schedule: no text, no model, only the schedule. Where λ is near 1, the MLM loss, weighted by 1 −
# λ, no longer matters, whether or not that is best.

# %%
peaks = (5e-5, 2e-4, 1e-3)
counts = [1_000, 3_000, 10_000, 30_000, 100_000, 300_000]
paper = recipes.get("paper")
final = pd.DataFrame(
    {f"peak lr {lr:g}": [predicted_lambda(paper, n, lr=lr)[-1] for n in counts] for lr in peaks},
    index=pd.Index(counts, name="steps"),
)
final.round(3)

# %% [markdown]
# ## What we saw
#
# The trained λ stays close to the prediction and slightly below it: Adam's averages need some
# steps to build up, and the size of the gradient changes from batch to batch. On the embedded text
# (800 steps) Σ lr = 0.401 predicts 0.599; 0.595 was trained, in each of eight seeds, whatever their
# losses.
#
# ## Caveats
#
# - The prediction is for an adaptive optimiser whose second moment follows the gradient. With
#   plain SGD, λ would depend on the losses themselves.
# - It says where λ goes, not that this is bad: notebook 06 compares runs with a fixed λ.
# - Its rate is the demo's own (`lam_lr`); at the rate of the weights λ would end at 0.77.

# %% tags=["nbval-ignore-output"]
print(book.gallery.export())
