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
# # 05 · Geometry: six numbers for a cloud of texts
#
# **Claim (paper, Tables 4–11).** At equal accuracy the hybrid's embeddings are more uniform on the
# sphere, under max pooling spectrally richer, and less lexical.
#
# **How to read.** An encoder turns N texts into N points. The paper describes that cloud by six
# numbers. The first half of this notebook computes each of them by hand, on clouds that you can
# picture, with answers that you can check by eye. The second half measures the encoders: every
# pooling, every task, every seed of the recipe that is on disk. What else moves these numbers is in
# [05b](05b_confounders.ipynb), spectra and maps are in [05c](05c_spectra_and_maps.ipynb).

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

from predrecon import metrics, pool, probes
from predrecon.workbook import Notebook, figures, findings, sentences, tables, typeset, widgets

book = Notebook(preset, corpus=corpus, tokenizer=tokenizer, max_steps=max_steps, arms=arms,
                seed=seed, tasks=tasks, data_dir=data_dir, overrides=overrides,
                max_samples=max_samples, every_seed=True)  # fmt: skip

# %% [markdown]
# ## From token vectors to one vector per text
#
# The encoder gives a vector $z_t$ for each of $L$ tokens. Mean pooling (Eq. 10) averages those that
# are no padding; the paper also tries three other poolings:
#
# $$s = \frac{\sum_{t=1}^{L} m_t\, z_t}{\sum_{t=1}^{L} m_t} \qquad
# s_{\max} = \max_{t:\, m_t = 1} z_t \qquad
# s_{\text{attention}} = \sum_{t:\, m_t = 1} \frac{e^{q \cdot z_t}}{\sum_{u:\, m_u = 1}
# e^{q \cdot z_u}}\; z_t$$
#
# with $m_t = 1$ on real tokens and 0 on padding. *Weighted* pooling is the attention formula with a
# direction $q$ that should be learned, and starts at 0.
#
# Take one text of three tokens in the plane, and a fourth position that is padding. Before you run
# the cell: where do the four poolings put the text?
#
# <details><summary>Answer</summary>The mean of (0, 0), (4, 0) and (2, 3) is (2, 1), the largest
# coordinates are (4, 3). With q = 0 all shares are a third: weighted pooling is the mean. The
# query below gives the third token twice the share of the others.</details>

# %%
z = torch.tensor([[[0.0, 0.0], [4.0, 0.0], [2.0, 3.0], [9.0, 9.0]]])  # (B, L, D) = (1, 4, 2)
mask = torch.tensor([[1, 1, 1, 0]])  # (B, L): the last position is padding
query = torch.tensor([0.0, torch.tensor(2.0).log() / 3])
m = mask[..., None]  # (B, L, 1)
shares = (z @ query).exp() * mask  # (B, L)
by_hand = {
    "mean": (z * m).sum(1) / m.sum(1),
    "max": z.masked_fill(m == 0, -torch.inf).amax(1),
    "weighted": (z * m).sum(1) / m.sum(1),  # of a direction that is still 0
    "attention": (z * (shares / shares.sum(1, keepdim=True))[..., None]).sum(1),
}
for how, s in by_hand.items():
    direction = query if how == "attention" else None
    assert torch.allclose(s, pool(z, mask, how, direction=direction))
    print(f"{how:10} {tuple(z.shape)} -> {tuple(s.shape)}  {s[0].tolist()}")

# %% [markdown]
# > **Gotcha.** In the paper's code the query of attention pooling is drawn at random and never
# > trained, and the direction of weighted pooling stays 0: *weighted* is *mean* under another name.
# > [05b](05b_confounders.ipynb) shows what a random query does to a result.
#
# ## Three clouds
#
# 300 texts each, in three dimensions, of two classes: a cloud that has **collapsed** to one point
# but for a little noise, **two clusters**, one a class, and a **sphere** with points everywhere.

