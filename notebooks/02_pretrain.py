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
# # 02 · Pre-training, both arms
#
# **Claim.** One function, `predrecon.pretrain`, trains the hybrid arm (L = λ·L_JEPA +
# (1−λ)·L_MLM) and its MLM-only twin: same initial encoder, same batches, same token masks, same
# schedule. The arms differ in the objective and in nothing else but the compute a step costs.
#
# **How to read.** A run that is on disk is loaded, one that was interrupted is resumed, one that
# is missing is trained. On a GPU box: `papermill notebooks/02_pretrain.ipynb out.ipynb -p corpus
# wikipedia`

# %% tags=["parameters"]
preset = "auto"  # smoke, demo or paper; auto: paper on a CUDA machine, demo elsewhere
corpus = "auto"  # docstrings, wikitext-103, wikipedia, or a path; auto: the preset's
tokenizer = "auto"  # a hub name or a folder; auto: the corpus's own
arms = "hybrid,mlm"
seed = 0
max_steps = None  # optimiser steps; None: the preset's
data_dir = None  # local copies of the real data; None: the variable PREDRECON_DATA
overrides = {}  # any other field of a recipe, e.g. {"lr": 1e-4, "token_scale": "sqrt_dim"}

# %% tags=["nbval-ignore-output"]
import dataclasses

import pandas as pd

from predrecon import recipes
from predrecon.data.corpus import load_corpus
from predrecon.data.tasks import load_tasks
from predrecon.training.loop import ensure
from predrecon.workbook import figures, labels, tables, widgets
from predrecon.workbook.widgets import LiveCurves

recipe = recipes.get(preset, corpus=corpus, tokenizer=tokenizer, max_steps=max_steps, **overrides)
text = load_corpus(recipe.corpus, tokenizer=recipe.tokenizer, data_dir=data_dir)
steps = recipe.steps(len(text.blocks("train", recipe.length)))
gallery = figures.Gallery(labels.tag(recipe, seed), labels.caption(recipe, seed))
trained = {}
chosen = recipes.arms(arms)
pd.Series(dataclasses.asdict(recipe) | {"steps": steps}).to_frame("recipe")

# %% [markdown]
# The text: documents, characters and tokens of each split.

# %% tags=["nbval-ignore-output"]
pd.DataFrame({split: text.facts[split] for split in ("train", "validation")})

# %% [markdown]
# ## The hybrid arm

# %% tags=["nbval-ignore-output"]
if "hybrid" in chosen:
    hybrid = dataclasses.replace(recipe, arm="hybrid")
    watch = LiveCurves("hybrid", {})
    trained["hybrid"] = ensure(hybrid, text, seed=seed, on_log=watch)

# %% [markdown]
# ## Its MLM-only twin

# %% tags=["nbval-ignore-output"]
if "mlm" in chosen:
    mlm = dataclasses.replace(recipe, arm="mlm")
    watch = LiveCurves("mlm", {arm: run.history for arm, run in trained.items()})
    trained["mlm"] = ensure(mlm, text, seed=seed, on_log=watch)

# %% [markdown]
# ## What happened
#
# Losses are running medians over logged steps. The dotted line is what a model reaches that knows
# word frequencies alone; a run that has not left it has learned frequencies, and its geometry
# says little about its objective.

# %% tags=["nbval-ignore-output"]
histories = {arm: run.history for arm, run in trained.items()}
unigram = next(iter(trained.values())).metrics["validation_unigram"]
tidy = pd.concat([h.assign(arm=arm) for arm, h in histories.items()])
gallery.show("02_training", figures.training_curves(histories, unigram=unigram), tidy)

# %% [markdown]
# Held-out losses in nats, on masks that are the same for both arms (one seed):

# %% tags=["nbval-ignore-output"]
pd.DataFrame({arm: run.metrics for arm, run in trained.items()})

# %% [markdown]
# ## Explore
#
# With a running kernel: any runs on disk, smoothing and axis at choice. Uniformity and effective
# rank are those of the encoders kept on the way, on the first labelled task.

# %% tags=["nbval-ignore-output"]
labelled = load_tasks("auto", corpus=recipe.corpus, data_dir=data_dir)
folders = [run.folder for run in trained.values()]
widgets.training_explorer(folders, task=labelled[0], tokenizer=text.tokenizer)

# %% [markdown]
# ## What the MLM head predicts
#
# Masked positions of held-out text: the word that was there, and the three likeliest guesses.

# %% tags=["nbval-ignore-output"]
pd.concat(
    {arm: tables.fill_masks(run.model(), text, run.recipe, n=6) for arm, run in trained.items()},
    axis=1,
)

# %% [markdown]
# ## Where everything is
#
# `AutoModel.from_pretrained(folder)` opens the encoder (after `import predrecon`). While a run
# goes on, its folder also holds checkpoints, from which the next call goes on.

# %% tags=["nbval-ignore-output"]
for arm, run in trained.items():
    print(f"{arm}: {labels.short_path(run.folder)}: {', '.join(labels.contents(run.folder))}")

# %% [markdown]
# ## What we saw
#
# - *Embedded text, 1.0 M tokens, seed 0.* Both arms end on the unigram plateau: held-out MLM losses
#   of 6.447 and 6.449 nats, word frequencies alone 6.416. The JEPA loss stays under 0.001 from
#   step 380 on, because targets that are nearly a function of the position are easily predicted
#   from it.
# - *Wikipedia, 6.1 M tokens, seed 0.* Both have just left it: 7.24 hybrid, 7.22 MLM-only, word
#   frequencies 7.32. When the encoder begins to tell words apart, after some 2.6 M tokens, the JEPA
#   loss rises from 0.0001 to 0.3: a rising JEPA loss is here the sign of learning.
#
# > **Gotcha.** Equal steps are not equal compute: a hybrid step runs the encoder on the corrupted
# > text and on the context, the target encoder on the clean text, and the predictor on every target
# > block. Compare tokens/s above before you compare losses.
#
# ## Caveats
#
# - One seed. The demo preset is a rehearsal: 128 wide, 4 layers, a million tokens.
# - The learning rate's peak is the preset's; the paper's 5e-5 belongs to its scale.

# %% tags=["nbval-ignore-output"]
print(gallery.export())
