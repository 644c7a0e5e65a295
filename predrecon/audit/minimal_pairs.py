"""Does a masked language model prefer the acceptable sentence? BLiMP by pseudo-log-likelihood.

The pseudo-log-likelihood of a sentence is the sum over its tokens of log p(token | all others),
each masked in turn (Salazar et al. 2020). [CLS] and [SEP] are visible but not scored. As there, the
pieces of a word are masked one at a time, not together (Kauf & Ivanova 2023), and sums are not
divided by length.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from predrecon.audit.cache import cached, encoder_digest, tokenizer_digest
from predrecon.audit.encoders import Model
from predrecon.audit.loading import quiet_report
from predrecon.audit.released import HEADS, load_released
from predrecon.audit.statistics import Interval
from predrecon.data.minimal_pairs import MinimalPairs
from predrecon.data.progress import Progress
from predrecon.model import Encoder, PredictReconstruct
from predrecon.pooling import longest_input, token_ids
from predrecon.training.run_folder import quiet_transformers

Logits = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""`logits(input_ids [B, L], attention_mask [B, L], positions [B])`: `[B, V]` at the positions."""
LEVELS = ("overall", "field", "linguistics_term", "UID")


@dataclass(frozen=True)
class MaskedModel:
    """A masked language model to measure: its name in tables, and the seed it was trained with.

    `model` is a run's (`Run.model()`) or one of transformers' `AutoModelForMaskedLM`; it moves to
    the GPU if there is one.
    """

    name: str
    model: torch.nn.Module
    tokenizer: object
    seed: int = 0

    def __post_init__(self):
        if self.tokenizer.mask_token_id is None:
            raise ValueError(f"{self.name}: the tokenizer has no mask token, so nothing is masked.")
        self._body()
        if self.model.training:
            raise ValueError(
                f"{self.name} is in training mode, maybe with dropout: call .eval() first."
            )
        self.model.to("cuda" if torch.cuda.is_available() else "cpu")

    def _body(self) -> torch.nn.Module:
        """The encoder below the head."""
        if isinstance(self.model, PredictReconstruct):
            return self.model.encoder
        body = getattr(self.model, getattr(self.model, "base_model_prefix", ""), None)
        if body is None or self.model.get_output_embeddings() is None:
            raise ValueError(
                f"{self.name}: {type(self.model).__name__} has no MLM head. Open it with "
                "AutoModelForMaskedLM, or give a run's Run.model()."
            )
        return body

    @torch.inference_mode()
    def logits(self, input_ids, attention_mask, positions) -> torch.Tensor:
        """As `Logits`: the head sees only the vectors at `positions`, a fraction of the work."""
        rows = torch.arange(len(positions), device=positions.device)
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if isinstance(self.model, PredictReconstruct):
            hidden = self.model.encoder(**inputs).last_hidden_state
            return self.model.logits(hidden[rows, positions])

        def keep(_, __, output):
            output.last_hidden_state = output.last_hidden_state[rows, positions, None]
            return output

        hook = self._body().register_forward_hook(keep)
        try:
            return self.model(**inputs).logits[:, 0]
        finally:
            hook.remove()

    @property
    def max_length(self) -> int:
        return longest_input(self._body())


def with_mlm_head(
    model: Model, place: str, *, num_heads: int | None = None, trust_remote_code: bool = False
) -> MaskedModel | None:
    """The encoder that `encoders.load_encoder(place)` opened, with its MLM head; None without one.

    Causal models, sentence encoders and encoders saved without their head have none.
    """
    path = Path(place).expanduser()
    if path.is_file():
        whole = load_released(path, num_heads=HEADS if num_heads is None else num_heads)
    elif isinstance(model.encoder, Encoder):
        with quiet_transformers():
            whole, report = PredictReconstruct.from_pretrained(path, output_loading_info=True)
        if any(name.startswith("regressor") for name in report["missing_keys"]):
            return None
    else:
        from transformers import AutoModelForMaskedLM

        options = {"output_loading_info": True, "trust_remote_code": trust_remote_code}
        source = path if path.is_dir() else place
        try:
            with quiet_transformers(), quiet_report():
                whole, report = AutoModelForMaskedLM.from_pretrained(source, **options)
        except (OSError, ValueError):  # a causal model, or a folder of sentence-transformers
            return None
        if report["missing_keys"]:
            return None
    if model.tokenizer.mask_token_id is None:
        return None
    return MaskedModel(model.name, whole.eval(), model.tokenizer, model.seed)