# %%
noise = torch.randn(300, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
corners = torch.eye(3, dtype=torch.float64)
labels = torch.arange(300) % 2
clouds = {
    "collapsed": corners[0] + 0.05 * noise,
    "two clusters": corners[labels] + 0.05 * noise,
    "sphere": noise / noise.norm(dim=1, keepdim=True),
}
print({cloud: tuple(z.shape) for cloud, z in clouds.items()})
_ = figures.show(figures.clouds(clouds, labels))

# %% [markdown]
# Each metric below is a function of a few lines. `compare` prints what it gives on the three
# clouds, and checks that the package gives the same.


# %%
def compare(by_hand, package):
    for cloud, z in clouds.items():
        value = by_hand(z)
        assert abs(value - package(z)) < 1e-6
        print(f"{cloud:13} {value:6.2f}")


# %% [markdown]
# ## Spectral entropy (Eq. 11)
#
# Centre the matrix $Z$ of $N$ embeddings in $D$ dimensions. Its singular values $\sigma_i$ say how
# far the cloud reaches in each of its principal directions. As shares of their sum they have an
# entropy, which is largest, $\ln D$, if all are equal:
#
# $$H_{\text{spec}} = \frac{H(p)}{\ln D}, \qquad p_i = \frac{\sigma_i}{\sum_j \sigma_j}, \qquad
# H(p) = -\sum_i p_i \ln p_i$$
#
# Before you run the cell: which of the three clouds has the lowest entropy?
#
# <details><summary>Answer</summary>The two clusters: one direction, from one cluster to the other,
# takes most. The collapsed cloud has the entropy of the sphere: centring removes the point, what is
# left is noise, and noise reaches equally far in all directions. Entropy and ranks cannot see this
# collapse.</details>


# %%
def entropy(z, power=1):
    sigma = torch.linalg.svdvals(z - z.mean(0))  # (min(N, D),)
    p = sigma**power / (sigma**power).sum()
    return -(p * p.log()).sum()


def spectral_entropy(z):
    return entropy(z) / torch.tensor(z.shape[1]).log()


compare(spectral_entropy, metrics.spectral_entropy)

# %% [markdown]
# A case with a known answer: points at $\pm 2$ on the first axis and at $\pm 1$ on the two others.
# The singular values are as 2 : 1 : 1, the shares are 1/2, 1/4, 1/4, and their entropy is
# $\tfrac{3}{2} \ln 2$.

# %%
stretch = torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64)
axes = torch.cat([corners, -corners]) * stretch  # (6, 3)
sigma = torch.linalg.svdvals(axes)
print("singular values", [round(s, 3) for s in sigma.tolist()])
print(f"entropy {entropy(axes):.4f} = 1.5 ln 2, over ln 3: {spectral_entropy(axes):.4f}")
assert abs(entropy(axes) - 1.5 * torch.tensor(2.0).log()) < 1e-6
assert abs(spectral_entropy(axes) - metrics.spectral_entropy(axes)) < 1e-6

# %% [markdown]
# > **Gotcha.** The paper's *tables* are not Eq. 11. They take shares of $\sigma^2$, the variance,
# > and divide by $\ln \min(N, D)$: `tests/test_conventions.py` shows it from the published
# > numbers. Both are measured here, `spectral_entropy` by Eq. 11 and `spectral_entropy_sigma2` as
# > in the tables. On the cloud above they are not close:

# %%
as_in_tables = entropy(axes, power=2) / torch.tensor(min(axes.shape)).log()
assert abs(as_in_tables - metrics.spectral_entropy(axes, power=2, normalize="min")) < 1e-6
print(f"Eq. 11: {spectral_entropy(axes):.3f}   as in the tables: {as_in_tables:.3f}")

# %% [markdown]
# ## Effective rank (Eq. 12)
#
# The same entropy, as a number of dimensions: of $k$ equal singular values it is exactly $k$.
#
# $$\text{erank}(Z) = e^{H(p)}$$
#
# So Eq. 11 is $\ln(\text{erank}) / \ln D$ and holds nothing new. It is at most $\min(N, D)$:
# compare it only at the same $N$ and $D$.


# %%
def effective_rank(z):
    return entropy(z).exp()


