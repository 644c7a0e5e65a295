"""The training step in its most direct form: the baseline of `make bench`.

Same model, same losses, same optimiser as `predrecon`, written plainly: attention as softmax(QK')V,
logits for every position, masks as Python lists drawn sample by sample, a moving average parameter
by parameter, texts padded to length instead of packed, fp32 throughout. Weights come from a
`PredictReconstruct`, so both compute the same.
"""

import math
import random

import torch
import torch.nn.functional as F

from predrecon.model import Block, PredictReconstruct


def attention(block: Block, x: torch.Tensor) -> torch.Tensor:
    """A transformer block with attention by hand."""
    b, n, d = x.shape
    q, k, v = block.qkv(block.norm1(x)).view(b, n, 3, block.heads, -1).permute(2, 0, 3, 1, 4)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, heads, n, n)
    x = x + block.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, n, d))
    return x + block.down(F.gelu(block.up(block.norm2(x))))


def encode(encoder, ids: torch.Tensor, keep: list[list[int]] | None = None) -> torch.Tensor:
    x = encoder.tokens(ids) * encoder.scale + encoder.positions.table[: ids.shape[1]]
    if keep is not None:
        x = torch.stack([row[positions] for row, positions in zip(x, keep, strict=True)])
    for block in encoder.blocks:
        x = attention(block, x)
    return encoder.norm(x)


def predict(predictor, z, context: list[list[int]], targets: list[list[list[int]]]):
    """One target block after the other: a list of `[B, T, D]`."""
    places = predictor.positions.table
    visible = predictor.enter(z) + torch.stack([places[c] for c in context])
    out = []
    for k in range(len(targets[0])):
        queries = torch.stack([predictor.mask_token + places[sample[k]] for sample in targets])
        x = torch.cat([visible, queries], dim=1)
        for block in predictor.blocks:
            x = attention(block, x)
        out.append(predictor.leave(predictor.norm(x[:, -queries.shape[1] :])))
    return out


def draw_masks(draw: random.Random, batch: int, length: int):
    """Context and targets as lists of positions, per sample, redrawn if too little is left."""
    size_c = int(length * draw.uniform(0.65, 0.85))
    size_t = int(length * draw.uniform(0.10, 0.25))
    contexts, targets = [], []
    while len(contexts) < batch:
        start = draw.randint(0, length - size_c)
        context = list(range(start, start + size_c))
        blocks = []
        for _ in range(2):
            first = draw.randint(0, length - size_t)
            blocks.append(list(range(first, first + size_t)))
        visible = [p for p in context if all(p not in block for block in blocks)]
        if len(visible) >= length // 4:
            contexts.append(visible)
            targets.append(blocks)
    shortest = min(map(len, contexts))
    return [c[:shortest] for c in contexts], targets


def corrupt(draw: random.Random, ids: list[list[int]], special: set[int], mask: int, vocab: int):
    """BERT's 80 / 10 / 10, token by token."""
    masked, labels = [], []
    for row in ids:
        new, wanted = [], []
        for token in row:
            if token in special or draw.random() >= 0.15:
                new.append(token)
                wanted.append(-100)
                continue
            wanted.append(token)
            fate = draw.random()
            new.append(mask if fate < 0.8 else draw.randrange(vocab) if fate < 0.9 else token)
        masked.append(new)
        labels.append(wanted)
    return masked, labels


class TextbookStep:
    """`step(rows)` trains on rows of token ids, already cut and padded; returns the loss."""

    def __init__(self, model: PredictReconstruct, tokenizer, lr: float, seed: int = 0):
        self.model, self.tokenizer, self.draw = model, tokenizer, random.Random(seed)
        trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=lr, weight_decay=0.05, foreach=False)
        self.special = set(tokenizer.all_special_ids)

    def step(self, rows: list[list[int]]) -> float:
        model, length = self.model, len(rows[0])
        masked, labels = corrupt(
            self.draw, rows, self.special, self.tokenizer.mask_token_id, len(self.tokenizer)
        )
        device = next(model.parameters()).device
        ids, masked, labels = (torch.tensor(x, device=device) for x in (rows, masked, labels))
        logits = model.logits(encode(model.encoder, masked))  # (B, L, V)
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
        if model.config.arm == "hybrid":
            loss = model.balance(self._jepa(ids, masked, length), loss)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if model.config.arm == "hybrid":
            with torch.no_grad():
                pairs = zip(model.target.parameters(), model.encoder.parameters(), strict=True)
                for average, current in pairs:
                    average.copy_(0.996 * average + 0.004 * current)
        return loss.item()

    def _jepa(self, ids, masked, length: int):
        context, targets = draw_masks(self.draw, len(ids), length)
        z = encode(self.model.encoder, masked, context)
        predicted = predict(self.model.predictor, z, context, targets)
        with torch.no_grad():
            h = encode(self.model.target, ids)
            h = F.layer_norm(h, h.shape[-1:])
        similar = []
        for k, guess in enumerate(predicted):
            wanted = torch.stack([row[sample[k]] for row, sample in zip(h, targets, strict=True)])
            similar.append(F.cosine_similarity(guess, wanted, dim=-1).mean())
        return 1 - torch.stack(similar).mean()


def padded_rows(tokenizer, texts: list[str], length: int) -> list[list[int]]:
    """Each text cut or padded to `length`, as lists."""
    return tokenizer(texts, truncation=True, padding="max_length", max_length=length)["input_ids"]
