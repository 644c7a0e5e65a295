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
# # 05b · Confounders: the pooler and the length
#
# **Claim.** The paper reports that the hybrid's embeddings are "5 to 10 times" as uniform. How much
# of that is the encoder? Two things move uniformity without any change of the encoder: how token
# vectors become one vector (the *pooler*, which in the paper is partly random), and how long the
# texts are.
#
# **How to read.** Each section first shows the effect on made-up token vectors, where no training
# can be the cause, then measures it on the encoders of [05](05_geometry.ipynb).

# %% tags=["parameters"]
preset = "auto"  # demo, demo-published, modern, paper, smoke; auto: demo, on a GPU paper
corpus = "auto"  # docstrings, wikitext-103, wikipedia, or a path; auto: the preset's
tokenizer = "auto"  # a hub name or a folder; auto: the corpus's own
arms = "hybrid,mlm"
seed = 0
max_steps = None  # optimiser steps; None: the preset's
tasks = "auto"  # glue, embedded, or names; auto: embedded for the embedded corpus, else glue
max_samples = 2000  # of a validation split
data_dir = None  # local copies of the real data; None: the variable PREDRECON_DATA
overrides = {}  # any other field of a recipe

# %% tags=["nbval-ignore-output"]
import torch

from predrecon import audit, metrics, model, pooling
from predrecon.workbook import Notebook, figures, findings, sentences, tables, typeset

book = Notebook(preset, corpus=corpus, tokenizer=tokenizer, max_steps=max_steps, arms=arms,
                seed=seed, tasks=tasks, data_dir=data_dir, overrides=overrides,
                max_samples=max_samples, every_seed=True)  # fmt: skip

# %% [markdown]
# ## Pooling ablation
#
# The paper's Figure 2: the same encoder under four poolings. Take an "encoder" that knows nothing,
# 300 texts of 20 random token vectors in 16 dimensions, each coordinate standard normal. Its cloud
# is as uniform as can be, whatever the pooling, or is it?
#
# Before you run the cell: which pooling is the least uniform?
#
# <details><summary>Answer</summary>Max pooling. The largest of 20 standard normal numbers is nearly
# 2 in every coordinate, so that all texts point to one corner of the space, with a cosine near 1.
# The mean of 20 has no such preference. Max pooling looks collapsed for a reason that has nothing
# to do with training.</details>

# %%
hidden, mask = audit.poolers.random_tokens()
print("hidden", tuple(hidden.shape), "mask", tuple(mask.shape))
for how, s in {"mean": hidden.mean(1), "max": hidden.amax(1)}.items():  # (N, D)
    assert (s - pooling.pool(hidden, mask, how)).abs().max() < 1e-5
    u = s / s.norm(dim=1, keepdim=True)
    cosine = ((u @ u.T).sum() - len(u)) / (len(u) * (len(u) - 1))
    print(f"{how:5} mean cosine {cosine.abs():.2f}, uniformity {metrics.uniformity(s):6.2f}")

# %% [markdown]
# And weighted pooling, whose direction starts at 0 and is never trained, is mean pooling:

# %%
weighted = pooling.pool(hidden, mask, "weighted")
assert (weighted - hidden.mean(1)).abs().max() < 1e-6
print(f"largest difference to the mean: {(weighted - hidden.mean(1)).abs().max():.3f}")

# %% [markdown]
# On the encoders, for one task. What to look for: whether the arms differ as much as poolings do.

# %% tags=["nbval-ignore-output"]
means = tables.geometry_with_published(book.geometry.table)
first_task = book.tasks[0]
figure = figures.pooling_ablation(means, first_task.name, first_task.title)
book.gallery.show("05_pooling_ablation", figure, means[means["task"] == first_task.name])

# %% [markdown]
# ## How much of the uniformity ratio is the pooler?
#
# The paper's attention pooling is a softmax over scores of the tokens, with a query $q$ and a key
# matrix $K$ that are drawn at random, once for each model, and never trained:
#
# $$s = \sum_t \alpha_t z_t, \qquad \alpha = \text{softmax}_t\!\left( \frac{q \cdot K z_t}{\sqrt{D}}
# \right) = \text{softmax}_t (v \cdot z_t), \qquad v = \frac{K^{\top} q}{\sqrt{D}}$$
#
# A query against linear keys is one direction $v$. The published ratio compares the hybrid under
# one draw of $v$ with MLM-only under another. So take *one* encoder and compare it with itself,
# under two draws. Real encoders have directions that all tokens share, and directions that are
# louder than others; the tokens below have one of each.
#
# Before you run the cell: how far from 1 can that ratio be?
#
# <details><summary>Answer</summary>In either direction by more than a factor of 2 here. If $v$ lies
# along the loud direction, the softmax picks single tokens, which lie far apart. If it lies along
# the shared one, all tokens score alike and the result stays near the mean.</details>

# %%
hidden, mask = audit.poolers.random_tokens(loud=4.0, shared=2.0)
uniformities = []
for draw in range(20):
    v = pooling.attention_direction(16, seed=draw)  # (D,)
    shares = (hidden @ v).softmax(dim=1)  # (N, L)
    s = (shares[..., None] * hidden).sum(1)  # (N, D)
    assert (s - pooling.pool(hidden, mask, "attention", seed=draw)).abs().max() < 1e-4
    uniformities.append(metrics.uniformity(s))
ratios = [a / b for a in uniformities for b in uniformities]
print(f"uniformity from {min(uniformities):.2f} to {max(uniformities):.2f}, of one encoder")
print(f"ratios to itself from {min(ratios):.2f} to {max(ratios):.2f}")