compare(effective_rank, metrics.effective_rank)
print(f"shares 1/2, 1/4, 1/4: {effective_rank(axes):.4f} = 2 to the power of 1.5")
assert abs(effective_rank(axes) - 2**1.5) < 1e-6

# %% [markdown]
# ## Stable rank (Eq. 13)
#
# The whole variance, counted in units of its largest direction. Small directions hardly count:
#
# $$\text{srank}(Z) = \frac{\lVert Z \rVert_F^2}{\lVert Z \rVert_2^2} =
# \frac{\sum_i \sigma_i^2}{\sigma_1^2}$$
#
# Before you run the cell: the two clusters have an effective rank above 1. And a stable rank?
#
# <details><summary>Answer</summary>Close to 1: squares make the noise around the clusters
# negligible beside the distance between them.</details>


# %%
def stable_rank(z):
    sigma = torch.linalg.svdvals(z - z.mean(0))
    return (sigma**2).sum() / sigma[0] ** 2


compare(stable_rank, metrics.stable_rank)
print(f"singular values 2 : 1 : 1: {stable_rank(axes):.2f}")
assert abs(stable_rank(axes) - 6 / 4) < 1e-9

# %% [markdown]
# ## Alignment (Eq. 14)
#
# From here on only directions count: $u = s / \lVert s \rVert$, points on the unit sphere, not
# centred. Alignment asks how far two texts of one class are apart:
#
# $$\mathcal{A} = \mathbb{E}_{(u, v)\ \text{of one class}} \left[ \left( \lVert u - v \rVert^2
# \right)^{\alpha} \right], \qquad \alpha = 2$$
#
# Lower is tighter. $\lVert u - v \rVert^2 = 2 - 2 \cos(u, v)$: 0 for one direction, 2 at a right
# angle, 4 for opposite directions.


# %%
def squared_distances(z):
    u = z / z.norm(dim=1, keepdim=True)
    return 2 - 2 * (u @ u.T)  # (N, N)


def alignment(z, labels=labels):
    i, j = torch.triu_indices(len(z), len(z), offset=1)
    return (squared_distances(z)[i, j] ** 2)[labels[i] == labels[j]].mean()


compare(alignment, lambda z: metrics.alignment(z, labels))

# %% [markdown]
# > **Gotcha.** Eq. 14 squares a squared distance: a fourth power. Wang and Isola (2020), whom it
# > cites, take $\lVert u - v \rVert^{2}$. And the tables average over classes first, so that a
# > small class weighs as much as a large one. All three are measured: `alignment`,
# > `alignment_squared`, `alignment_by_class`.
#
# Five texts: three of class 0 in one direction, two of class 1 at a right angle. Class 0 has three
# pairs at distance 0, class 1 has one pair with $\lVert u - v \rVert^2 = 2$. What are the three
# alignments?
#
# <details><summary>Answer</summary>Over pairs (0 + 0 + 0 + 4) / 4 = 1 by Eq. 14 and 2 / 4 with the
# squared distance; over classes (0 + 4) / 2 = 2.</details>

# %%
five, of_class = corners[[0, 0, 0, 1, 2]], torch.tensor([0, 0, 0, 1, 1])
print(f"Eq. 14          {metrics.alignment(five, of_class):.2f}")
print(f"Wang and Isola  {metrics.alignment(five, of_class, power=2):.2f}")
print(f"as in tables    {metrics.alignment(five, of_class, average='classes'):.2f}")
assert abs(alignment(five, of_class) - metrics.alignment(five, of_class)) < 1e-9

# %% [markdown]
# ## Uniformity (Eq. 15)
#
# How evenly the directions fill the sphere, whatever their classes:
#
# $$\mathcal{U} = \ln\, \mathbb{E}_{u, v} \left[ e^{-t \lVert u - v \rVert^2} \right],
# \qquad t = 2$$
#
# Lower is more uniform. 0 means that all texts have one direction. If all pairs stand at right
# angles, it is $-2 \cdot 2 = -4$: about what random directions in many dimensions have. On the
# sphere in three dimensions $\lVert u - v \rVert^2$ is equally likely to be anything from 0 to 4,
# so that $\mathcal{U} = \ln \left( (1 - e^{-8}) / 8 \right)$.
#
# Before you run the cell: which cloud has a uniformity near 0, and is it the one that entropy and
# ranks call rich?
#
# <details><summary>Answer</summary>The collapsed one, and yes. Spectra see shape without scale,
# uniformity sees scale without shape: neither is enough.</details>


