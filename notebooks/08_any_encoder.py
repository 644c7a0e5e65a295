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
# # 08 · Any encoder
#
# **Question.** What is the geometry of *your* encoder, beside others?
#
# **How to read.** Name encoders in the next cell: a run's folder, a folder or hub name that
# transformers or sentence-transformers opens, or a checkpoint of the paper's public code. Without a
# name, the runs of the preset are compared. `python -m predrecon analyse A B --out DIR` writes the
# same tables and figures, and one page.

# %% tags=["parameters"]
encoders = ""  # folders, hub names, checkpoints, with commas between; none: the preset's runs
preset = "auto"  # demo, demo-published, modern, paper, smoke; auto: demo, on a GPU paper
corpus = "auto"  # docstrings, wikitext-103, wikipedia, or a path; auto: the preset's
tokenizer = "auto"  # of the runs: a hub name or a folder; auto: the corpus's own
arms = "hybrid,mlm"
seed = 0
max_steps = None  # optimiser steps; None: the preset's
tasks = "auto"  # glue, embedded, or names; auto: embedded for the embedded corpus, else glue
max_samples = 500  # of a validation split
data_dir = None  # local copies of the real data; None: the variable PREDRECON_DATA
overrides = {}  # any other field of a recipe
num_heads = None  # of the public code's checkpoints, which do not say; None: 8
trust_remote_code = False  # run code that comes with an encoder

# %% tags=["nbval-ignore-output"]
from predrecon.audit import by_layer, geometry, seeds
from predrecon.workbook import Notebook, analyse, tables, typeset, widgets

book = Notebook(preset, corpus=corpus, tokenizer=tokenizer, max_steps=max_steps, arms=arms,
                seed=seed, tasks=tasks, data_dir=data_dir, overrides=overrides,
                max_samples=max_samples)  # fmt: skip

# %% [markdown]
# ## The encoders
#
# Precision and longest text are the encoder's own; at most 128 tokens are read, as in the paper.

# %% tags=["nbval-ignore-output"]
options = {"num_heads": num_heads, "trust_remote_code": trust_remote_code, "data_dir": data_dir}
models = analyse.load_encoders(encoders, **options) if encoders else book.encoders
typeset.show(tables.opened_table(models), index=False)

# %% [markdown]
# ## The whole table
#
# Six metrics and both probes under every pooling. `own` is the pooling that came with an encoder.
# A rank is at most min(N, D): D stands beside it.

# %% tags=["nbval-ignore-output"]
measured = geometry.measure_all(models, book.tasks, max_samples=book.max_samples, seed=book.seed)
typeset.show(tables.encoders_table(measured.table), caption="Value with its 95 % interval.")

# %% [markdown]
# ## Differences
#
# Every pair of encoders, on bootstrap samples that both share. Ranks of two widths are not
# compared: the widths stand in their place.

# %% tags=["nbval-ignore-output"]
gaps = seeds.pairwise(measured) if measured.table["model"].nunique() > 1 else None
if gaps is not None:
    typeset.show(tables.pairs_table(gaps), caption="First encoder minus second.")
else:
    print("One encoder only: nothing to compare.")

# %% [markdown]
# ## Layer by layer
#
# Layer 0 is the output of the embeddings, the last layer what the encoder gives.

# %% tags=["nbval-ignore-output"]
layers = by_layer.geometry_by_layer(models, book.tasks, max_samples=book.max_samples)
for stem, (figure, numbers) in analyse.drawn(measured, layers, book.tasks, gaps).items():
    book.gallery.show(f"08_{stem}", figure, numbers)

# %% [markdown]
# ## Explore the geometry

# %% tags=["nbval-ignore-output"]
widgets.geometry_explorer(measured, layers)

# %% [markdown]
# ## Explore the maps

# %% tags=["nbval-ignore-output"]
widgets.map_explorer(measured, book.tasks, models, seed=book.seed)

# %% [markdown]
# ## Caveats
#
# - An interval over texts says what *these* weights would give on new texts. It says nothing about
#   another training run.
# - The token probe asks for tokens of each encoder's own tokenizer: with two tokenizers it is two
#   questions.
# - Two encoders trained on different text differ in more than their objective.

# %% tags=["nbval-ignore-output"]
print(book.gallery.export())
