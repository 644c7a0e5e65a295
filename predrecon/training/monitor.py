"""A look at the encoder every `monitor_every` steps: is it learning, or has something collapsed?

Every look uses the same held-out blocks and masks, in a separate pass without gradient. It draws no
random number and changes nothing that is trained.

It measures, for context vectors z (MLM-only: the vectors of all positions) and targets h:

- `rank`: effective rank (Eq. 12) of at most 256 vectors; NaN where all are equal or one is not
  finite.
- `spread`: sqrt(D) times the mean standard deviation of the coordinates of unit vectors, as in
  SimSiam (Chen and He 2021): 0 for a point, near 1 for vectors in all directions.
- `correlation`: mean absolute correlation between two dimensions, which VICReg penalises.
- `text_cosine`: mean cosine between the mean vectors of two texts.
- `jepa_cosine`: 1 - cos(prediction, target). To compare, the same loss of two predictors that see
  no text: `constant_floor`, of the best constant, and `position_floor`, of the best function of the
  position alone (the mean direction of the *other* texts' targets at that position). Both are
  cosine losses whatever the latent loss is.
- `nats`: how far the held-out MLM loss is below that of word frequencies.

The state is the first of these that fits; thresholds were set on the runs counted in LOG.md:

- `divergence`: the MLM loss is NaN, or 0.2 nats above its lowest so far (at first: above ln V, a
  uniform guess); 0.02 are enough while it is more than 0.1 above that of word frequencies, as Muon
  with too high a rate does not explode but stays there. It lasts until the loss is back at its
  lowest.
- `target is a function of position`: a position floor below 0.05 and below half of the constant
  floor. Predicting the target then shows nothing about the text.
- `collapse to a point`: the spread of h, or of z, is below 0.1.
- `collapse to few dimensions`: the rank of h, or of z, is below a sixth of min(D, 256), 256 being
  as many vectors as are ranked; at least below 2.
- `plateau`: after a quarter of the steps less than 0.05 nats below word frequencies; before, such
  a run is `starting`.
- `healthy`.

A collapse of z counts only off the plateau, from 0.05 nats on: nearly parallel vectors are typical
of the plateau (`heldout.learned`), in the MLM-only arm too, where nothing could collapse.

After the same alarm twice in a row the recipe's `on_collapse` decides: `continue` reports it in
history.csv and in the progress line; `stop` ends the run, with a checkpoint of the last look
without an alarm (every such look then leaves one); `mlm` sets lambda to 0; the name of a latent
loss changes to that loss. Checkpoints, history.csv and metrics.json record the change.
"""

import contextlib
import math

import torch
import torch.nn.functional as F

from predrecon import metrics
from predrecon.data.corpus import Corpus
from predrecon.model import PredictReconstruct
from predrecon.recipes import Recipe
from predrecon.training.heldout import PLATEAU, probe_batch

ALARMS = (
    "divergence",
    "target is a function of position",
    "collapse to a point",
    "collapse to few dimensions",
)
"""States that `on_collapse` acts on, after two looks in a row see the same one."""

STATES = (*ALARMS, "plateau", "starting", "healthy")
COLUMNS = (
    "context_rank", "context_spread", "context_correlation",
    "target_rank", "target_spread", "target_correlation",
    "text_cosine", "jepa_cosine", "constant_floor", "position_floor", "nats",
)  # fmt: skip
"""Columns of history.csv, besides `state`; empty for steps without a look."""

_ROWS = 256  # vectors whose effective rank is taken
_PRIOR = 5  # pseudo-count: vectors at the overall mean that are added to a position's
SPREAD, FLOOR, RISE = 0.1, 0.05, 0.2
_WORSE, _RISE_WHERE_WORSE = 0.1, 0.02  # than word frequencies


class Monitor:
    """Looks at a model in training, and keeps what it saw.

    Args:
        recipe, corpus: of the run.
        step: steps done so far.
        seen: `[(nats, state)]` of a resumed run's earlier looks, the latest last.
    """

    def __init__(self, recipe: Recipe, corpus: Corpus, device, step: int = 0, seen=()):
        self.every, self.looked = recipe.monitor_every, step
        self.seen: list[tuple[float, str]] = list(seen)
        if self.every:
            self.batch, self.unigram = probe_batch(recipe, corpus, device)
            self.guess = self.unigram.mean().item() - math.log(len(corpus.tokenizer))

    def is_due(self, step: int) -> bool:
        """Whether to look after `step`, a logged one: at the first after every `monitor_every`."""
        if not self.every or step // self.every == self.looked // self.every:
            return False
        self.looked = step
        return True

    def look(self, model: PredictReconstruct, progress: float) -> dict[str, float | str]:
        """`COLUMNS` and `state` of the model as it is; this waits for the device.

        `progress` is the share of the steps done.
        """
        row = measure(model, self.batch, self.unigram)
        least = self.least(row["nats"])
        row["state"] = name_state(row, progress, least, model.config.hidden_size)
        self.seen.append((row["nats"], row["state"]))
        return row

    def least(self, nats: float) -> float:
        """The nats below which a look that finds `nats` is a divergence."""
        highest = max([self.guess, *(earlier for earlier, _ in self.seen)])
        if self.state == "divergence":
            return highest
        return highest - (_RISE_WHERE_WORSE if self.seen and nats < -_WORSE else RISE)

    @property
    def state(self) -> str:
        """What the last look saw; empty before the first."""
        return self.seen[-1][1] if self.seen else ""

    @property
    def alarm(self) -> str:
        """The alarm that the last two looks have in common; empty if none."""
        last = [state for _, state in self.seen[-2:]]
        return last[0] if len(last) == 2 and last[0] == last[1] and last[0] in ALARMS else ""