# %%
def uniformity(z, t=2):
    i, j = torch.triu_indices(len(z), len(z), offset=1)
    return (-t * squared_distances(z)[i, j]).exp().mean().log()


compare(uniformity, metrics.uniformity)
print(f"a sphere of very many points: {torch.tensor((1 - 2.718281828**-8) / 8).log():.2f}")
print(f"right angles:  {uniformity(corners):.2f}")
assert abs(uniformity(corners) + 4) < 1e-9

# %% [markdown]
# ## Probe gap (Eq. 16)
#
# Fit a linear classifier from embeddings to the task's label, and another to the most frequent
# token of the text. Both accuracies are cross-validated:
#
# $$\Delta = \text{acc}_{\text{semantic}} - \text{acc}_{\text{token}}$$
#
# Above 0 the embedding knows the label better than the word. Take texts whose label and token are
# independent, each 0 for three of four texts. One encoder knows only the label, one only the token,
# one both. Who does not know answers 0, and is right in 75 % of the texts.

# %%
label = torch.tensor([0, 0, 0, 1]).repeat(60)  # (N,) = (240,)
token = torch.tensor([0, 0, 0, 1]).repeat_interleave(4).repeat(15)
nothing = torch.zeros(240)
encoders = {"label": (label, nothing), "token": (nothing, token), "both": (label, token)}
for known, features in encoders.items():
    z = torch.stack(features, dim=1).double().numpy()  # (240, 2)
    semantic = (probes.semantic_probe(z, label.numpy()).predictions == label.numpy()).mean()
    lexical = (probes.token_probe(z, token.numpy()).predictions == token.numpy()).mean()
    assert abs(semantic - lexical - metrics.probe_gap(z, label.numpy(), token.numpy())) < 1e-9
    gap = semantic - lexical
    print(f"knows {known:6} semantic {semantic:.2f}, token {lexical:.2f}: gap {gap:+.2f}")

# %% [markdown]
# > **Gotcha.** A gap compares two tasks of different difficulty: it rises if the label gets easier
# > or the token harder. For STS-B the paper even subtracts an accuracy from a rank correlation.
# > Look at both probes.
#
# ## What the metrics can and cannot tell
#
# One column for each cloud. The first three rows cannot tell the collapsed cloud from the sphere,
# the last two can; only alignment knows about classes.

# %%
print(f"{'':17}" + "".join(f"{cloud:>14}" for cloud in clouds))
for metric in (spectral_entropy, effective_rank, stable_rank, alignment, uniformity):
    values = [metric(z) for z in clouds.values()]
    print(f"{metric.__name__:17}" + "".join(f"{value:14.2f}" for value in values))

# %% [markdown]
# ## Hybrid minus MLM-only
#
# Now the encoders: mean of tasks, paired by seed. A point left of 0: the hybrid is lower. An
# interval that contains 0 shows no difference. `weighted` has the numbers of `mean`, as the paper's
# weights were never trained, and is not counted in titles. A pair of sentences is one text here,
# "s1 [SEP] s2"; in notebook 04 both are encoded separately. The semantic probe's mean is over
# accuracies and one rank correlation.
#
# First the eight seeds that come with the project (preset `demo`, embedded tasks;
# `figures/data/eight-seeds/05_differences.csv`):

# %%
eight = findings.evidence("eight-seeds")["05_differences"]
figures.show(figures.headline_differences(eight))
typeset.say(*sentences.of_gaps(eight), sentences.of_claims(eight))

# %% [markdown]
# And the runs on this disk. Intervals over seeds say what another training run would give; with one
# seed they are over texts, and say what *these* weights would give on other texts.

