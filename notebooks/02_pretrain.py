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
# # 02 · The model, both objectives, and pre-training
#
# **Claim.** One function, `predrecon.pretrain`, trains the hybrid arm
#
# $$L = \lambda\, L_\mathrm{JEPA} + (1 - \lambda)\, L_\mathrm{MLM}$$
#
# and its MLM-only twin: same initial encoder, same batches, same token masks, same schedule. The
# arms differ only in the objective, and so in the compute of a step.
#
# **How to read.** First a model of 16 dimensions: one batch goes through Eq. 1 to 9 by hand, a few
# lines each, and every result is asserted against `PredictReconstruct`. Then ten training steps in
# a cell. Then the real runs: one on disk is loaded, an interrupted one resumed, a missing one
# trained. On a GPU machine: `papermill notebooks/02_pretrain.ipynb out.ipynb -p corpus wikipedia`

# %% tags=["parameters"]
preset = "auto"  # demo, demo-published, modern, paper, smoke; auto: demo, on a GPU paper
corpus = "auto"  # docstrings, wikitext-103, wikipedia, or a path; auto: the preset's
tokenizer = "auto"  # a hub name or a folder; auto: the corpus's own
arms = "hybrid,mlm"
seed = 0
max_steps = None  # optimiser steps; None: the preset's
data_dir = None  # local copies of the real data; None: the variable PREDRECON_DATA
overrides = {}  # any other field of a recipe, e.g. {"lr": 1e-4, "num_layers": 4}

# %% tags=["nbval-ignore-output"]
import torch

from predrecon import PredictReconstruct, PredictReconstructConfig, block_masks, token_masks
from predrecon.training.flops import step_flops
from predrecon.workbook import Notebook, figures, labels, tables, typeset, widgets

book = Notebook(preset, corpus=corpus, tokenizer=tokenizer, max_steps=max_steps, arms=arms,
                seed=seed, data_dir=data_dir, overrides=overrides)  # fmt: skip

# %% [markdown]
# ## The model: five parts
#
# | part | symbol | trained by |
# |---|---|---|
# | encoder | $f_\theta$ | both losses |
# | token regressor | $h_\psi$ | the MLM loss |
# | predictor | $g_\varphi$ | the JEPA loss |
# | target encoder | $\bar f_\theta$ | not trained: it is a moving average of the encoder |
# | balance | $w$ | both losses |
#
# The paper's architecture at a size that prints: $V = 50$ words, $D = 16$ dimensions, two layers;
# the predictor is $d = 8$ wide.

# %%
config = PredictReconstructConfig(
    vocab_size=50, max_position_embeddings=12,
    hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
    predictor_size=8, predictor_layers=1, predictor_heads=2,
)  # fmt: skip
tiny = PredictReconstruct.build(config, seed=0)
for name, part in tiny.named_children():
    values = sum(p.numel() for p in part.parameters())
    trained = sum(p.numel() for p in part.parameters() if p.requires_grad)
    print(f"{name:10} {values:6,} values, {trained:6,} trained")

# %% [markdown]
# ## One batch, masked for both branches
#
# Two texts of 12 tokens, in a toy language that counts: after word $i$ comes word $i + 1$. Notebook
# 01 shows how the masks are drawn.


# %%
def draw(rng, samples=2, length=12):
    first = torch.randint(5, 38, (samples, 1), generator=rng)
    x = first + torch.arange(length)  # ids 5 to 48
    rule = dict(mask_token_id=4, vocab_size=50, special_ids=range(5), probability=0.3)
    x_tilde, y = token_masks(x, **rule, generator=rng)
    blocks = block_masks(samples, length, min_context=4, generator=rng)
    return x, x_tilde, y, blocks.context, blocks.targets


x, x_tilde, y, context, targets = draw(torch.Generator().manual_seed(0))
(B, L), (_, C), (_, K, T) = x.shape, context.shape, targets.shape
print(f"B = {B} texts, L = {L} tokens, C = {C} context, K = {K} targets of T = {T}")
shown = {"x": x, "x tilde": x_tilde, "context": context, "targets": targets}
for name, ids in shown.items():
    print(f"{name:8}{list(ids.shape)!s:10} {ids[0].tolist()}")

