"""Probes on frozen embeddings: the paper's linear heads, and the token and semantic probes.

Source: paper, Sections 3.4, 4.2 and 4.3, Table 2 and Appendix D.
"""

import contextlib
import os
import threading
import warnings
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from predrecon.seeding import torch_generator

SELECT = ("last", "inner", "reported")
METRICS = ("accuracy", "f1", "mcc", "spearman")
_SEEDING = threading.RLock()  # dropout draws from PyTorch's global generator: one fit at a time
_CLASS_MINIMUM = 5  # samples a token needs to be a class of the token probe


@dataclass(frozen=True)
class ProbeResult:
    """The score on `n` samples: of the epoch that was selected, or the mean over folds.

    Attributes:
        best_epoch_score: best over epochs *on the reported split*, as the paper's code reports it;
            optimistic by construction. None for cross-validated probes.
        predictions: `[n]` predicted labels, or scores for STS-B.
        confidence: `[n]` probability of the predicted label, from the linear heads; 1 for STS-B.
    """

    score: float
    metric: str
    n: int
    best_epoch_score: float | None = None
    predictions: np.ndarray | None = None
    confidence: np.ndarray | None = None


class _Head(nn.Module):
    """Features `[N, F]` to logits `[N, num_classes]`, or to scores `[N]` with `num_classes=0`."""

    def __init__(self, dim: int, num_classes: int, *, single: bool, dropout: float, seed: int):
        super().__init__()
        self.similarity = num_classes == 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if self.similarity:
                self.scale, self.bias = nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(()))
            elif single:
                linear = nn.Linear(dim, num_classes)
                self.layers = nn.Sequential(nn.LayerNorm(dim), nn.Dropout(dropout), linear)
            else:
                self.layers = nn.Linear(dim, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * x[:, 0] + self.bias if self.similarity else self.layers(x)


def _features(*parts, similarity: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """What the head reads, `[N, F]`, and the labels `[N]`."""
    *vectors, labels = (torch.as_tensor(np.asarray(part)) for part in parts)
    if any(len(v) != len(labels) for v in vectors) or len(labels) == 0:
        sizes = ", ".join(str(len(v)) for v in vectors)
        raise ValueError(f"Vectors of {sizes} samples, {len(labels)} labels: expected as many.")
    if not all(v.isfinite().all() for v in vectors):
        raise ValueError("The vectors hold NaN or infinity: nothing can be probed.")
    vectors = [v.float() for v in vectors]
    if similarity:
        return F.cosine_similarity(*vectors)[:, None], labels.float()
    if len(vectors) == 1:
        return vectors[0], labels.long()
    a, b = vectors
    return torch.cat([a, b, (a - b).abs(), a * b], dim=1), labels.long()


def _check_labels(y: torch.Tensor, y_val: torch.Tensor, num_classes: int):
    """Refuses labels outside 0 .. num_classes-1, and training labels of one class."""
    if num_classes == 0:
        return
    classes = sorted(set(y.tolist()) | set(y_val.tolist()))
    if classes[0] < 0 or classes[-1] >= num_classes:
        raise ValueError(f"Labels {classes[:8]}: expected integers from 0 to {num_classes - 1}.")
    if len(y.unique()) < 2:
        raise ValueError(
            f"The training labels hold one class only ({classes[0]}): nothing to learn."
        )


def linear_probe(
    train: tuple,
    validation: tuple,
    *,
    metric: str,
    num_classes: int = 0,
    epochs: int = 15,
    lr: float = 1e-3,
    batch_size: int = 64,
    dropout: float = 0.2,
    select: str = "last",
    seed: int = 0,
) -> ProbeResult:
    """Train a head on frozen sentence vectors, exactly the three heads of the paper.

    | vectors                 | head                                                              |
    |-------------------------|-------------------------------------------------------------------|
    | one a text (SST-2, CoLA)| LayerNorm, Dropout 0.2, Linear; cross-entropy                     |
    | two (MRPC, MNLI)        | Linear on [s1; s2; abs(s1 - s2); s1 * s2]; cross-entropy          |
    | two, `num_classes=0`    | y = a cos(s1, s2) + b, two numbers; mean squared error (STS-B)    |

    AdamW without weight decay; the paper names neither optimiser nor batch size for its probes.
    Note that Spearman's rho does not see a and b as long as a > 0: the STS-B probe reports the
    encoder's cosine itself.

    Args:
        train, validation: `(s, labels)` or `(s1, s2, labels)`, vectors `[N, D]`, labels `[N]`.
        metric: one of `METRICS`.
        num_classes: classes, or 0 for the similarity head.
        epochs, lr: paper, Table 2.
        select: which epoch's score is reported: the `"last"`, that with the best score on a tenth
            of the training split, held out for it (`"inner"`), or, as the paper's code does it, the
            best on the very split that is reported (`"reported"`): optimistic by construction.
        seed: initial weights, order, dropout, and the inner split.

    Raises:
        ValueError: labels and vectors of different length, labels outside 0 .. num_classes-1, one
            class only, NaN in the vectors, or an unknown option.
    """
    if select not in SELECT:
        raise ValueError(f"select={select!r}: expected one of {', '.join(SELECT)}.")
    x, y = _features(*train, similarity=num_classes == 0)
    x_val, y_val = _features(*validation, similarity=num_classes == 0)
    _check_labels(y, y_val, num_classes)
    generator = torch_generator(seed, "probe")
    with _SEEDING:
        head = _Head(x.shape[1], num_classes, single=len(train) == 2, dropout=dropout, seed=seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=lr, weight_decay=0.0)
    if select == "inner":
        shuffled = torch.randperm(len(x), generator=generator)
        inner_rows, rest = shuffled.tensor_split([max(2, len(x) // 10)])
        (x_inner, y_inner), (x, y) = (x[inner_rows], y[inner_rows].numpy()), (x[rest], y[rest])
    scores, inner, answers = [], [], []
    with _SEEDING, torch.random.fork_rng(devices=[]), _one_thread():
        torch.manual_seed(seed)  # dropout has no generator argument
        for _ in range(epochs):
            head.train()
            for rows in torch.randperm(len(x), generator=generator).split(batch_size):
                out = head(x[rows])
                loss = F.cross_entropy(out, y[rows]) if num_classes else F.mse_loss(out, y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            head.eval()
            answers.append(_answers(head, x_val, num_classes))
            scores.append(score(y_val.numpy(), answers[-1][0], metric))
            if select == "inner":
                inner.append(score(y_inner, _answers(head, x_inner, num_classes)[0], metric))
    chosen = {"last": [0] * (epochs - 1) + [1], "inner": inner, "reported": scores}[select]
    epoch = int(np.argmax(chosen))  # the first of the best
    return ProbeResult(scores[epoch], metric, len(y_val), max(scores), *answers[epoch])


def semantic_probe(z, labels, *, kind: str = "classification", seed: int = 0) -> ProbeResult:
    """The task's label from frozen vectors `[N, D]`, cross-validated (5 folds).

    Args:
        z: `[N, D]` embeddings; standardised inside each fold. Equal ones score what always giving
            the commonest label does (rho: 0).
        labels: `[N]`.
        kind: `"classification"` (logistic regression, accuracy) or `"regression"` (ridge,
            Spearman's rho). For CoLA's MCC, score the out-of-fold `predictions`.
        seed: shuffles the folds.

    Raises:
        ValueError: NaN, one label only, or too few samples for the folds.
    """
    metrics = {"classification": "accuracy", "regression": "spearman"}
    if kind not in metrics:
        raise ValueError(f"kind={kind!r}: expected one of {', '.join(metrics)}.")
    return _cross_validate(z, labels, metrics[kind], folds=5, seed=seed)


def token_probe(z, tokens, *, seed: int = 0) -> ProbeResult:
    """The most frequent token of each text from its vector `z [N, D]`: is the embedding lexical?

    Of `tokens [N]` (from `frequent_tokens`) those with fewer than five texts are left out; logistic
    regression, 3 folds, standardised inside each fold. Errors as `semantic_probe`, or no two tokens
    with five texts each.
    """
    tokens, frequent = np.asarray(tokens), common(tokens)
    if len(np.unique(tokens[frequent])) < 2:
        raise ValueError(
            f"{len(np.unique(tokens[frequent]))} of {len(np.unique(tokens))} tokens have "
            f"{_CLASS_MINIMUM} texts or more: the token probe needs two, so take more texts."
        )
    z = np.asarray(z)[frequent]
    return _cross_validate(z, tokens[frequent], "accuracy", folds=3, seed=seed)


def common(tokens) -> np.ndarray:
    """`[N]` bool: whether a text's token has enough texts to be a class of the token probe."""
    _, inverse, counts = np.unique(np.asarray(tokens), return_inverse=True, return_counts=True)
    return counts[inverse] >= _CLASS_MINIMUM


def frequent_tokens(ids: list[list[int]]) -> np.ndarray:
    """`[N]` most frequent non-special token of each text (of a pair, of both together).

    Args:
        ids: `pooling.token_ids`, cut as the encoder sees them; their first and last id and every
            id equal to the last ([SEP]) are special. Ties go to the token that comes first; a text
            without a token gets -1.
    """
    bodies = ([i for i in text[1:-1] if i != text[-1]] for text in ids)
    return np.array([Counter(body).most_common(1)[0][0] if body else -1 for body in bodies])


def score(labels: np.ndarray, predictions: np.ndarray, metric: str) -> float:
    """Accuracy, F1 of class 1, Matthews' correlation, or Spearman's rho.

    Where labels or predictions are all of one class (constant), the two correlations have no value
    (0 / 0): they are 0 here, as scikit-learn's MCC is, and F1 is 0 if class 1 appears in neither.
    """
    from scipy.stats import spearmanr
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    if metric not in METRICS:
        raise ValueError(f"metric={metric!r}: expected one of {', '.join(METRICS)}.")
    if metric == "spearman":
        constant = np.ptp(predictions) == 0 or np.ptp(labels) == 0
        return 0.0 if constant else float(spearmanr(labels, predictions).statistic)
    if metric == "f1":
        return float(f1_score(labels, predictions, zero_division=0.0))
    formula = accuracy_score if metric == "accuracy" else matthews_corrcoef
    return float(formula(labels, predictions))


def majority_answer(train_labels: np.ndarray, labels: np.ndarray, metric: str) -> np.ndarray:
    """The training split's commonest label (its mean for regression) for each of `labels`.

    Where several are equally common, the answer that scores best.
    """
    if metric == "spearman":
        return np.full(len(labels), np.mean(train_labels))
    values, counts = np.unique(train_labels, return_counts=True)
    answers = [np.full_like(labels, value) for value in values[counts == counts.max()]]
    return max(answers, key=lambda answer: score(labels, answer, metric))


def majority(train_labels: np.ndarray, labels: np.ndarray, metric: str) -> float:
    """Score of `majority_answer`."""
    return score(labels, majority_answer(train_labels, labels, metric), metric)


@torch.no_grad()
def _answers(head: nn.Module, x: torch.Tensor, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and how sure the head is of each."""
    out = head(x)
    if num_classes == 0:
        return out.numpy(), np.ones(len(out), dtype=np.float32)
    confidence, label = out.softmax(dim=1).max(dim=1)
    return label.numpy(), confidence.numpy()


@contextlib.contextmanager
def _one_thread():
    """For steps of microseconds: a second thread costs more than it brings on a busy CPU."""
    import threadpoolctl

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpoolctl.threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def _cross_validate(z, labels, metric: str, *, folds: int, seed: int) -> ProbeResult:
    from joblib import parallel_config
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    z, labels = np.asarray(z, dtype=np.float64), np.asarray(labels)
    regression = metric == "spearman"
    _check_samples(z, labels, folds, regression)
    splitter = (KFold if regression else StratifiedKFold)(folds, shuffle=True, random_state=seed)
    splits = list(splitter.split(z, labels))
    head = Ridge() if regression else LogisticRegression(max_iter=500)
    model = make_pipeline(StandardScaler(), head)
    with warnings.catch_warnings(), _one_thread(), parallel_config(backend="threading"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # 500 steps are the protocol
        predictions = cross_val_predict(model, z, labels, cv=splits, n_jobs=os.cpu_count())
    scores = [score(labels[test], predictions[test], metric) for _, test in splits]
    return ProbeResult(float(np.mean(scores)), metric, len(labels), predictions=predictions)


def _check_samples(z: np.ndarray, labels: np.ndarray, folds: int, regression: bool):
    """Every fold must find finite vectors and, to learn from, two labels."""
    if z.ndim != 2 or labels.shape != (len(z),):
        raise ValueError(f"Vectors {z.shape}, labels {labels.shape}: expected [N, D] and [N].")
    if not np.isfinite(z).all():
        bad = int((~np.isfinite(z).all(axis=1)).argmax())
        raise ValueError(f"Vector {bad} holds NaN or infinity: nothing can be probed.")
    if (labels != labels).any():
        raise ValueError(f"Label {int((labels != labels).argmax())} is NaN: leave that sample out.")
    values, counts = np.unique(labels, return_counts=True)
    if len(values) == 1:
        raise ValueError(f"All {len(labels)} labels are {values[0]}: a probe needs two classes.")
    if len(labels) < 2 * folds:
        raise ValueError(f"{len(labels)} samples: too few for {folds} folds of two at least.")
    if not regression and (counts.max() < folds or np.sort(counts)[-2] < 2):
        sizes = ", ".join(f"{v}: {n}" for v, n in zip(values[:8], counts[:8], strict=True))
        raise ValueError(
            f"Samples by class ({sizes}): too few for {folds} folds, which need one class of "
            f"{folds} and a second of 2."
        )
