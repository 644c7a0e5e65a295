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
import tempfile

import transformers

from predrecon import audit, load_encoder
from predrecon.workbook import Notebook, analyse, tables, typeset, widgets

book = Notebook(preset, corpus=corpus, tokenizer=tokenizer, max_steps=max_steps, data_dir=data_dir,
    arms=arms, seed=seed, tasks=tasks, overrides=overrides, max_samples=max_samples)  # fmt: skip

# %% [markdown]
# ## What `load_encoder` does
#
# **Claim.** An encoder is opened as what it is: its hidden states are those of transformers, and
# the sentence vectors are pooled from its own tokens, padding left out.
#
# A BERT of random weights, small enough to look at, saved as `save_pretrained` does:

# %%
words = "[PAD] [UNK] [CLS] [SEP] [MASK] the cat sat on mat a dog".split()
toy_tokenizer = transformers.BertTokenizer(vocab={word: i for i, word in enumerate(words)})
sizes = dict(num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
config = transformers.BertConfig(vocab_size=len(words), hidden_size=8, **sizes)  # D = 8
transformers.set_seed(0)
transformers.utils.logging.disable_progress_bar()
bert = transformers.BertModel(config).eval()
folder = tempfile.mkdtemp()
bert.save_pretrained(folder)
toy_tokenizer.save_pretrained(folder)
print(toy_tokenizer.tokenize("the cat sat on the mat"))

# %% [markdown]
# With hidden states $h \in \mathbb{R}^{L \times D}$ of a text and $m_l = 1$ where a token is no
# padding, mean pooling (Eq. 10) is
#
# $$z = \frac{\sum_l m_l \, h_l}{\sum_l m_l}$$
#
# Two texts of different length in one batch. Before you run the cell: what are the shapes of ids,
# hidden states and vectors?
#
# <details><summary>Answer</summary>Six words with [CLS] and [SEP] are L = 8, the shorter text is
# padded to it: (2, 8), (2, 8, 8), (2, 8).</details>

# %%
texts = ["the cat sat on the mat", "a dog"]
batch = toy_tokenizer(texts, padding=True, return_tensors="pt")
hidden = bert(**batch).last_hidden_state.detach()  # (B, L, D)
mask = batch["attention_mask"][..., None]  # (B, L, 1)
by_hand = (hidden * mask).sum(dim=1) / mask.sum(dim=1)  # (B, D)

model = load_encoder(folder, name="toy")
z = model.embed(texts, poolings=("mean",))["mean"]
print("ids", tuple(batch["input_ids"].shape), "hidden", tuple(hidden.shape), "z", z.shape)
assert (model.encoder(**batch).last_hidden_state == hidden).all(), "the same hidden states"
assert abs(by_hand.numpy() - z).max() < 1e-6, "the same vectors"

# %% [markdown]
# ## An encoder's own pooling
#
# A sentence-transformers folder says in `modules.json` how its vectors are made. Here: the first
# token, scaled to length 1. The package reads that as a fifth pooling, `own`.

# %%
pooling = tempfile.mkdtemp(dir=folder)
with open(f"{pooling}/config.json", "w") as file:
    file.write('{"pooling_mode_cls_token": true}')
kinds = {"Transformer": "", "Pooling": pooling, "Normalize": ""}
modules = [f'{{"type": "models.{kind}", "path": "{path}"}}' for kind, path in kinds.items()]
with open(f"{folder}/modules.json", "w") as file:
    file.write(f"[{', '.join(modules)}]")

sentence = load_encoder(folder, name="toy")
own = sentence.embed(texts, poolings=("own",))["own"]
first = hidden[:, 0] / hidden[:, 0].norm(dim=1, keepdim=True)
print(sentence.poolings, "own:", sentence.own)
assert abs(first.numpy() - own).max() < 1e-6

# %% [markdown]
# > **Gotcha.** Two poolings of one encoder can differ more than two encoders under one pooling.
# > Compare encoders under the same pooling, or each under its own, and say which.
#
# ## The encoders
#
# Precision and longest text are the encoder's own; at most 128 tokens are read, as in the paper.

# %% tags=["nbval-ignore-output"]
options = dict(num_heads=num_heads, trust_remote_code=trust_remote_code, data_dir=data_dir)
models = analyse.load_encoders(encoders, **options) if encoders else book.encoders
typeset.show(tables.opened_table(models), index=False)

# %% [markdown]
# ## In pictures
#
# Six metrics and both probes; differences of every pair on bootstrap samples that both share;
# metrics layer by layer, where layer 0 is the output of the embeddings; alignment and uniformity;
# spectra. Menus choose pooling, pair or task. Ranks of two widths are not compared.

# %% tags=["nbval-ignore-output"]
limits = {"max_samples": book.max_samples}
measured = audit.geometry.measure_all(models, book.tasks, seed=book.seed, **limits)
gaps = audit.seeds.pairwise(measured) if measured.table["model"].nunique() > 1 else None
layers = audit.by_layer.geometry_by_layer(models, book.tasks, **limits)
for stem, (figure, numbers) in analyse.drawn(measured, layers, book.tasks, gaps).items():
    book.gallery.show(f"08_{stem}", figure, numbers)

# %% [markdown]
# ## In numbers
#
# Mean pooling first; every pooling and metric unfolds. `own` is the pooling that came with an
# encoder. A rank is at most min(N, D): D is listed with it. An interval over texts says what
# *these* weights would give on new texts; it says nothing about another training run.

# %% tags=["nbval-ignore-output"]
typeset.show(*tables.by_pooling(measured.table, tables.encoders_table, "Encoders"))

# %% tags=["nbval-ignore-output"]
if gaps is not None:
    typeset.show(*tables.by_pooling(gaps, tables.pairs_table, "First minus second"))
else:
    print("One encoder only: nothing to compare.")

# %% [markdown]
# ## Explore the geometry
#
# All encoders, tasks and poolings, by layer too.

# %% tags=["nbval-ignore-output"]
widgets.geometry_explorer(measured, layers)

# %% [markdown]
# ## Explore the maps
#
# Every text as a point. Click one between two clusters: which sentence is it, and which are its
# neighbours in the other encoder?

# %% tags=["nbval-ignore-output"]
widgets.map_explorer(measured, book.tasks, models, seed=book.seed)

# %% [markdown]
# ## Caveats
#
# - The token probe asks for tokens of each encoder's own tokenizer: with two tokenizers it is two
#   questions.
# - Two encoders trained on different text differ in more than their objective.

# %% tags=["nbval-ignore-output"]
print(book.gallery.export())
