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
# # 04 · Linear probes
#
# **Claim (paper, Table 3).** Both arms reach similar accuracy when a small head is trained on the
# frozen, mean-pooled encoder.
#
# **How to read.** First the heads and their scores by hand, on vectors that fit a line of paper;
# then the encoders. Each task has two arms, the same encoder *before its first step*, and the
# majority class. An arm that does not beat the untrained encoder has not shown that pre-training
# helped.

# %% tags=["parameters"]
preset = "auto"  # demo, demo-published, modern, paper, smoke; auto: demo, on a GPU paper
corpus = "auto"  # docstrings, wikitext-103, wikipedia, or a path; auto: the preset's
tokenizer = "auto"  # a hub name or a folder; auto: the corpus's own
arms = "hybrid,mlm"
seed = 0
max_steps = None  # optimiser steps; None: the preset's
tasks = "auto"  # glue, embedded, or names; auto: embedded for the embedded corpus, else glue
max_train = None  # training samples of a probe at most; None: all
select = "last"  # the epoch that is scored: last, or the best on the inner or reported split
data_dir = None  # local copies of the real data; None: the variable PREDRECON_DATA
overrides = {}  # any other field of a recipe

# %% tags=["nbval-ignore-output"]
import torch

from predrecon import audit, probes
from predrecon.workbook import Notebook, figures, findings, tables, typeset, widgets

book = Notebook(preset, corpus=corpus, tokenizer=tokenizer, max_steps=max_steps, arms=arms,
                seed=seed, tasks=tasks, data_dir=data_dir, overrides=overrides,
                max_train=max_train, every_seed=True)  # fmt: skip

# %% [markdown]
# ## A probe looks for a direction
#
# A linear probe asks whether the label lies along one direction $w$ of the frozen vectors. With
# labels $y \in \{-1, 1\}$ and centred vectors as the rows of $X$, ridge regression has it in closed
# form:
#
# $$w = (X^\top X + \alpha I)^{-1} X^\top y \qquad \hat y = \operatorname{sign}(X w)$$
#
# Ten points in the plane; class 1 lies to the right. Where does $w$ point?

# %%
right = torch.tensor([[1.0, 0.0], [2.0, 1.0], [1.0, 1.0], [2.0, 0.0], [3.0, 1.0]])
z, y = torch.cat([right, -right]), torch.tensor([1.0] * 5 + [-1.0] * 5)
X = z - z.mean(dim=0)
w = torch.linalg.solve(X.T @ X + torch.eye(2), X.T @ y)
answers = (X @ w > 0).long()
print("X", tuple(X.shape), "w", [round(v, 2) for v in w.tolist()], "answers", answers.tolist())

package = probes.semantic_probe(z, (y > 0).long())  # logistic regression, five folds
assert package.predictions.tolist() == answers.tolist() and package.score == 1.0

# %% [markdown]
# What no direction shows, no linear probe finds. Four corners of a square, labelled by whether both
# coordinates are equal: which $w$ does ridge regression choose?
#
# <details><summary>Answer</summary>None: w = (0, 0). Along every direction both classes have the
# same mean. The label is in the vectors, but not linearly.</details>

# %%
corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
equal = torch.tensor([1, 0, 0, 1])
X = corners - corners.mean(dim=0)
w = torch.linalg.solve(X.T @ X + torch.eye(2), X.T @ (2.0 * equal - 1))
print("w", (w + 0).tolist())

# %% [markdown]
# ## The head of single sentences
#
# SST-2 and CoLA: LayerNorm → Dropout → Linear, cross-entropy, AdamW. With $\mu$ and $\sigma$ the
# mean and standard deviation of one vector's own entries:
#
# $$p(y \mid z) = \operatorname{softmax}\Big(W \operatorname{dropout}\big(\gamma \odot
# \tfrac{z - \mu}{\sigma} + \beta\big) + b\Big)$$
#
# Forty steps on eight vectors, without dropout, so that both computations must agree:

