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
# One text encoder, pre-trained twice: with a JEPA objective beside masked language modelling
# (*hybrid*), and without (*MLM-only*). Nine notebooks ask what the JEPA objective did to it.
#
# | notebook | answers | min, CPU | min, GPU (a guess) |
# |---|---|---|---|
# | [01 Masking](01_masking.ipynb) | What does each branch see; does a target leak? | 1 | < 1 |
# | [02 Training](02_pretrain.ipynb) | How do both arms train; what do they predict? | 3 | 15–70 |
# | [03 λ](03_lambda_dynamics.ipynb) | Is λ learned, or the sum of the learning rates? | < 1 | < 1 |
# | [04 Probes](04_glue_probing.ipynb) | What does a small head read off either encoder? | 1 | 5 |
# | [05 Geometry](05_geometry.ipynb) | How spread out are the embeddings, and how rich? | 2 | 5 |
# | [06 Why](06_why.ipynb) | Is it the objective, λ, a leak or the compute? | 1 | 5 |
# | [07 Laboratory](07_lab.ipynb) | Would another loss, target, balance or mask do better? | 1 | 1 |
# | [08 Any encoder](08_any_encoder.ipynb) | What is the geometry of my own encoder? | 1 | 1 |
# | [00 Map](00_paper_map.ipynb) | Which claims of the paper hold for these runs? | < 1 | < 1 |
#
# **Order.** As in the table: 02 trains both arms and saves them, 03 to 05 open them, 00 sums up.
# Each notebook can be read as it is, with the outputs of its last run; *Run → Run All Cells* runs
# it again. `python -m predrecon grid` trains the runs that 06 compares (about an hour on the same
# cores); without it, 06 shows the runs on disk.
#
# **Times.** *CPU*: approximate, measured on two cores of one machine with preset `demo` and the
# embedded text (D = 128, 800 steps an arm). `make demo` runs all nine in about 8 minutes. *GPU*:
# estimates; nothing has been measured on one yet. On a CUDA machine the preset is `paper`, a far
# larger model and text. The minutes of 02 there are its operations, 2·10¹⁷ for both arms on
# WikiText-103, at 300 to 50 Tflop/s (what an H100 might do), without download and compilation; the
# grid has 45 such runs, many hours. For a quick look set `preset = "demo"` in the first code cell.
#
# **Where results go.** `make demo` writes the executed notebooks and their web pages to `outputs/`;
# runs are in `runs/`, numbers in `figures/data/`, and `figures/index.html` is a gallery of all
# figures that any browser opens, without a network.
#
# **Real data.** Point the environment variable `PREDRECON_DATA` at a folder with copies of
# Wikipedia and GLUE before Jupyter starts, and set `corpus = "wikipedia"` in the first code cell.
# The [README](../README.md) says how that folder is laid out, and what works online without it.
