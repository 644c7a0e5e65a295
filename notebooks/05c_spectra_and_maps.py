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
# # 05c · Spectra and maps
#
# **Claim (paper, Figures 3–10).** Under mean pooling both arms have similar spectra; the hybrid's
# classes are less tight and no better separated.
#
# **How to read.** [05](05_geometry.ipynb) reduced a cloud of texts to numbers; this notebook draws
# it: how far it reaches in each direction (eigenspectra), how classes lie in it, and what it looks
# like from above (maps). Each section begins with a cloud whose answer is known.

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

from predrecon.audit import geometry, projections
from predrecon.workbook import Notebook, figures, sentences, tables, typeset, widgets

book = Notebook(preset, corpus=corpus, tokenizer=tokenizer, max_steps=max_steps, arms=arms,
                seed=seed, tasks=tasks, data_dir=data_dir, overrides=overrides,
                max_samples=max_samples, every_seed=True)  # fmt: skip

# %% [markdown]
# ## Eigenspectra
#
# The paper's Figures 7 to 10 show the share of variance of each principal component, with the
# singular values $\sigma_i$ of the centred embeddings:
#
# $$\text{share}_i = \frac{\sigma_i^2}{\sum_j \sigma_j^2}$$
#
# Take a cloud whose covariance is known: five directions with variances 8, 4, 2, 1, 1. Before you
# run the cell: how many components hold 90 % of the variance, and what is the effective rank?
#
# <details><summary>Answer</summary>The shares are 1/2, 1/4, 1/8, 1/16, 1/16: three hold 7/8,
# four 15/16. The effective rank is of singular values, the roots of these, and so is nearer to 5
# than shares of variance suggest.</details>

# %%
variances = torch.tensor([8.0, 4.0, 2.0, 1.0, 1.0]).double()
known = torch.cat([torch.eye(5), -torch.eye(5)]) * variances.sqrt()  # (N, D) = (10, 5)
sigma = torch.linalg.svdvals(known - known.mean(0))  # (5,)
share, p = sigma**2 / (sigma**2).sum(), sigma / sigma.sum()
print("shares", share.numpy().round(4), "sum", share.cumsum(0).numpy().round(4))
needed, rank = (share.cumsum(0) < 0.9).sum() + 1, (-(p * p.log()).sum()).exp()
print(f"components for 90 %: {needed}, effective rank {rank:.2f}")
measured = geometry.shape_metrics(known, [0, 1] * 5)
assert measured["rank_90"] == needed and abs(measured["effective_rank"] - rank) < 1e-6

# %% [markdown]
# A measured spectrum is that of a sample. Here all 40 directions have the *same* variance, and the
# true spectrum is flat at 1/40. With few texts some directions look longer by chance:

# %%
generator = torch.Generator().manual_seed(0)
draws = torch.randn(4000, 40, generator=generator).double()
samples = {}
for n in (60, 400, 4000):
    sigma = torch.linalg.svdvals(draws[:n] - draws[:n].mean(0))
    share = samples[f"{n} texts"] = (sigma**2 / (sigma**2).sum()).numpy()
    rank = geometry.shape_metrics(draws[:n], torch.arange(n) % 2)["effective_rank"]
    print(f"{n:5} texts: first share {share[0]:.1%}, effective rank {rank:.1f} of 40")
_ = figures.show(figures.known_spectrum([1 / 40] * 40, samples))

# %% [markdown]
# > **Gotcha.** So compare spectra and ranks only at the same number of texts N and dimensions D.
# > N differs between tasks, and D between our encoders and the published ones.
#
# On the encoders: mean pooling, a curve per training seed; in JupyterLab a menu changes the task.
# Dotted curves are the published ones, where the task is one of the paper's: 50 components are
# known of these, and the sum of all through the stable rank, so that shares compare at any scale.

# %% tags=["nbval-ignore-output"]
spectra = geometry.seed_spectra(book.geometry).query("pooling == 'mean'")
published = geometry.published_spectra()
pictures = {}
for task in book.tasks:
    figure = figures.eigenspectra(spectra, task.name, "mean", task.title, published)
    rows = spectra[spectra["task"] == task.name]
    pictures[task.title] = (f"05_eigenspectrum_{task.name}", figure, rows)
book.gallery.show_each(pictures, "Task")

# %% tags=["nbval-ignore-output"]
typeset.say(*sentences.of_spectra(spectra))

# %% [markdown]
# ## Alignment against uniformity
#
# The paper's Figures 3 to 6. Alignment is the distance within classes, uniformity the spread of
# everything; so what spreads a cloud out moves both. A cloud of two classes, blown up: directions
# around a common point, farther and farther from it.
#
# Before you run the cell: does the ratio of distances, within classes over between, change as well?
#
# <details><summary>Answer</summary>Hardly. Alignment gets worse and uniformity better because all
# distances grow; whether classes lie apart is in their ratio.</details>

# %%
offsets = torch.randn(200, 8, generator=torch.Generator().manual_seed(1)).double()
labels = torch.arange(200) % 2
offsets[:, 0] += 2 * labels  # the classes differ in one direction
centre = torch.tensor([10.0] * 8).double()
for scale in (0.5, 1, 2, 4):
    values = geometry.shape_metrics(centre + scale * offsets, labels)
    names = ("alignment", "uniformity", "intra_inter_ratio")
    print(f"scale {scale:3}: " + ", ".join(f"{name} {values[name]:.3f}" for name in names))

# %% [markdown]
# The ratio by hand, of the mean distances between unit vectors:
#
# $$r = \frac{\mathbb{E}\, \lVert u - v \rVert \ \text{within classes}}
# {\mathbb{E}\, \lVert u - v \rVert \ \text{between classes}}$$

