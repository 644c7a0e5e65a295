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
# **How to read.** Each task has five numbers: the two arms, the same encoder *before its first
# step*, the majority class, and the published pair. An arm that does not beat the untrained
# encoder has not shown that pre-training helped.

# %% tags=["parameters"]
preset = "auto"  # smoke, demo or paper; auto: paper on a CUDA machine, demo elsewhere
corpus = "auto"  # docstrings, wikitext-103, wikipedia, or a path; auto: the preset's
tokenizer = "auto"  # a hub name or a folder; auto: the corpus's own
arms = "hybrid,mlm"
seed = 0
max_steps = None  # optimiser steps; None: the preset's
tasks = "auto"  # glue, embedded, or names; auto: embedded for the embedded corpus, else glue
max_train = None  # training samples of a probe at most; None: all
select = "last"  # whose score is told: the last epoch's, or the best on an inner or reported split
data_dir = None  # local copies of the real data; None: the variable PREDRECON_DATA
overrides = {}  # any other field of a recipe

# %% tags=["nbval-ignore-output"]
from predrecon import recipes
from predrecon.audit import encoders, linear_probes
from predrecon.data.corpus import load_corpus
from predrecon.data.tasks import load_tasks
from predrecon.training.loop import every_seed
from predrecon.workbook import figures, labels, tables, typeset, widgets

recipe = recipes.get(preset, corpus=corpus, tokenizer=tokenizer, max_steps=max_steps, **overrides)
text = load_corpus(recipe.corpus, tokenizer=recipe.tokenizer, data_dir=data_dir)
labelled = load_tasks(tasks, corpus=recipe.corpus, data_dir=data_dir)
trained = every_seed(recipe, recipes.arms(arms), text, seed=seed)
compared = encoders.models(trained, text.tokenizer, untrained=True)
seeds = sorted({model.seed for model in compared})
gallery = figures.Gallery(labels.tag(recipe, seed), labels.caption(recipe, *seeds))

# %% [markdown]
# ## The tasks

# %% tags=["nbval-ignore-output"]
typeset.show(typeset.styled(tables.task_table(labelled, compared[0])))

# %% [markdown]
# ## The heads
#
# - Single sentences: LayerNorm → Dropout 0.2 → Linear.
# - Pairs, each sentence encoded on its own: [s₁; s₂; |s₁−s₂|; s₁⊙s₂] → Linear.
# - Graded similarity: ŷ = a·cos(s₁, s₂) + b.
#
# Learning rate 1e-3 and epochs as in the paper's Table 2. Scores are those after the last epoch;
# nothing is chosen on the split that is reported. The parameter `select` takes `inner` (the epoch
# that is best on a tenth of the training split) or, to see what the paper did, `reported`.

# %% [markdown]
# ## Table 3
#
# With one pre-training seed an interval is over validation texts, with several over seeds. An
# interval over seeds holds no sampling error of the texts: F1 0.809 [0.804, 0.815] over three seeds
# on MRPC leaves out the ± 0.03 of drawing 408 pairs, which the majority class beside it shows.

# %% tags=["nbval-ignore-output"]
ways = {"max_train": max_train, "seed": seed}
prices = linear_probes.epoch_selection_gain(
    compared, labelled, **ways
)  # first: one pass for both choices
probed = linear_probes.linear_probing(compared, labelled, select=select, **ways)
print(tables.budget({arm: several[0] for arm, several in trained.items()}))
typeset.show(typeset.styled(tables.probing_table(probed), tables.probing_caption(select)))
made = tables.export_probing_table(probed, gallery.data_folder, select)
print(", ".join(file.name for file in made))

# %% tags=["nbval-ignore-output"]
bars = tables.probes_with_published(probed)
gallery.show("04_probes", figures.probe_bars(bars), bars)

# %% [markdown]
# ## The price of picking the best epoch
#
# The paper's code reports the best epoch *on the reported split*. The difference to the last
# epoch in points, with its 95 % interval: over seeds, or with one seed over the same validation
# texts for both epochs. It cannot be below 0; an interval that reaches there is a small price.

# %% tags=["nbval-ignore-output"]
typeset.show(typeset.styled(tables.price_table(prices), "Best epoch minus last, in points."))

# %% [markdown]
# ## Explore: where do the arms disagree?
#
# Task and pooling at choice, with a running kernel arms and seed too. Heads are fitted on the first
# 2,000 training texts (at most `max_train`), so scores differ a little from Table 3. `weighted` is
# `mean`: the paper's weights were never trained.

# %% tags=["nbval-ignore-output"]
few = min(2000, max_train or 2000)
widgets.probing_explorer(compared, labelled, max_train=few, seed=seed)

# %% [markdown]
# ## What we saw
#
# - *Embedded tasks, 1.0 M tokens, seed 0.* Neither arm beats the untrained encoder on any task: a
#   run on the unigram plateau (notebook 02) has nothing to be probed for.
# - *GLUE, 6.1 M tokens of Wikipedia, three seeds.* SST-2 0.592 [0.527, 0.656] hybrid and 0.570
#   [0.541, 0.598] MLM-only against 0.521 [0.494, 0.548] untrained, STS-B ρ 0.146 [0.087, 0.205]
#   and 0.156 [0.050, 0.261] against 0.099 [0.094, 0.104]; CoLA 0, MRPC at its majority class. The
#   published 0.68 on SST-2 asks for more text than this.
# - *Picking the best epoch* gains 0.84 [−0.80, 2.49] points (hybrid) and 1.45 [−1.19, 4.10]
#   (MLM-only) on SST-2, and 4.28 [2.12, 6.44] for the untrained encoder, which MLM-only leads
#   by 4.8 points and the hybrid by 7.0.
#
# > **Gotcha.** Spearman's ρ does not see a and b as long as a > 0: the similarity "probe" reports
# > the cosine of the frozen encoder, and fifteen epochs of training change nothing.
#
# ## Caveats
#
# - One probe seed; validation splits of some hundred to some thousand
#   samples have a standard error of one to two points.
# - A published number stands beside ours only for GLUE; the embedded tasks have the shapes of the
#   GLUE tasks, not their content.
# - The paper names neither optimiser nor batch size of its probes (here AdamW, 64), no epochs for
#   CoLA (here SST-2's) and no kind of F1 (here GLUE's, of the class "paraphrase"). By that F1 the
#   majority class of MRPC scores 0.81, far above both published numbers.

# %% tags=["nbval-ignore-output"]
print(gallery.export())
