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
# # 07 · The laboratory
#
# **Question.** The paper tries one latent loss, one target, one balance and one kind of mask. Does
# another choice make the JEPA objective worth its operations?
#
# **How to read.** Every choice replaces one part of the paper's objective; everything else stays.
# All are compared with two controls: the paper's objective (`hybrid`) and MLM-only with the
# hybrid's operations. `python -m predrecon lab` trains what is missing, seed by seed; with options
# such as `--latent-loss sigreg,vicreg --target ema,live` it trains products.
#
# - **latent loss**: `cosine`, `smooth-l1`, `mse` (of unit vectors), `infonce`, `vicreg`, `barlow`,
#   `sigreg`
# - **target**: `ema`, `ema-raw` (not layer-normalised), `top-k` (mean of the upper layers),
#   `stopgrad` (the encoder itself), `live` (the same, with gradient)
# - **balance**: `learned`, `fixed-0.1`, `fixed-0.5`, `fixed-0.9`, `scheduled`, `uncertainty`,
#   `equal-gradients`
# - **mask**: `block`, `random`, `spans`, `words`, `sentences`, `leak` (the public code's)
#
# The first of each is the paper's.

# %% tags=["parameters"]
preset = "auto"  # demo, demo-published, modern, paper, smoke; auto: demo, on a GPU paper
corpus = "auto"  # docstrings, wikitext-103, wikipedia, or a path; auto: the preset's
tokenizer = "auto"  # a hub name or a folder; auto: the corpus's own
max_steps = None  # optimiser steps; None: the preset's
combinations = ""  # as "infonce, sigreg+live"; "": every choice by itself
num_seeds = 4  # of each combination
train_missing = False  # train here what is not on disk yet (hours, without a GPU)
tasks = "auto"  # glue, embedded, or names; auto: embedded for the embedded corpus, else glue
max_samples = 1000  # of a validation split
data_dir = None  # local copies of the real data; None: the variable PREDRECON_DATA
overrides = {}  # any other field of a recipe

# %% tags=["nbval-ignore-output"]
from predrecon import objectives
from predrecon.audit import contrasts, lab
from predrecon.workbook import Notebook, figures, tables, typeset, widgets

book = Notebook(preset, corpus=corpus, tokenizer=tokenizer, max_steps=max_steps,
                tasks=tasks, data_dir=data_dir, overrides=overrides,
                max_samples=max_samples)  # fmt: skip

# %% [markdown]
# ## What a latent loss sees
#
# $p$ and $t$ are predicted and target vectors, $N$ of them in a batch. Take the three cases that
# everyone can picture: equal vectors, orthogonal ones, and a batch that has collapsed to one point.
#
# $$L_{\cos} = 1 - \frac{1}{N}\sum_i \frac{p_i \cdot t_i}{|p_i||t_i|} \qquad
# L_{\text{InfoNCE}} = -\frac{1}{N}\sum_i \log
# \frac{e^{\cos(p_i, t_i)/\tau}}{\sum_j e^{\cos(p_i, t_j)/\tau}}$$
#
# Before you run the cell: which losses are lowest for the collapsed batch?
#
# <details><summary>Answer</summary>Those that look at one position at a time: cosine, smooth L1 and
# the squared error are 0 there. InfoNCE costs log N, and the regularisers of VICReg, Barlow Twins
# and SIGReg are far from their best.</details>

# %%
cases = lab.cases()
print({case: tuple(p.shape) for case, (p, t) in cases.items()})
typeset.show(lab.loss_table(cases), precision=2)

# %% [markdown]
# One line of the paper's loss, and the package computes the same:

# %%
p, t = cases["orthogonal"]
by_hand = 1 - (p * t).sum(1).div(p.norm(dim=1) * t.norm(dim=1)).mean()
assert abs(by_hand - objectives.jepa_loss(p, t)) < 1e-6
print(f"1 - mean cosine = {by_hand:.1f} for orthogonal vectors")

# %% [markdown]
# ## The runs on this disk

# %% tags=["nbval-ignore-output"]
cells = lab.cells(book.recipe, book.corpus, combinations or None, num_seeds)
runs = lab.finished(cells, book.corpus, train=train_missing)
facts = contrasts.training_facts(runs)
book.gallery.caption = book.caption(*sorted(facts["seed"].unique()))
typeset.show(tables.inventory_table(cells, facts))

# %% [markdown]
# ## Against the controls
#
# Mean pooling, mean of tasks, paired by seed. Right of 0: higher than the control. With one seed
# there is no interval over seeds.

# %% tags=["nbval-ignore-output"]
ends = contrasts.endpoints(
    runs, book.tasks, book.corpus.tokenizer, max_samples=book.max_samples, released=False
)
book.gallery.keep("07_ends", ends)
gaps = lab.contrasts(ends)
for control, words in {"mlm-flops": "MLM-only, equal operations", "hybrid": "the paper's"}.items():
    if len(gaps) and (gaps["against"] == control).any():
        figure = figures.laboratory(gaps, control, f"Each choice minus {words}")
        book.gallery.show(f"07_against_{control}", figure, gaps)

# %% [markdown]
# ## Do the two losses pull in the same direction?
#
# $g_{\text{JEPA}}$ and $g_{\text{MLM}}$ are the gradients of the two losses in the last layer that
# both share, before λ weights them. A cosine near 0: the losses neither help nor hinder each other
# there. A ratio far below 1: the JEPA gradient is small beside MLM's, unless the weights,
# $\lambda / (1 - \lambda)$, make up for it. Means over the second half of training and over seeds.

# %% tags=["nbval-ignore-output"]
history = lab.histories(runs)
if "jepa_gradient" in history and history["jepa_gradient"].notna().any():
    pulls = lab.pulls(history)
    book.gallery.show("07_pulls", figures.pulls(pulls), pulls.reset_index())

# %% [markdown]
# ## Explore
#
# Histories of all runs on this disk: losses, λ, gradients and the monitor's columns.

# %% tags=["nbval-ignore-output"]
widgets.lab_explorer(facts, history) if len(history) else print("No run yet.")

# %% [markdown]
# ## The first answer
#
# Preset `demo` on the embedded text (800 steps, 1.6 M tokens), every choice by itself and three
# pairs: four seeds of each for the nats, two to four for the embeddings. Nats and costs are in
# `figures/data/lab/facts.csv`, metrics of the embeddings in `figures/data/lab/geometry.csv`.
# Intervals are of one comparison; with two seeds a short one is mostly luck, and one may be shorter
# than its dot. A star stands for p < 0.05 after Holm's correction for all comparisons of this
# section.

# %% tags=["nbval-ignore-output"]
answer = lab.first_answer()
if answer:
    first_facts, first_history, ends = answer
    gaps, pulls = lab.contrasts(ends), lab.pulls(first_history)
    sentences = tables.lab_sentences(gaps, pulls)
    nats = gaps[gaps["metric"] == "below_unigram"]
    figures.show(figures.laboratory(nats, "mlm-flops", sentences[0].partition(" with")[0]))
    typeset.show(tables.lab_table(first_facts, gaps), index=False)
    typeset.say(*sentences[:3])

# %% tags=["nbval-ignore-output"]
if answer:
    geometry = gaps[gaps["metric"] != "below_unigram"]
    title = "What each choice does to the embeddings, minus the paper's objective"
    figures.show(figures.laboratory(geometry, "hybrid", title))
    typeset.say(*sentences[3:4])

# %% tags=["nbval-ignore-output"]
if answer:
    figures.show(figures.pulls(pulls))
    typeset.say(*sentences[4:])