def pseudo_log_likelihoods(
    logits: Logits,
    ids: list[list[int]],
    mask_id: int,
    *,
    pad_id: int = 0,
    device: str | torch.device = "cpu",
    batch_tokens: int = 8192,
    progress: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """Sum of log p(token | all others) `[N]`, in nats, for N texts of token ids.

    Copies of the texts with one token masked are sorted by length and run in batches. Equal texts
    are computed once and agree exactly.

    Args:
        logits: the model. ids: as `pooling.token_ids`; first and last of a text are not scored.
        batch_tokens: maximum of padded tokens per batch. progress: receives the number done.

    Raises:
        ValueError: a text without a token between first and last; logits of another shape, or NaN.
    """
    texts = list(dict.fromkeys(map(tuple, ids)))
    if short := next((text for text in texts if len(text) < 3), None):
        raise ValueError(f"Ids {list(short)}: no token between the first and the last to score.")
    totals, done = np.zeros(len(texts)), 0
    for batch in _copies(texts, batch_tokens):
        width = len(texts[batch[-1][0]])
        rows = torch.tensor([[*texts[i], *[pad_id] * (width - len(texts[i]))] for i, _ in batch])
        lengths = torch.tensor([len(texts[i]) for i, _ in batch])
        at = torch.tensor([position for _, position in batch])
        each = torch.arange(len(batch))
        target = rows[each, at].clone()
        rows[each, at] = mask_id
        mask = (torch.arange(width) < lengths[:, None]).long()
        out = logits(rows.to(device), mask.to(device), at.to(device))  # (B, V)
        if out.ndim != 2 or len(out) != len(batch):
            raise ValueError(f"logits of shape {tuple(out.shape)}: expected [{len(batch)}, V].")
        if out.shape[1] <= int(target.max()):
            raise ValueError(
                f"Token {int(target.max())} with logits for {out.shape[1]} tokens: the tokenizer "
                "does not fit the model."
            )
        scores = out.float().log_softmax(dim=1).cpu()[each, target].double().numpy()
        if not np.isfinite(scores).all():
            raise ValueError("log p is NaN or infinite, so the model's weights or logits are.")
        np.add.at(totals, [i for i, _ in batch], scores)
        done += len(batch)
        progress(done)
    place = {text: i for i, text in enumerate(texts)}
    return totals[[place[tuple(text)] for text in ids]]


def _copies(texts: list[tuple], batch_tokens: int) -> Iterator[list[tuple[int, int]]]:
    """Batches of `(text, masked position)`, shortest texts first."""
    batch: list[tuple[int, int]] = []
    for i in sorted(range(len(texts)), key=lambda i: len(texts[i])):
        for position in range(1, len(texts[i]) - 1):
            if batch and (len(batch) + 1) * len(texts[i]) > batch_tokens:
                yield batch
                batch = []
            batch.append((i, position))
    if batch:
        yield batch


def pair_scores(model: MaskedModel, pairs: MinimalPairs) -> np.ndarray:
    """1 where the good sentence is likelier, 0 where the bad one is, 1/2 where they tie: `[N]`.

    Ties are exact: pairs with equal ids, for example if they differ in an unknown word. Two models
    can be subtracted pair by pair.

    Raises:
        ValueError: a sentence longer than the model reads; as in `pseudo_log_likelihoods`, with the
            model's name.
    """
    sentences = [*pairs.good, *pairs.bad]

    def compute():
        options = dict(mask_id=model.tokenizer.mask_token_id)
        options["pad_id"] = model.tokenizer.pad_token_id or 0
        options["device"] = next(model.model.parameters()).device
        try:
            ids = token_ids(model.tokenizer, sentences, None, 10**6)
            if (longest := max(map(len, ids))) > model.max_length:
                raise ValueError(
                    f"a sentence of {longest} tokens, the model reads {model.max_length}: leave "
                    "it out, or take a model for longer texts."
                )
            copies = sum(len(text) - 2 for text in dict.fromkeys(map(tuple, ids)))
            with Progress(pairs.title, copies, "masked copies") as line:
                options["progress"] = lambda done: line.update(done, model.name)
                values = pseudo_log_likelihoods(model.logits, ids, **options)
        except ValueError as error:
            raise ValueError(f"{pairs.title}, {model.name}: {error}") from error
        return [], {"values": values}

    key = encoder_digest(model.model), tokenizer_digest(model.tokenizer), sentences
    good, bad = np.split(cached("minimal-pairs", key, compute)[1]["values"], 2)
    return (good > bad) + (good == bad) / 2


def measure_minimal_pairs(models: list[MaskedModel], pairs: MinimalPairs) -> pd.DataFrame:
    """Accuracy of every model: overall, by field, by term and by paradigm; chance is 0.5.

    Returns:
        Columns `task, title, pooling, model, seed, level, group, metric, value, low, high, n,
        note`; `level` is one of `LEVELS`, `low` and `high` Wilson's 95 % interval over `n` pairs
        (`wilson_interval`); `pooling` is empty.

    Raises:
        ValueError: no model; as in `pair_scores`.
    """
    if not models:
        raise ValueError("No model: nothing to measure.")
    groups = {"field": pairs.field, "linguistics_term": pairs.term, "UID": pairs.uid}
    groups = {"overall": np.full(len(pairs), "all")} | groups
    rows = []
    for model in models:
        scores = pair_scores(model, pairs)
        facts = {"task": "blimp", "title": pairs.title, "pooling": "", "model": model.name}
        facts |= {"seed": model.seed}
        for level, names in groups.items():
            for name in np.unique(names):
                interval = wilson_interval(scores[names == name])
                row = facts | {"level": level, "group": str(name), "metric": "accuracy"}
                rows.append(row | interval.bounds | {"n": interval.n, "note": pairs.note})
    return pd.DataFrame(rows)


def wilson_interval(scores, *, level: float = 0.95) -> Interval:
    """Mean of `scores [n]` from 0 to 1 with Wilson's (1927) interval of a share.

    It stays between 0 and 1 and has a width even if all scores agree, as for 50 pairs that are all
    right. Halves (ties) and different paradigms in one group make it slightly too wide.

    Raises:
        ValueError: no score, or one outside of 0 to 1.
    """
    from scipy.stats import norm

    scores = np.asarray(scores, dtype=float)
    if not (scores.size and ((scores >= 0) & (scores <= 1)).all()):
        raise ValueError(f"{scores.size} scores: expected some, each from 0 to 1.")
    n, p, z = scores.size, float(scores.mean()), norm.ppf(0.5 + level / 2)
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    margin = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return Interval(p, max(0.0, centre - margin), min(1.0, centre + margin), n)
