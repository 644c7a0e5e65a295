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
# # 03 · λ follows the sum of the learning rates
#
# **Claim.** $\lambda = \sigma(w)$ is "learned" (Eq. 7), but what it learns is the sum of the
# learning rates $\eta_s$:
#
# $$\lambda(t) \approx \sigma\Big(\sum_{s \le t} \eta_s\Big)$$
#
# whatever the text. Three steps lead there: the gradient of $w$ has one sign; Adam divides a
# gradient by its own size; so $w$ grows by one learning rate a step.
#
# **How to read.** Each step is done by hand on numbers that you can check, and asserted against
# PyTorch or `predrecon.objectives`. Then the prediction meets a real run: if the claim were wrong,
# the two curves would part.

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
import torch

from predrecon import objectives, recipes
from predrecon.workbook import Notebook, figures, tables, typeset, widgets

book = Notebook(preset, corpus=corpus, tokenizer=tokenizer, max_steps=max_steps, seed=seed,
                arms="hybrid", data_dir=data_dir, overrides=overrides)  # fmt: skip

# %% [markdown]
# ## Step 1: the gradient has one sign
#
# $$\frac{\partial L}{\partial w} = \lambda (1 - \lambda) (L_\mathrm{JEPA} - L_\mathrm{MLM})$$
#
# $L_\mathrm{JEPA}$ is a cosine distance, at most 2 and soon below 1. $L_\mathrm{MLM}$ is a
# cross-entropy of several nats.
#
# **Before you run it:** derive the gradient from Eq. 7. Which sign does it have, and for how long?
#
# <details><summary>Answer</summary>
#
# $L = \lambda L_\mathrm{JEPA} + (1 - \lambda) L_\mathrm{MLM}$ gives
# $\partial L / \partial \lambda = L_\mathrm{JEPA} - L_\mathrm{MLM}$, and
# $\partial \sigma / \partial w = \sigma (1 - \sigma)$. It is negative as long as the MLM loss is
# the larger one: in every run of this project. The optimiser goes against the gradient: $w$ grows.
#
# </details>

# %%
w = torch.zeros((), requires_grad=True)
jepa, mlm = torch.tensor(0.5), torch.tensor(6.5)
lam = torch.sigmoid(w)
(lam * jepa + (1 - lam) * mlm).backward()
by_hand = 0.5 * (1 - 0.5) * (0.5 - 6.5)
print(f"lambda {lam:.1f}; dL/dw by hand {by_hand:.2f}, by autograd {w.grad:.2f}")
assert by_hand == w.grad == objectives.balance_gradient(lam, jepa, mlm)

# %% [markdown]
# The module that trains is no different. As λ grows, the gradient shrinks, but it keeps its sign:

# %%
balance = objectives.Balance(None, "learned")
for start in (0.0, 1.0, 3.0, 6.0):
    balance.zero_grad()
    torch.nn.init.constant_(balance.w, start)
    balance(jepa, mlm).backward()
    print(f"w {start:.0f}: lambda {balance.lam:.3f}, dL/dw {balance.w.grad.item():.3f}")
    expected = objectives.balance_gradient(balance.lam, jepa, mlm).view(1)
    torch.testing.assert_close(balance.w.grad, expected)

# %% [markdown]
# ## Step 2: Adam forgets how large the gradient is
#
# $$m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad
# v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \qquad
# w \leftarrow w - \eta\, \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}$$
#
# **Before you run it:** three gradients, −0.003, −1.5 and −400. By how much does $w$ move in the
# first step, at a learning rate of 0.001?


# %%
def adam(gradients, rates, beta1=0.9, beta2=0.999):
    w, m, v = 0.0, 0.0, 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        w -= rate * (m / (1 - beta1**t)) / ((v / (1 - beta2**t)) ** 0.5 + 1e-8)
    return w


for gradient in (-0.003, -1.5, -400.0):
    w = torch.zeros((), requires_grad=True, dtype=torch.float64)
    w.grad = torch.tensor(gradient, dtype=torch.float64)
    torch.optim.Adam([w], lr=0.001).step()
    by_hand = adam([gradient], [0.001])
    print(f"gradient {gradient:8}: step by hand {by_hand:.6f}, by torch {w.item():.6f}")
    assert abs(by_hand - w.item()) < 1e-12

# %% [markdown]
# <details><summary>Answer</summary>
#
# By one learning rate, all three: at $t = 1$ the fraction is $g / |g|$.
#
# </details>
#
# ### Many steps, gradients of every size
#
# A real gradient changes from batch to batch. As long as its sign stays, $w$ still moves by about
# one rate a step. **Before you run it:** and if the sign were a coin flip? And with plain SGD?