# %%
draws = torch.Generator().manual_seed(0)
labels = torch.tensor([0, 1] * 4)
shift = torch.tensor([3.0, -3.0, 0.0, 0.0])  # of class 1
s = torch.randn(8, 4, generator=draws) + labels[:, None] * shift
head = torch.nn.Sequential(torch.nn.LayerNorm(4), torch.nn.Dropout(0.0), torch.nn.Linear(4, 2))
start = torch.Generator().manual_seed(0)
torch.nn.init.uniform_(head[2].weight, -0.5, 0.5, generator=start)  # within 1 / sqrt(D)
torch.nn.init.uniform_(head[2].bias, -0.5, 0.5, generator=start)
optimizer = torch.optim.AdamW(head.parameters(), lr=0.05, weight_decay=0.0)
for _ in range(40):
    loss = torch.nn.functional.cross_entropy(head(s), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

# %%
p = head(s).softmax(dim=1)  # (N, classes)
print("s", tuple(s.shape), "p", tuple(p.shape), f"loss {loss.item():.2f}")
print("answers", p.argmax(dim=1).tolist(), "labels", labels.tolist())

options = dict(num_classes=2, epochs=40, lr=0.05, batch_size=8, dropout=0.0)
package = probes.linear_probe((s, labels), (s, labels), metric="accuracy", **options)
assert package.predictions.tolist() == p.argmax(dim=1).tolist()
assert torch.allclose(torch.tensor(package.confidence), p.amax(dim=1), atol=1e-4)

# %% [markdown]
# ## The features of a pair
#
# MRPC and MNLI: each sentence is encoded on its own, and a linear layer reads
#
# $$[\,s_1;\; s_2;\; |s_1 - s_2|;\; s_1 \odot s_2\,] \in \mathbb{R}^{4D}$$
#
# "Are both equal?" is the square again: nothing that is linear in $s_1$ and $s_2$ answers it.
# Before you run the cell: which of the four parts does?

# %%
s1, s2 = corners[:, :1], corners[:, 1:]  # D = 1
features = torch.cat([s1, s2, (s1 - s2).abs(), s1 * s2], dim=1)
print("features", tuple(features.shape), features.tolist())

options = dict(metric="accuracy", num_classes=2, epochs=200, lr=0.1)
package = probes.linear_probe((s1, s2, equal), (s1, s2, equal), **options)
without = probes.linear_probe((corners, equal), (corners, equal), dropout=0.0, **options)
print(f"accuracy with the pair's features {package.score:.1f}")
assert package.score == 1.0 and without.score < 1.0

# %% [markdown]
# <details><summary>Answer</summary>The third, |s1 − s2|, alone: it is 0 exactly where both are
# equal. The fourth does so together with the first two (1 − s1 − s2 + 2 s1 s2 is 1 there), but not
# alone: it leaves (0, 0) and (0, 1) alike.</details>
#
# ## Graded similarity: a cos + b
#
# STS-B: $\hat y = a \cos(s_1, s_2) + b$, two numbers, squared error. It is scored by Spearman's
# rank correlation, for ranks $r_i$ and $q_i$ without ties:
#
# $$\rho = 1 - \frac{6 \sum_i (r_i - q_i)^2}{n (n^2 - 1)}$$
#
# Before you run the cell: how much does the fit of $a$ and $b$ improve ρ?
#
# <details><summary>Answer</summary>Not at all. A line with a > 0 keeps the order, and ρ sees
# nothing but the order. Only a < 0 changes it: to −ρ.</details>

# %%
cosines = torch.tensor([0.1, 0.4, 0.3, 0.9, 0.7])
grades = torch.tensor([0.0, 1.0, 3.0, 5.0, 4.0])
line = torch.stack([cosines, torch.ones(5)], dim=1)
a, b = torch.linalg.lstsq(line, grades[:, None]).solution[:, 0]


def rho(answers):
    ranks = [values.argsort().argsort() for values in (answers, grades)]
    return 1 - 6 * ((ranks[0] - ranks[1]) ** 2).sum().item() / (5 * (5**2 - 1))


print(f"a = {a:.2f}, b = {b:.2f}")
print(f"rho of cos {rho(cosines):.1f}, of a cos + b {rho(a * cosines + b):.1f}, "
      f"of -cos {rho(-cosines):.1f}")  # fmt: skip
assert abs(rho(cosines) - probes.score(grades.numpy(), cosines.numpy(), "spearman")) < 1e-6

# %% [markdown]
# The same through the package: one epoch of training or fifty, the score is the cosine's.

# %%
s1 = torch.stack([cosines, (1 - cosines**2).sqrt()], dim=1)  # unit vectors
s2 = torch.tensor([[1.0, 0.0]]).repeat(5, 1)
pairs, scores = (s1, s2, grades), {}
for epochs in (1, 50):
    scores[epochs] = probes.linear_probe(pairs, pairs, metric="spearman", epochs=epochs).score
print("rho after 1 and 50 epochs:", [round(score, 1) for score in scores.values()])
assert abs(scores[1] - rho(cosines)) < 1e-6 and scores[1] == scores[50]

# %% [markdown]
# > **Gotcha.** The similarity "probe" reports the cosine of the frozen encoder. Its training cannot
# > change the score.
#
# ## Two scores from one confusion matrix
#
# With TP, FP, FN, TN for true and false positives and negatives:
#
# $$F_1 = \frac{2\,TP}{2\,TP + FP + FN} \qquad
# MCC = \frac{TP \cdot TN - FP \cdot FN}{\sqrt{(TP + FP)(TP + FN)(TN + FP)(TN + FN)}}$$
#
# Twelve answers, seven of class 1. Then the same for a probe that always says 1.

# %%
tp, fp, fn, tn = 6, 2, 1, 3
f1 = 2 * tp / (2 * tp + fp + fn)
mcc = (tp * tn - fp * fn) / ((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5
print(f"F1 = 12 / 15 = {f1:.2f}, MCC = 16 / sqrt(8 x 7 x 5 x 4) = {mcc:.2f}")

truth = torch.tensor([1] * (tp + fn) + [0] * (fp + tn)).numpy()
said = torch.tensor([1] * tp + [0] * fn + [1] * fp + [0] * tn).numpy()
assert abs(probes.score(truth, said, "f1") - f1) < 1e-9
assert abs(probes.score(truth, said, "mcc") - mcc) < 1e-9
always = {metric: probes.score(truth, said**0, metric) for metric in ("f1", "mcc")}
print("always 1:", {metric: round(score, 2) for metric, score in always.items()})

# %% [markdown]
# > **Gotcha.** F1 rewards saying 1. Where two thirds of the pairs are paraphrases, as in MRPC, the
# > majority class has an F1 that looks like a result. MCC gives it 0.
#
# ## The interval of an accuracy
#
# An accuracy is a mean of $n$ zeros and ones. Drawing other texts would move it by
#
# $$\hat p \pm 1.96\, \sqrt{\frac{\hat p (1 - \hat p)}{n}}$$
#
# The package draws the texts again with replacement (bootstrap), which serves every score alike.
# For an accuracy both must agree. How wide is the interval of 140 right answers of 200?

# %%
n, right = 200, 140
p = right / n
margin = 1.96 * (p * (1 - p) / n) ** 0.5
print(f"{p:.2f} +- {margin:.3f}")

truth, said = torch.ones(n).long().numpy(), (torch.arange(n) < right).long().numpy()
counts = audit.statistics.bootstrap_counts(n, draws=2000)  # (draws, n): how often each text
replicates = audit.statistics.score_replicates(truth, said, "accuracy", counts)
interval = audit.statistics.bootstrap_interval(p, replicates, n)
assert abs(interval.high - (p + margin)) < 0.005

# %% [markdown]
# ## The price of picking the best epoch
#
# The public code reports the epoch that scores best *on the reported split*. If $E$ epochs were
# equally good and their scores independent with standard deviation σ, the best would lie above the
# true score by
#
# $$\mathbb{E}\big[\max_{e \le E} \varepsilon_e\big] = \sigma \int x \, E \, \varphi(x) \,
# \Phi(x)^{E - 1} \, dx$$
#
# For two epochs that is $\sigma / \sqrt{\pi}$. Simulated beside expected:

# %%
draws = torch.Generator().manual_seed(0)
noise = torch.randn(20_000, 90, generator=draws)  # trainings x epochs
x = torch.linspace(-8, 8, 4001)
phi, Phi = torch.exp(-(x**2) / 2) / (2 * torch.pi) ** 0.5, torch.special.ndtr(x)
rows = []
for epochs in (1, 2, 5, 15, 90):
    simulated = noise[:, :epochs].max(dim=1).values.mean().item()
    expected = torch.trapezoid(x * epochs * phi * Phi ** (epochs - 1), x).item()
    rows.append(dict(epochs=epochs, simulated=simulated, expected=expected))
    assert abs(simulated - expected) < 0.03
assert abs(rows[1]["expected"] - 1 / torch.pi**0.5) < 1e-4
figures.show(figures.best_of(rows))
sigma = (0.7 * 0.3 / 872) ** 0.5  # of an accuracy of 0.7 on the 872 sentences of SST-2
print(f"best of 90 on SST-2: up to {100 * sigma * rows[-1]['expected']:.1f} points for nothing")

# %% [markdown]
# Epochs of one training are not independent, so the price should be lower than this. It is measured
# below, in each task's own units: MCC varies more than accuracy does.
#
# ## The tasks
#
# Learning rate and epochs are those of the paper's Table 2. Scores are those after the last epoch;
# nothing is chosen on the split that is reported. The parameter `select` takes `inner` (the epoch
# that is best on a tenth of the training split) or, to see what the paper did, `reported`.

# %% tags=["nbval-ignore-output"]
typeset.show(tables.task_table(book.tasks, book.encoders[0]), wrap=True)

# %% [markdown]
# ## Table 3
#
# Before you look: on which kind of task could the *untrained* encoder, whose sentence vectors are
# sums of random word vectors, be the best?
#
# <details><summary>Answer</summary>Where shared words are the answer: edits and overlap. It cannot
# know what a word means or in which order words stand.</details>

# %% tags=["nbval-ignore-output"]
options = {"max_train": book.max_train, "seed": book.seed}
gains = audit.linear_probes.epoch_selection_gain(book.models, book.tasks, **options)
scores = audit.linear_probes.linear_probing(book.models, book.tasks, select=select, **options)
table = tables.probes_with_published(scores)
book.gallery.show("04_probes", figures.probe_bars(table), table)
typeset.say(*findings.probes_alike(tables.probes_over_seeds(scores)))

# %% [markdown]
# The numbers, with 95 % intervals: over texts with one seed, over seeds with several. An interval
# over seeds leaves out the sampling error of the texts; that of the majority class shows it.

# %% tags=["nbval-ignore-output"]
for arm, runs in book.all_runs.items():
    print(tables.budget(arm, runs))
typeset.show(*tables.probing_tables(scores, select))
files = tables.export_probing_table(scores, book.gallery.data_folder, select)
print(", ".join(file.name for file in files))

# %% [markdown]
# What the best epoch on the reported split gains over the last one, in points. No single gain is
# below 0, but the interval of a small one over seeds can reach below.

# %% tags=["nbval-ignore-output"]
typeset.show(tables.epoch_gain_table(gains))

# %% [markdown]
# ## Explore: where do the arms disagree?
#
# With a running kernel you choose task, pooling, arms and seed. Heads are fitted on the first 2,000
# training texts (at most `max_train`), so scores differ a little from Table 3. `weighted` is
# `mean`: the paper's weights were never trained.

# %% tags=["nbval-ignore-output"]
max_texts = min(2000, book.max_train or 2000)
widgets.probing_explorer(book.models, book.tasks, max_train=max_texts, seed=book.seed)

# %% [markdown]
# ## Eight seeds
#
# The same from eight seeds per arm, whose numbers come with the project
# (`figures/data/eight-seeds/04_probes.csv`):

# %%
evidence = findings.evidence("eight-seeds")
figures.show(figures.probe_bars(evidence["04_probes"]))
typeset.say(findings.grid_budget(evidence), *findings.probes_alike(evidence["04_probes"]))

# %% [markdown]
# ## Caveats
#
# - One probe seed. Validation splits of some hundred to some thousand samples have a standard
#   error of one to two points.
# - A published number stands beside ours only for GLUE; the embedded tasks have the shapes of the
#   GLUE tasks, not their content.
# - The paper names neither optimiser nor batch size of its probes (here AdamW, 64), no epochs for
#   CoLA (here SST-2's) and no kind of F1 (here GLUE's, of the class "paraphrase").

# %% tags=["nbval-ignore-output"]
print(book.gallery.export())