# %% [markdown]
# On the encoders: twenty random draws for each, mean pooling, and poolers fitted on the task's
# training split. In the upper panels a box holds all 20 × 20 ratios, hybrid over MLM-only, for one
# training seed; the lower one shows uniformity itself, on the first task. Differences between
# training seeds are not due to the pooler. Lines are the published ratios, where the task is one of
# the paper's; shaded is "5 to 10 times".

# %% tags=["nbval-ignore-output"]
by_pooler = audit.poolers.spread(book.encoders, book.tasks, max_samples=book.max_samples)
ratios = audit.poolers.ratios(by_pooler)
figure = figures.pooler_spread(by_pooler, ratios, audit.poolers.published_ratios())
book.gallery.show("05_poolers", figure, by_pooler)

# %% tags=["nbval-ignore-output"]
if ratios.empty:
    print("One arm only: no ratio.")
else:
    typeset.say(*sentences.of_poolers(ratios))
    short = typeset.styled(tables.pooler_table(ratios), "Ratios, medians of seeds.")
    by_seed = audit.poolers.summary(ratios)
    typeset.show(short, typeset.styled(by_seed, "By seed.", precision=2, index=False))

# %% [markdown]
# ## A confounder: length
#
# A text's vector is the mean of its token vectors, and in the published architecture every token
# vector begins with that of its position, of amplitude 1, and a far smaller one of its word. The
# mean of the positions 1 to 10 points elsewhere than that of 1 to 100. So texts of different length
# are spread out whatever they say.
#
# Take texts of meaningless words: the sum of the first $n$ position vectors and of $n$ random word
# vectors of standard deviation 0.5, five texts for each $n$ from 10 to 128. (The direction of a
# mean is that of the sum.) Before you run the cell: what is their uniformity, and what is it
# between texts of one length?
#
# <details><summary>Answer</summary>Below 0, though far from uniform: words without a meaning seem
# to spread texts out. Between texts of one length it is near 0: most of that spread was
# length.</details>

# %%
positions = model.SineCosinePositions(128, 64).table  # (L, D)
rng = torch.Generator().manual_seed(0)
counts = torch.arange(10, 129).repeat_interleave(5)  # (595,) tokens in each text
words = 0.5 * counts.sqrt()[:, None] * torch.randn(595, 64, generator=rng)  # their sums
texts = positions.cumsum(dim=0)[counts - 1] + words  # (595, D)
shuffled = counts[torch.randperm(595, generator=rng)]
print(f"uniformity of all pairs {metrics.uniformity(texts):.2f}", end=", ")
print(f"of equal length {metrics.uniformity(texts, groups=counts):.2f}")
print(f"explained by length {metrics.explained_share(texts, counts):.0%} of the variance", end=", ")
print(f"by as many random groups {metrics.explained_share(texts, shuffled):.0%}")

# %% [markdown]
# Two corrections follow. `equal_length` is uniformity over pairs of texts with the same number of
# tokens only:
#
# $$\mathcal{U}_{=} = \ln\, \mathbb{E}_{u, v:\ n_u = n_v} \left[ e^{-2 \lVert u - v \rVert^2}
# \right]$$
#
# `explained` is the share of the variance of directions that lies between groups of equal length
# ($\eta^2$), compared with what as many random groups would explain. Four texts of two lengths
# show both: lengths point in two directions, words do not matter.

# %%
four, counts = positions[[3, 3, 90, 90]], [5, 5, 8, 8]
u = four / four.norm(dim=1, keepdim=True)
within = sum(((u[i : i + 2] - u[i : i + 2].mean(0)) ** 2).sum() for i in (0, 2))
share = 1 - within / ((u - u.mean(0)) ** 2).sum()
assert abs(share - metrics.explained_share(four, counts)) < 1e-6
every, equal = metrics.uniformity(four), metrics.uniformity(four, groups=counts)
print(f"all pairs {every:.2f}, pairs of equal length {abs(equal):.2f}, explained {share:.0%}")

# %% [markdown]
# On the encoders, and on each of them before its first step: an *untrained* encoder may look spread
# out too. Preset `demo` adds no positions (they are rotations in attention), so length should
# matter less here than in the toy and in the published architecture. First the eight seeds that
# come with the project (`figures/data/eight-seeds/`), then the runs on this disk:

# %%
gaps = findings.evidence("eight-seeds")["06_contrasts"].query("contrast == 'objective'")
for metric, words in {"uniformity": "all pairs", "equal_length": "pairs of equal length"}.items():
    row = gaps[gaps["metric"] == metric].iloc[0]
    print(f"hybrid minus MLM-only, {words}: {findings.number(row)}")

# %% tags=["nbval-ignore-output"]
control = audit.length.length_control(book.models, book.tasks, max_samples=book.max_samples)
lengths = audit.seeds.over_seeds(control)
book.gallery.show("05_length", figures.length_control(lengths), lengths)

# %% tags=["nbval-ignore-output"]
typeset.say(*sentences.of_lengths(control))
short = typeset.styled(tables.length_means(control), "Means of tasks and seeds.")
typeset.show(short, typeset.styled(tables.length_table(lengths), "Task by task."))

# %% [markdown]
# ## Caveats
#
# - Random poolers are one family: other random poolers would spread otherwise.
# - A fitted pooler has seen the task's labels. It shows that poolers matter, not which is right.
# - Uniformity between texts of equal length has fewer pairs, and another mix of texts.
# - With one seed, differences between boxes are those of two training runs, not of two objectives.

# %% tags=["nbval-ignore-output"]
print(book.gallery.export())