# %%
rng, n, rate = torch.Generator().manual_seed(0), 1_000, 0.001
size = torch.exp(0.3 * torch.randn(n, generator=rng, dtype=torch.float64))
sign = 2.0 * torch.randint(2, (n,), generator=rng) - 1
rates = [rate] * n
print(f"sum of learning rates      {sum(rates):.2f}")
print(f"negative, sizes vary       {adam((-size).tolist(), rates):.2f}")
print(f"negative, 1,000 x as large {adam((-1_000 * size).tolist(), rates):.2f}")
print(f"signs by a coin            {adam((sign * size).tolist(), rates):.2f}")
print(f"plain SGD, negative        {rate * size.sum():.2f}")
print(f"plain SGD, 1,000 x         {1_000 * rate * size.sum():.2f}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# With signs by a coin, $w$ wanders near 0. With SGD the step is the gradient times the rate, so the
# size of the losses decides. The claim is about adaptive optimisers.
#
# </details>
#
# ## Step 3: so the schedule predicts λ
#
# $w(t) \approx \sum_s \eta_s$, with the rates $\eta_s$ of $w$ itself (`lam_lr`; AdamW updates it
# whatever updates the matrices). The schedule knows them before training begins: a linear
# warm-up, then a cosine. $w$ has no weight decay. Ten steps, two of them warm-up, a peak of 0.5:

# %%
recipe, total = recipes.get("demo", warmup_steps=2, lam_lr=0.5), 10
cosine = torch.cos(torch.pi * torch.arange(8, dtype=torch.float64) / 8)
rates = torch.cat([torch.tensor([0.25, 0.5]), 0.5 * (1 + cosine) / 2])
lam = torch.sigmoid(rates.cumsum(0))
print("rates ", " ".join(f"{value:.2f}" for value in rates))
print("sum   ", " ".join(f"{value:.2f}" for value in rates.cumsum(0)))
print("lambda", " ".join(f"{value:.2f}" for value in lam))
expected = objectives.predicted_lambda(recipe, total)
torch.testing.assert_close(lam, torch.from_numpy(expected))

# %% [markdown]
# ## Prediction and outcome
#
# Left: λ as trained (solid) and the prediction from the schedule alone (dashed). Right: the
# gradient. Look for a dashed line that lies on the solid one, and for a gradient that never crosses
# 0.

# %% tags=["nbval-ignore-output"]
run = book.runs["hybrid"]
table = tables.balance_table(run)
book.gallery.show("03_lambda", figures.lambda_dynamics(table), table)
typeset.say(*tables.balance_sentences(table))
for arm, runs in book.all_runs.items():
    print(tables.budget(arm, runs))

# %% [markdown]
# A trained λ that lies a little below the prediction has two reasons: Adam's averages need some
# steps to build up, and a gradient that shrinks is smaller than the average of its past sizes.
#
# ### Explore
#
# With a running kernel you choose runs on disk and plot them against steps, tokens, operations or
# time; "live" follows runs that are in training. Two seeds of one recipe have different losses and
# the same λ.

# %% tags=["nbval-ignore-output"]
widgets.training_explorer([run.folder], task=book.first_task, tokenizer=book.corpus.tokenizer)

# %% [markdown]
# ## What that means for long runs
#
# λ at the end of training by number of steps, for three peak learning rates under the same cosine
# schedule: no text, no model, only the schedule. **Before you run it:** the cosine has a mean of
# one half. At the paper's peak of 5e-5, how many steps bring $\sum \eta$ to 3, and λ above 0.95?

# %%
counts = [1_000, 3_000, 10_000, 30_000, 100_000, 300_000]
paper = recipes.get("paper")
final = pd.DataFrame(
    {
        f"peak lr {lr:g}": [objectives.predicted_lambda(paper, n, lr=lr)[-1] for n in counts]
        for lr in (5e-5, 2e-4, 1e-3)
    },
    index=pd.Index(counts, name="steps"),
)
by_hand = 1 / (1 + torch.tensor(-0.5 * 5e-5 * 100_000).exp())
assert abs(final.loc[100_000, "peak lr 5e-05"] - by_hand) < 0.001
final.round(3)

# %% [markdown]
# <details><summary>Answer</summary>
#
# $3 / (0.5 \cdot 5 \cdot 10^{-5}) = 120{,}000$ steps. Where λ is near 1, the MLM loss, weighted by
# $1 - \lambda$, no longer matters, whether or not that is best.
#
# </details>
#
# > **Gotcha.** The learning rate of $w$ is a hidden hyper-parameter of the objective. Preset `demo`
# > gives $w$ a rate of its own (`lam_lr`), lower than that of the weights, to keep the MLM loss in
# > play.
#
# ## Caveats
#
# - The prediction is for an adaptive optimiser whose second moment follows the gradient.
# - It says where λ goes, not that this is bad: notebook 06 compares runs with a fixed λ.

# %% tags=["nbval-ignore-output"]
print(book.gallery.export())