# %% [markdown]
# ## Eq. 4: the encoder on the corrupted text
#
# $$z_\mathrm{full} = f_\theta(\tilde x)$$
#
# Token embeddings plus fixed positions, pre-norm blocks, a final norm.

# %%
encoder = tiny.encoder
embedded = encoder.tokens(x_tilde) + encoder.positions.table[:L]  # (B, L, D)
z_full = embedded
for block in encoder.blocks:
    z_full = block(z_full)
z_full = encoder.norm(z_full)  # (B, L, D)
print("z_full", list(z_full.shape))
assert torch.equal(z_full, encoder.encode(x_tilde))

# %% [markdown]
# ### Inside a block
#
# $$(q, k, v) = W_{qkv}\,\mathrm{LN}(x), \qquad
# a = x + W_o\,\mathrm{softmax}\left(\frac{q k^\top}{\sqrt{d_h}}\right) v$$
#
# $$\mathrm{block}(x) = a + W_2\,\mathrm{GELU}(W_1\,\mathrm{LN}(a))$$
#
# with $d_h$ dimensions in each head, here 8.

# %%
block, heads = encoder.blocks[0], 2
qkv = block.qkv(block.norm1(embedded)).view(B, L, 3, heads, 8)
q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, L, d_h)
scores = q @ k.transpose(-2, -1) / 8**0.5  # (B, heads, L, L)
mixed = scores.softmax(-1) @ v  # (B, heads, L, d)
a = embedded + block.proj(mixed.transpose(1, 2).reshape(B, L, 16))
by_hand = a + block.down(torch.nn.functional.gelu(block.up(block.norm2(a))))
print("scores", list(scores.shape), " block", list(by_hand.shape))
torch.testing.assert_close(by_hand, block(embedded))

# %% [markdown]
# ## Eq. 1: the encoder on the context alone
#
# $$z = f_\theta(\tilde x, M_\mathrm{enc})$$
#
# Only the context positions go in, each with its own position. **Before you run it:** if a token
# outside the context changes, by how much does $z$ change?

# %%
rows = torch.arange(B)[:, None]
z = embedded[rows, context]  # (B, C, D)
for block in encoder.blocks:
    z = block(z)
z = encoder.norm(z)
print("z", list(z.shape))
torch.testing.assert_close(z, encoder.encode(x_tilde, keep=context))