# %%
z = centre + 4 * offsets
u = z / z.norm(dim=1, keepdim=True)
i, j = torch.triu_indices(200, 200, offset=1)
distance = (u[i] - u[j]).norm(dim=1)  # (19900,)
same = labels[i] == labels[j]
r = distance[same].mean() / distance[~same].mean()
assert abs(r - geometry.shape_metrics(z, labels)["intra_inter_ratio"]) < 1e-6
print(f"{same.sum()} pairs within, {(~same).sum()} between: ratio {r:.3f}")

# %% [markdown]
# On the encoders, one point per task; in JupyterLab a menu changes the pooling. Right: at a ratio
# of 1 nothing separates the classes.

# %% tags=["nbval-ignore-output"]
means = tables.geometry_with_published(book.geometry.table)
chosen = means[means["metric"].isin(["alignment", "uniformity", "intra_inter_ratio"])]
pictures = {}
for pooling in ("mean", "max", "weighted", "attention"):
    figure = figures.alignment_uniformity(chosen, pooling)
    pictures[pooling] = (f"05_alignment_uniformity_{pooling}", figure, chosen)
book.gallery.show_each(pictures, "Pooling")

# %% tags=["nbval-ignore-output"]
typeset.say(*sentences.of_classes(means))
if book.gaps is not None:
    typeset.say(*sentences.of_gaps(book.gaps, ("alignment",)))

# %% [markdown]
# ## Who leads in what
#
# The public code's radar: six metrics of one task under mean pooling, outwards is better. Every
# spoke runs from the worst to the best value of any model under any pooling, so a spoke says who
# leads and not by how much: a full spoke can be a difference that is not clear (notebook
# [05](05_geometry.ipynb) says which are). A point near the centre: under another pooling this
# metric is far better, for both arms.

# %% tags=["nbval-ignore-output"]
pictures = {}
for task in book.tasks:
    figure = figures.radar(means, task.name, task.title, "mean")
    rows = means[means["task"] == task.name]
    pictures[task.title] = (f"05_radar_{task.name}", figure, rows)
book.gallery.show_each(pictures, "Task")

# %% [markdown]
# ## Maps
#
# Each text gets two coordinates. PCA takes the two directions of largest variance, the first two
# columns of $V$ in the singular value decomposition of the centred embeddings:
#
# $$Z - \bar{Z} = U \Sigma V^{\top}, \qquad \text{map} = (Z - \bar{Z})\, V_{:, 1:2}$$
#
# Take three clusters at the corners of a triangle with sides 3, 4 and 5, in 16 dimensions. Does the
# map keep the sides?
#
# <details><summary>Answer</summary>Yes: three centres lie in a plane, and the plane is what PCA
# finds. The noise tilts it a little.</details>

# %%
corners = torch.zeros(3, 16).double()
corners[1, 0], corners[2, 1] = 3.0, 4.0
z = corners.repeat_interleave(50, dim=0)  # (150, 16)
z = z + 0.1 * torch.randn(150, 16, generator=torch.Generator().manual_seed(2)).double()
_, _, vh = torch.linalg.svd(z - z.mean(0), full_matrices=False)
by_hand = (z - z.mean(0)) @ vh[:2].T  # (150, 2)
package = torch.from_numpy(projections.place(z.numpy(), "PCA"))
assert (by_hand.abs() - package.abs()).abs().max() < 1e-6  # the sign is free
centres = by_hand.reshape(3, 50, 2).mean(1)
for a, b in ((0, 1), (0, 2), (1, 2)):
    print(f"from centre {a} to centre {b}: {(centres[a] - centres[b]).norm():.1f}")

# %% [markdown]
# > **Gotcha.** UMAP promises less: neighbours stay neighbours. Distances between its islands,
# > their sizes and their shapes mean little, and another seed moves them. Do not read "far apart"
# > off it: for that PCA is shown as well. What PCA leaves out, all directions but two, it leaves
# > out silently: the eigenspectrum above says how much that is.
#
# The first 250 texts of the first task, coloured by label; in JupyterLab, hover for the text. What
# to look for: whether colours gather, and whether they do so in one arm only. The sign of an axis
# is free: up in one arm and down in the other means nothing.

# %% tags=["nbval-ignore-output"]
first_task = book.tasks[0]
texts = first_task.validation.head(min(250, book.max_samples))
groups = first_task.groups(texts.labels)
names = [first_task.classes[g] if first_task.classes else str(g) for g in groups]
embeddings = book.geometry.embeddings
clouds = {arm: embeddings[first_task.name, "mean", arm][:250] for arm in book.arms}
places = projections.points(clouds, names, texts.first, seed=book.seed)
figure = figures.embedding_map(places, f"{first_task.title}, mean pooling, by label")
book.gallery.show("05_map", figure, places, caption=book.caption(seed))

# %% [markdown]
# ## Explore the maps
#
# With a running kernel, click a point or draw a box to read the texts and their nearest neighbours
# in each arm. Coloured by length: is an axis of the map the number of tokens
# ([05b](05b_confounders.ipynb))?

# %% tags=["nbval-ignore-output"]
widgets.map_explorer(book.geometry, book.tasks, book.encoders, seed=book.seed)

# %% [markdown]
# ## Caveats
#
# - Maps and the radar are of one seed or of means: read intervals in [05](05_geometry.ipynb).
# - Alignment and uniformity are not two findings where they move together.
# - The last component of centred embeddings can be 0 by construction (a final LayerNorm); shares
#   below a millionth are not drawn.

# %% tags=["nbval-ignore-output"]
print(book.gallery.export())