@torch.no_grad()
def measure(model: PredictReconstruct, batch: dict, unigram: torch.Tensor) -> dict[str, float]:
    """The numbers of `COLUMNS`; NaN for those that the arm does not have.

    Args:
        batch: from `mask_batch`, on the model's device.
        unigram: -log p of each masked token by word frequencies alone, `[M]`.
    """
    row = dict.fromkeys(COLUMNS, math.nan)
    at = (batch["labels"].flatten() != -100).nonzero().squeeze(1)
    x = model.encoder.embed(batch["masked_ids"])
    z = model.encoder.transform(x).float()  # (B, L, D)
    loss = F.cross_entropy(
        model.logits(z.flatten(0, 1)[at].to(x.dtype)).float(), batch["labels"].flatten()[at]
    )
    row["nats"] = (unigram.mean() - loss).item()
    if model.config.arm == "hybrid":
        context, targets = batch["context"], batch["targets"]
        h = model.target_vectors(batch["input_ids"], targets).float()  # (B, K, T, D)
        z = model.encoder.transform(x, keep=context)
        predicted = model.predictor(z, context, targets).float()
        z = z.float()
        row |= {f"target_{name}": value for name, value in describe(h.flatten(0, 2)).items()}
        row["jepa_cosine"] = (1 - F.cosine_similarity(predicted, h, dim=-1)).mean().item()
        row |= floors(h, targets)
    row |= {f"context_{name}": value for name, value in describe(z.flatten(0, 1)).items()}
    texts = F.normalize(z.mean(dim=1), dim=1)  # (B, D)
    b = len(texts)
    row["text_cosine"] = ((texts.sum(0).square().sum() - b) / (b * (b - 1))).item()
    return row


def describe(z: torch.Tensor) -> dict[str, float]:
    """`rank, spread, correlation` of vectors `[N, D]`, as defined at the top."""
    n, dim = z.shape
    spread = F.normalize(z, dim=1).std(dim=0).mean() * math.sqrt(dim)
    centred = F.normalize(z - z.mean(dim=0), dim=0)  # a constant dimension stays 0
    among = (centred.T @ centred).abs()
    correlation = (among.sum() - among.diagonal().sum()) / (dim * (dim - 1))
    sample = z[:: math.ceil(n / _ROWS)]
    return {
        "rank": _rank(sample),
        "spread": spread.item(),
        "correlation": correlation.item(),
    }


def _rank(z: torch.Tensor) -> float:
    with contextlib.suppress(ValueError):  # equal vectors or NaN, which the monitor names
        return metrics.effective_rank(z.cpu())
    return math.nan


def floors(h: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
    """Cosine losses of the best predictors that see no text, for targets `h [B, K, T, D]`.

    Args:
        targets: `[B, K, T]` their positions. A position that two blocks of a text share counts
            once. If few texts have a position, its mean is shrunk towards the constant. The
            constant is also a function of the position, so the position floor is never higher.
    """
    b, length = len(targets), int(targets.max()) + 1
    text = torch.arange(b, device=targets.device)[:, None, None] * length
    places, first = _first_of_each((targets + text).flatten())
    unit = F.normalize(h.flatten(0, 2)[first], dim=1)  # (N, D)
    total = unit.sum(dim=0)
    constant = (1 - F.cosine_similarity(unit, total - unit, dim=1).mean()).item()
    at = places % length
    sums = unit.new_zeros(length, unit.shape[1]).index_add_(0, at, unit)
    others = sums[at] - unit + _PRIOR * (total - unit) / (len(unit) - 1)
    position = (1 - F.cosine_similarity(unit, others, dim=1).mean()).item()
    return {"constant_floor": constant, "position_floor": min(position, constant)}


def _first_of_each(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The distinct values, sorted, and the first index of each."""
    unique, inverse = values.unique(return_inverse=True)
    first = torch.full_like(unique, len(values))
    order = torch.arange(len(values), device=values.device)
    return unique, first.scatter_reduce_(0, inverse, order, "amin")


def name_state(row: dict, progress: float, least: float, dim: int) -> str:
    """The state's name, by the rules at the top.

    Args:
        row: from `measure`. progress: share of the steps done. dim: D.
        least: below so many nats the run diverges.
    """
    sides = ("target", "context")[: 2 if row["nats"] >= PLATEAU else 1]
    if not row["nats"] >= least:
        return "divergence"
    if row["position_floor"] < min(FLOOR, row["constant_floor"] / 2):
        return "target is a function of position"
    if any(row[f"{side}_spread"] < SPREAD for side in sides):
        return "collapse to a point"
    if any(row[f"{side}_rank"] < max(2, min(dim, _ROWS) / 6) for side in sides):
        return "collapse to few dimensions"
    if row["nats"] < PLATEAU:
        return "plateau" if progress >= 0.25 else "starting"
    return "healthy"