other = x_tilde.clone()
other[rows, targets.flatten(1)] = 49  # every target token is another word
change = encoder.encode(other, keep=context) - encoder.encode(x_tilde, keep=context)
print(f"change of z when the targets change: {change.abs().max():.1f}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Not at all: the context encoder never sees it. This is why the cut of notebook 01 matters.
#
# </details>
#
# ## Eq. 2: the predictor asks by position
#
# $$\hat h_k = g_\varphi\big(z, M_\mathrm{enc}, M_\mathrm{pred}^{(k)}\big)$$
#
# Context vectors are projected to $d$ dimensions and get their positions. Each target position is a
# query: one learned mask token plus its position, and nothing else. Target blocks are predicted one
# by one and do not see each other.

# %%
g, h_hat = tiny.predictor, []
visible = g.enter(z) + g.positions.table[context]  # (B, C, d)
queries = g.mask_token + g.positions.table[targets]  # (B, K, T, d)
for target in range(K):
    inputs = torch.cat([visible, queries[:, target]], dim=1)  # (B, C + T, d)
    for block in g.blocks:
        inputs = block(inputs)
    h_hat.append(g.leave(g.norm(inputs[:, -T:])))  # (B, T, D)
h_hat = torch.stack(h_hat, dim=1)
print("queries", list(queries.shape), " h_hat", list(h_hat.shape))
torch.testing.assert_close(h_hat, g(z, context, targets))

# %% [markdown]
# ## Eq. 3: the targets come from the clean text
#
# $$h = \mathrm{LN}\big(\bar f_\theta(x)\big)_{M_\mathrm{pred}}$$
#
# The target encoder reads all of the *uncorrupted* text. Its vectors are normalised without
# weights, taken at the target positions, and carry no gradient.

# %%
with torch.no_grad():
    full = tiny.target.encode(x)  # (B, L, D)
spread = full.var(-1, keepdim=True, correction=0) + 1e-5
h = (full - full.mean(-1, keepdim=True)) / spread.sqrt()
h = h[torch.arange(B)[:, None, None], targets]  # (B, K, T, D)
mean, std = h.mean(-1).abs().max(), h.std(-1).mean()
print("h", list(h.shape), f" mean {mean:.1f}, std {std:.1f}")
print("carries a gradient:", h.requires_grad, "| h_hat:", h_hat.requires_grad)
torch.testing.assert_close(h, tiny.target_vectors(x, targets))

# %% [markdown]
# ## Eq. 5: the JEPA loss
#
# $$L_\mathrm{JEPA} = 1 - \frac{1}{N} \sum_{i,j} \cos(\hat h_{ij}, h_{ij})$$
#
# **Before you run it:** what is the loss of a prediction that is the target, that is at a right
# angle to it, or opposite to it? And does the length of $\hat h$ matter?


# %%
def cosine(u, v):
    return (u * v).sum(-1) / (u.norm(dim=-1) * v.norm(dim=-1))


right = torch.tensor([3.0, 0.0])
for guess in ([1.0, 0.0], [9.0, 0.0], [0.0, 1.0], [-1.0, 0.0]):
    print(guess, "->", f"{1 - cosine(torch.tensor(guess), right):.1f}")
jepa = 1 - cosine(h_hat, h).mean()
print(f"of the batch {jepa:.2f}")

# %% [markdown]
# <details><summary>Answer</summary>
#
# 0, 1 and 2. The length does not matter.
#
# </details>
#
# ## Eq. 9 and 6: the token regressor and the MLM loss
#
# $$h_\psi(z) = W_2\,\mathrm{LN}(\mathrm{GELU}(W_1 z))$$
#
# $$L_\mathrm{MLM} = -\frac{1}{M} \sum_{i\,:\,y_i \ne -100}
# \log\,\mathrm{softmax}(h_\psi(z_i))_{y_i}$$
#
# Logits are computed at the $M$ masked positions only: with few layers and many words, those of all
# positions would cost more than the encoder.
# **Before you run it:** what is the loss of a model that knows nothing about 50 words?

# %%
r, masked = tiny.regressor, y >= 0  # (B, L)
hidden = torch.nn.functional.gelu(r.w1(z_full[masked]))  # (M, D)
logits = r.w2(r.norm(hidden))  # (M, V)
log_p = logits - logits.exp().sum(-1, keepdim=True).log()
mlm = -log_p[torch.arange(len(log_p)), y[masked]].mean()
print("logits", list(logits.shape))
print(f"MLM loss {mlm:.1f}, log V = {torch.tensor(50.0).log():.1f}")
torch.testing.assert_close(logits, tiny.logits(z_full[masked]))

# %% [markdown]
# <details><summary>Answer</summary>
#
# $\ln 50$ nats: a uniform guess.
#
# </details>
#
# ## Eq. 7: the balance, and the whole forward pass
#
# $$L = \lambda\,L_\mathrm{JEPA} + (1 - \lambda)\,L_\mathrm{MLM}, \qquad
# \lambda = \sigma(w), \quad w_0 = 0$$

# %%
lam = 1 / (1 + (-tiny.balance.w).exp()).squeeze()
loss = lam * jepa + (1 - lam) * mlm
out = tiny(x, x_tilde, y, context, targets)
print(f"lambda {lam:.1f}, JEPA {jepa:.2f}, MLM {mlm:.1f}, loss {loss:.1f}")
by_hand = torch.stack([loss, jepa, mlm, lam])
torch.testing.assert_close(by_hand, torch.stack(out.to_tuple()))

# %% [markdown]
# ## Eq. 8: the target follows the encoder
#
# $$\bar\theta \leftarrow m\,\bar\theta + (1 - m)\,\theta$$
#
# The momentum $m$ rises from 0.996 to 1. One weight that moves from 0 to 1 and stays there, with
# $m = 0.9$, shows how the average follows:

# %%
average = 0.0
for _ in range(5):
    average = 0.9 * average + 0.1 * 1.0
    print(f"{average:.2f}", end=" ")
assert abs(average - (1 - 0.9**5)) < 1e-12

moved = PredictReconstruct.build(config, seed=1)
moved.target.load_state_dict(tiny.target.state_dict())  # of another model
pairs = zip(moved.target.parameters(), moved.encoder.parameters(), strict=True)
by_hand = [0.996 * bar + 0.004 * theta for bar, theta in pairs]
moved.update_target(0.996)
print(f"\n{len(by_hand)} tensors of the target encoder averaged")
torch.testing.assert_close(by_hand, list(moved.target.parameters()))

# %% [markdown]
# ## Ten training steps
#
# Batch, forward, backward, optimiser, moving average. `pretrain` does this and writes checkpoints.
# **Before you run it:** which of the two losses falls first?

# %%
rng, losses = torch.Generator().manual_seed(2), []
trained = [p for p in tiny.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=2e-2)
for step in range(10):
    out = tiny(*draw(rng, samples=32))  # Eq. 1 to 7, 9
    optimizer.zero_grad()
    out.loss.backward()
    optimizer.step()
    tiny.update_target(0.996 + 0.004 * step / 9)  # Eq. 8
    losses.append(out.loss.item())
    print(f"step {step + 1:2}: JEPA {out.jepa_loss:.1f}, MLM {out.mlm_loss:.1f}")
assert losses[-1] < losses[4] < losses[0]

# %% [markdown]
# <details><summary>Answer</summary>
#
# The JEPA loss. Positions of amplitude 1 drown tokens of std 0.02, so a target is nearly a function
# of its position, and the predictor is told the position. The real runs below add no positions to
# tokens (architecture `modern`), and their JEPA loss stays far higher. Notebook 06 examines this.
#
# </details>
#
# ## What a step costs
#
# A matrix product of $[n, a]$ and $[a, b]$ is $2nab$ operations. A layer of width $D$ on $n$
# tokens costs
#
# $$24nD^2 + 4n^2D$$
#
# | part | operations |
# |---|---|
# | $q$, $k$, $v$: a product with $[D, 3D]$ | $6nD^2$ |
# | attention: $q k^\top$, then times $v$ | $4n^2D$ |
# | $W_o$: a product with $[D, D]$ | $2nD^2$ |
# | MLP: products with $[D, 4D]$ and $[4D, D]$ | $16nD^2$ |
#
# Backward costs twice the forward. The hybrid step runs the encoder twice, the predictor once a
# target, and the target encoder forward only. The last layer needs queries, keys and values of all
# tokens, but $W_o$ and the MLP, $18 D^2$, only for the tokens whose vectors are used. At $L = 512$
# and a batch of 64 the masks have about $C = 205$ (the narrowest of 64 contexts), $T = 89$
# ($0.175 L - \tfrac12$, notebook 01) and $M = 77$ ($0.15 L$). **Before you run it:** at the paper's
# size, how many MLM-only steps does a hybrid step cost?


# %%
def layers(count, n, wanted, d=512):
    mixing = 6 * n * d**2 + 4 * n**2 * d
    return count * mixing + 18 * d**2 * ((count - 1) * n + wanted)


L, D, V = 512, 512, 30_522
C, K, T, M = 205, 2, 89, 77
reconstruct = layers(6, L, M) + M * 2 * D * (D + V)
through = 2 * D * D * (C + K * T)  # into the predictor and out of it
predict = layers(6, C, C) + through + K * layers(6, C + T, T)
target = layers(6, L, K * T)
hybrid, mlm_only = 3 * (reconstruct + predict) + target, 3 * reconstruct
print(f"GFLOP a text: MLM-only {mlm_only / 1e9:.0f}, hybrid {hybrid / 1e9:.0f}")
print(f"a hybrid step costs {hybrid / mlm_only:.1f} MLM-only steps")

sizes = dict(batch=1, length=L, masked=M)
paper = PredictReconstructConfig()
assert hybrid == step_flops(paper, **sizes, context=C, targets=(K, T))
assert mlm_only == step_flops(PredictReconstructConfig(arm="mlm"), **sizes)

# %% [markdown]
# > **Gotcha.** Equal steps are not equal compute. The paper compares equal steps. Notebook 06 adds
# > an MLM-only arm with equal operations.
#
# ## The real runs
#
# The recipe and the text (`max_steps`, where set, overrides `epochs`). Below, each call of
# `book.train` is the loop above with schedules, checkpoints and a live curve.

# %% tags=["nbval-ignore-output"]
typeset.show(*tables.recipe_tables(book.recipe, book.corpus))

# %% [markdown]
# ### The hybrid arm

# %% tags=["nbval-ignore-output"]
book.train("hybrid")

# %% [markdown]
# ### Its MLM-only twin

# %% tags=["nbval-ignore-output"]
book.train("mlm")

# %% [markdown]
# ### What happened
#
# Losses are running medians over logged steps. The dashed line is the loss of a model that knows
# word frequencies alone. Language models learn these first (Chang and Bergen 2022). A run that
# stays on the line has learned little else: on such a plateau hidden states of different tokens are
# nearly parallel, and attention, which it takes to leave the plateau, is learned last (Gopalani and
# Hu 2025, arXiv 2506.13688). Its geometry says nothing about its objective.

# %% tags=["nbval-ignore-output"]
unigram = next(iter(book.runs.values())).metrics["validation_unigram"]
histories = {arm: run.history for arm, run in book.runs.items()}
figure = figures.training_curves(histories, unigram=unigram)
book.gallery.show("02_training", figure, tables.histories(book.runs))
typeset.say(*tables.training_sentences(book.runs))

# %% [markdown]
# Held-out losses in nats, on the same masks for both arms and every recipe (one seed):

# %% tags=["nbval-ignore-output"]
typeset.show(*tables.training_tables(book.runs))

# %% [markdown]
# ### Explore
#
# With a running kernel you choose runs on disk, smoothing and axis. Uniformity and effective rank
# are those of the encoders kept during training, on the first labelled task.

# %% tags=["nbval-ignore-output"]
folders = [run.folder for run in book.runs.values()]
widgets.training_explorer(folders, task=book.first_task, tokenizer=book.corpus.tokenizer)

# %% [markdown]
# ### What the MLM head predicts
#
# Masked positions [?] of held-out text: the original word and the three most likely guesses. Other
# words around it may be masked, too.

# %% tags=["nbval-ignore-output"]
for arm, run in book.runs.items():
    guesses = tables.fill_masks(run.model(), book.corpus, run.recipe, n=6)
    typeset.show(guesses, caption=arm, index=False)

# %% [markdown]
# ### Where everything is
#
# `AutoModel.from_pretrained(folder)` opens the encoder (after `import predrecon`). An interrupted
# run resumes from the newest of its checkpoints.

# %% tags=["nbval-ignore-output"]
for arm, run in book.runs.items():
    print(f"{arm}: {labels.short_path(run.folder)}: {', '.join(labels.contents(run.folder))}")

# %% [markdown]
# ## Caveats
#
# - One seed. The demo preset is a small-scale run: 128 wide, 2 layers, a text read once or twice.
# - Its recipe is not the paper's: rotary positions, Muon, 30 % masked. `demo-published` is the
#   paper's recipe at this size; notebook 06 compares the two.

# %% tags=["nbval-ignore-output"]
print(book.gallery.export())