# %% tags=["nbval-ignore-output"]
gaps = book.gaps
for arm, runs in book.all_runs.items():
    print(tables.budget(arm, runs))
if gaps is not None:
    book.gallery.show("05_headline", figures.headline_differences(gaps), gaps)

# %% tags=["nbval-ignore-output"]
if gaps is not None:
    typeset.say(*sentences.of_gaps(gaps))

# %% [markdown]
# In numbers. Folded below: all metrics, and the tasks.

# %% tags=["nbval-ignore-output"]
tasks_table = tables.task_table(book.tasks, book.encoders[0]).drop(columns="note")
tasks_table = typeset.styled(tasks_table, "The tasks.")
if gaps is None:
    typeset.show(tasks_table)
else:
    caption = tables.gap_caption(gaps)
    short = typeset.styled(tables.gap_table(gaps), caption)
    every = typeset.styled(tables.every_gap_table(gaps), f"Every metric. {caption}")
    typeset.show(short, every, tasks_table)

# %% tags=["nbval-ignore-output"]
if gaps is not None:
    book.gallery.show("05_differences", figures.differences(gaps), gaps)

# %% [markdown]
# ## Task by task
#
# All six metrics under mean pooling. On GLUE tasks pale bars are the published values.

# %% tags=["nbval-ignore-output"]
means = tables.geometry_with_published(book.geometry.table)
book.gallery.show("05_metrics", figures.metric_bars(means, "mean"), means)

# %% [markdown]
# Both probes under attention pooling, about which the paper makes its lexical claim (Table 6).

# %% tags=["nbval-ignore-output"]
book.gallery.show("05_probes", figures.probe_comparison(means, "attention"), means)

# %% [markdown]
# ## The paper's tables
#
# Tables 4 to 11 with our numbers; click on a line to unfold it. Published numbers stand beside GLUE
# tasks only: the embedded tasks have the same shapes and other texts. All are written to
# `figures/data/` as CSV, Markdown and LaTeX; Table 3 is in notebook 04. Ranks are at most
# min(N, D), so a published rank names its D if ours differs. Tables 7 to 11 have more metrics:
#
# - *components for 90 %*: how many directions hold 90 % of the variance (the public code's).
# - *RankMe*: effective rank without centring (Garrido et al. 2023). A shared direction lowers it,
#   so it can order two encoders the other way round than Eq. 12.
# - *alignment of true pairs*: mean squared distance of paraphrases, or of pairs graded 4 or more,
#   both sentences encoded separately (Wang and Isola 2020).
# - *distance within classes / between*: the ratio of mean distances, explained in
#   [05c](05c_spectra_and_maps.ipynb); 1 is no separation.

# %% tags=["nbval-ignore-output"]
measured = book.geometry
files = tables.export_paper_tables(measured.table, book.gallery.data_folder)
under_mean = measured.table[measured.table["pooling"] == "mean"]
short = tables.geometry_table(under_mean, ("uniformity", "effective_rank"))
short = typeset.styled(short.droplevel("pooling"), "Mean pooling, with 95 % intervals.")
typeset.show(short, *tables.paper_tables(measured.table))
print(", ".join(file.name for file in files if file.suffix == ".csv"))

# %% [markdown]
# ## Explore the geometry
#
# With a running kernel you choose task, pooling, arms, seed and the definitions of the metrics:
# "the paper's tables" instead of "the paper's equations".

# %% tags=["nbval-ignore-output"]
widgets.geometry_explorer(measured)

# %% [markdown]
# ## Caveats
#
# - An interval over texts (one seed) says nothing about another training run.
# - Tasks share the encoders of a seed and are not independent; p-values are of seeds alone. Three
#   seeds cannot give a p below one quarter, whatever they show.
# - A run on the unigram plateau (notebook 02) embeds all texts alike; its geometry is that of
#   positions, not of an objective.
# - Whether the pooler or the length of texts makes a difference is the question of
#   [05b](05b_confounders.ipynb), whether it is the objective that of [06](06_why.ipynb).

# %% tags=["nbval-ignore-output"]
print(book.gallery.export())
