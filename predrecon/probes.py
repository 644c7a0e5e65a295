"""Probes on frozen embeddings: the paper's linear heads, and the token and semantic probes.

Source: paper, Sections 3.4, 4.2 and 4.3, Table 2 and Appendix D.
"""

import contextlib
import os
import threading
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from predrecon.recipes import read
from predrecon.seeding import torch_generator

SELECT = ("last", "inner", "reported")
HEADS = ("linear", "knn", "mlp")
NEIGHBOURS = 10  # of the nearest-neighbour probe
HIDDEN, HIDDEN_EPOCHS = 64, 50  # of the MLP probe
METRICS = ("accuracy", "f1", "mcc", "spearman")
_THREADS = threading.RLock()  # the thread count is global to the process: one fit at a time
_STACK = 1 << 30  # bytes of training features, at most, where heads are trained at once
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


class _Heads(nn.Module):
    """H heads at once: features `[H, N, F]` to logits `[H, C, N]`, or to scores `[H, 1, N]`.

    All start with the same weights, drawn as `nn.Linear` does, and share dropout masks, so each
    does what it would do alone.
    """

    def __init__(self, stack: "list[_Data]", num_classes: int, *, dropout: float, seed: int):
        super().__init__()
        draws, dim = torch.Generator().manual_seed(seed), stack[0].x.shape[1]
        weight, bias = torch.ones(1, 1).double(), torch.zeros(1, 1).double()  # of similarity
        if num_classes:
            bound = dim**-0.5
            weight = torch.empty(num_classes, dim).uniform_(-bound, bound, generator=draws)
            bias = torch.empty(num_classes, 1).uniform_(-bound, bound, generator=draws)
        self.weight = nn.Parameter(weight.repeat(len(stack), 1, 1))
        self.bias = nn.Parameter(bias.repeat(len(stack), 1, 1))
        self.similarity, self.single, self.dropout = num_classes == 0, stack[0].single, dropout
        if self.single:  # LayerNorm's affine part; the features are already normalised
            self.scale = nn.Parameter(torch.ones(len(stack), 1, dim))
            self.shift = nn.Parameter(torch.zeros(len(stack), 1, dim))
            self.draws = torch.Generator().manual_seed(seed)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.single:
            x = torch.addcmul(self.shift, x, self.scale)
        if self.single and self.training:
            kept = torch.empty(x.shape[1:]).bernoulli_(1 - self.dropout, generator=self.draws)
            x = x * (kept / (1 - self.dropout))
        if self.similarity:  # element by element: ties stay ties
            return self.weight * x.mT + self.bias
        return torch.baddbmm(self.bias, self.weight, x.mT)


def _features(*parts, similarity: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """What the head reads, `[N, F]`, and the labels `[N]`."""
    *vectors, labels = (torch.as_tensor(np.asarray(part)) for part in parts)
    if any(len(v) != len(labels) for v in vectors) or len(labels) == 0:
        sizes = ", ".join(str(len(v)) for v in vectors)
        raise ValueError(f"Vectors of {sizes} samples, {len(labels)} labels: counts must be equal.")
    if not all(v.isfinite().all() for v in vectors):
        raise ValueError("The vectors hold NaN or infinity: nothing can be probed.")
    vectors = [v.float() for v in vectors]
    if similarity:
        cosine = F.cosine_similarity(*vectors)[:, None]
        return cosine.double(), labels.double()  # a x + b in float32 would tie ranks by rounding
    if len(vectors) == 1:
        return F.layer_norm(vectors[0], vectors[0].shape[1:]), labels.long()
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
    train: tuple, validation: tuple, *, select: str = "last", **options
) -> ProbeResult:
    """`linear_probes` of one head with one choice of epoch; the same options."""
    (results,) = linear_probes([(train, validation)], selects=(select,), **options)
    return results[select]


def linear_probes(
    heads: Iterable[tuple[tuple, tuple]],
    *,
    metric: str,
    num_classes: int = 0,
    epochs: int = 15,
    lr: float = 1e-3,
    batch_size: int = 64,
    dropout: float = 0.2,
    selects: tuple[str, ...] = ("last",),
    seed: int = 0,
) -> Iterator[dict[str, ProbeResult]]:
    """Train heads on frozen sentence vectors, exactly the three heads of the paper.

    | vectors                 | head                                                              |
    |-------------------------|-------------------------------------------------------------------|
    | one (SST-2, CoLA)       | LayerNorm, Dropout 0.2, Linear; cross-entropy                     |
    | two (MRPC, MNLI)        | Linear on [s1; s2; abs(s1 - s2); s1 * s2]; cross-entropy          |
    | two, `num_classes=0`    | y = a cos(s1, s2) + b, two numbers; mean squared error (STS-B)    |

    AdamW without weight decay; the paper names neither optimiser nor batch size for its probes.
    Note that Spearman's rho does not depend on a and b as long as a > 0: the STS-B probe reports
    the encoder's cosine itself.

    Consecutive heads of one size are trained together, as many as `_STACK` holds; each learns what
    it would learn alone.

    Args:
        heads: `(train, validation)` of each head: `(s, labels)` or `(s1, s2, labels)`, vectors
            `[N, D]`, labels `[N]`. An iterator is read only as far as heads are trained together.
        metric: one of `METRICS`.
        num_classes: classes, or 0 for the similarity head.
        epochs, lr: paper, Table 2.
        selects: which epochs' scores are reported: the `"last"`; the one with the best score on a
            tenth of the training split, held out for this (`"inner"`); or, as in the paper's code,
            the best on the very split that is reported (`"reported"`), optimistic by construction.
            `"inner"` needs a training of its own, the other two share one.
        seed: initial weights, order, dropout, and the inner split; the same for every head.

    Yields:
        `{select: ProbeResult}` of each head, in their order.

    Raises:
        ValueError: labels and vectors of different length, labels outside 0 .. num_classes-1, one
            class only, NaN in the vectors, or an unknown option.
    """
    if unknown := set(selects) - set(SELECT):
        raise ValueError(f"select={unknown.pop()!r}: expected one of {', '.join(SELECT)}.")
    protocol = dict(metric=metric, num_classes=num_classes, epochs=epochs, lr=lr)
    protocol |= dict(batch_size=batch_size, dropout=dropout, seed=seed)
    for stack in _stacks(heads, num_classes):
        results: list[dict] = [{} for _ in stack]
        for inner in {select == "inner" for select in selects}:
            chosen = [select for select in selects if (select == "inner") == inner]
            for result, by_epoch in zip(results, _train(stack, inner, **protocol), strict=True):
                result.update({select: _pick(by_epoch, select) for select in chosen})
        yield from results


@dataclass(frozen=True)
class _Data:
    """What a head learns from: features `[N, F]` and labels `[N]` of both splits."""

    x: torch.Tensor
    y: torch.Tensor
    x_val: torch.Tensor
    y_val: torch.Tensor
    single: bool  # one text a sample, not two

    @property
    def size(self) -> tuple:
        return self.x.shape, self.x_val.shape, self.single


def _stacks(heads: Iterable[tuple[tuple, tuple]], num_classes: int) -> Iterator[list[_Data]]:
    """Lists of heads to train together; a list is emptied when the next is requested.

    Memory holds one list and the features of one more head.
    """
    stack: list[_Data] = []
    for splits in heads:
        (x, y), (x_val, y_val) = (_features(*s, similarity=num_classes == 0) for s in splits)
        _check_labels(y, y_val, num_classes)
        data = _Data(x, y, x_val, y_val, single=len(splits[0]) == 2)
        if stack and (data.size != stack[0].size or (len(stack) + 1) * x.nbytes > _STACK):
            yield stack
            stack.clear()
        stack.append(data)
    if stack:
        yield stack


def _train(
    stack: list[_Data],
    inner: bool,
    *,
    metric: str,
    num_classes: int,
    epochs: int,
    lr: float,
    batch_size: int,
    dropout: float,
    seed: int,
) -> Iterator[tuple[tuple[ProbeResult, float | None], ...]]:
    """For each head and epoch: its result, and its score on the held-out rows.

    With `inner`, a tenth of the training split is held out, else nothing (None).
    """
    order, y = torch_generator(seed, "probe"), torch.stack([data.y for data in stack])
    rows, x_val = torch.arange(y.shape[1]), torch.stack([data.x_val for data in stack])
    if inner:
        shuffled = torch.randperm(len(rows), generator=order)
        held_out, rows = shuffled.tensor_split([max(2, len(rows) // 10)])
        x_inner, y_inner = torch.stack([data.x[held_out] for data in stack]), y[:, held_out].numpy()
    head = _Heads(stack, num_classes, dropout=dropout, seed=seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=lr, weight_decay=0.0, fused=True)
    by_epoch = []
    with _one_thread():
        for _ in range(epochs):
            head.train()
            for batch in rows[torch.randperm(len(rows), generator=order)].split(batch_size):
                out, target = head(torch.stack([data.x[batch] for data in stack])), y[:, batch]
                if num_classes:
                    loss = F.cross_entropy(out, target, reduction="sum")
                else:
                    loss = F.mse_loss(out[:, 0], target, reduction="sum")
                optimizer.zero_grad()
                (loss / len(batch)).backward()  # each head gets the mean over its samples
                optimizer.step()
            head.eval()
            results, inner_scores = [], [None] * len(stack)
            for data, *answers in zip(stack, *_answers(head, x_val, num_classes), strict=True):
                value = score(data.y_val.numpy(), answers[0], metric)
                results.append(ProbeResult(value, metric, len(data.y_val), None, *answers))
            if inner:
                guesses, _ = _answers(head, x_inner, num_classes)
                pairs = zip(y_inner, guesses, strict=True)
                inner_scores = [score(labels, guess, metric) for labels, guess in pairs]
            by_epoch.append(list(zip(results, inner_scores, strict=True)))
    return zip(*by_epoch, strict=True)


def _pick(by_epoch: tuple[tuple[ProbeResult, float | None], ...], select: str) -> ProbeResult:
    """A head's result after the epoch that `select` chooses."""
    results, inner_scores = zip(*by_epoch, strict=True)
    scores = [result.score for result in results]
    values = {"last": range(len(scores)), "inner": inner_scores, "reported": scores}[select]
    epoch = int(np.argmax(values))  # the first of the best
    return replace(results[epoch], best_epoch_score=max(scores))


def semantic_probe(
    z, labels, *, kind: str = "classification", head: str = "linear", seed: int = 0
) -> ProbeResult:
    """The task's label from frozen vectors `[N, D]`, cross-validated (5 folds).

    | head     | protocol                                                                        |
    |----------|---------------------------------------------------------------------------------|
    | `linear` | logistic regression or ridge, the paper's                                       |
    | `knn`    | 10 nearest neighbours by cosine (all, where a fold has fewer), each with one    |
    |          | vote, or their mean; nothing is learned                                         |
    | `mlp`    | 64 ReLU units, 50 epochs of Adam (learning rate 1e-3, batches of 200, L2 1e-4)  |

    All use the same folds, and vectors standardised by the fold's training rows.

    Args:
        z: `[N, D]` embeddings. Equal ones score as if every answer were the most common label
            (rho: 0), except with `knn`, which sees some of the labels.
        labels: `[N]`.
        kind: `"classification"` (accuracy) or `"regression"` (Spearman's rho). For CoLA's MCC,
            score the out-of-fold `predictions`.
        head: one of `HEADS`.
        seed: shuffles the folds, and starts the MLP.

    Raises:
        ValueError: NaN, one label only, or too few samples for the folds.
    """
    metrics = {"classification": "accuracy", "regression": "spearman"}
    if kind not in metrics:
        raise ValueError(f"kind={kind!r}: expected one of {', '.join(metrics)}.")
    if head not in HEADS:
        raise ValueError(f"head={head!r}: expected one of {', '.join(HEADS)}.")
    return _cross_validate(z, labels, metrics[kind], folds=5, seed=seed, head=head)


def token_probe(z, tokens, *, seed: int = 0) -> ProbeResult:
    """The most frequent token of each text from its vector `z [N, D]`: is the embedding lexical?

    `tokens [N]` (from `frequent_tokens`) with fewer than five texts are left out; logistic
    regression, 3 folds, standardised inside each fold. Errors as in `semantic_probe`, or if fewer
    than two tokens have five texts.
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


def frequent_tokens(ids: list[list[int]], special: Collection[int] | None = None) -> np.ndarray:
    """`[N]` most frequent non-special token of each text (of a pair, of both together).

    Args:
        ids: `pooling.token_ids`, cut as the encoder sees them. Ties go to the token that comes
            first; a text without a token gets -1.
        special: ids that are not words. Default: the first and the last of each text.
    """
    bodies = ([i for i in text if i not in (special or (text[0], text[-1]))] for text in ids)
    return np.array([Counter(body).most_common(1)[0][0] if body else -1 for body in bodies])


def score(labels: np.ndarray, predictions: np.ndarray, metric: str) -> float:
    """Accuracy, F1 of class 1, Matthews' correlation, or Spearman's rho.

    If all labels or all predictions are equal, the two correlations are undefined (0 / 0): they are
    0 here, as scikit-learn's MCC is. F1 is 0 if class 1 appears in neither.
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
    """The training split's most common label (its mean for regression) for each of `labels`.

    If several are equally common, the one that scores best.
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
    """Each head's predictions and its confidence in them, both `[H, N]`."""
    out = head(x)
    if num_classes:
        confidence, predictions = out.softmax(dim=1).max(dim=1)
    else:
        predictions, confidence = out[:, 0], torch.ones(len(out), out.shape[2])
    return predictions.numpy(), confidence.numpy()


@contextlib.contextmanager
def _one_thread():
    """One thread: in steps of microseconds a second costs more than it gains on a busy CPU."""
    import threadpoolctl

    with _THREADS:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with threadpoolctl.threadpool_limits(1):
                yield
        finally:
            torch.set_num_threads(before)


def _cross_validate(
    z, labels, metric: str, *, folds: int, seed: int, head: str = "linear"
) -> ProbeResult:
    from joblib import parallel_config
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    z, labels = np.asarray(z, dtype=np.float64), np.asarray(labels)
    regression = metric == "spearman"
    _check_samples(z, labels, folds, regression)
    splitter = KFold if regression else StratifiedKFold
    splitter = splitter(folds, shuffle=True, random_state=read("seed", seed))
    splits = list(splitter.split(z, labels))
    rows = min(len(train) for train, _ in splits)
    model = make_pipeline(StandardScaler(), _head(head, regression, rows, seed))
    with warnings.catch_warnings(), _one_thread(), parallel_config(backend="threading"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of steps is the protocol
        predictions = cross_val_predict(model, z, labels, cv=splits, n_jobs=os.cpu_count())
    scores = [score(labels[test], predictions[test], metric) for _, test in splits]
    return ProbeResult(float(np.mean(scores)), metric, len(labels), predictions=predictions)


def _head(name: str, regression: bool, rows: int, seed: int):
    """One of `HEADS`, to be fitted to at least `rows` samples."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    if name == "knn":
        kind = KNeighborsRegressor if regression else KNeighborsClassifier
        return kind(min(NEIGHBOURS, rows), metric="cosine")
    if name == "mlp":
        kind = MLPRegressor if regression else MLPClassifier
        return kind(hidden_layer_sizes=(HIDDEN,), max_iter=HIDDEN_EPOCHS, random_state=seed)
    return Ridge() if regression else LogisticRegression(max_iter=500)


def _check_samples(z: np.ndarray, labels: np.ndarray, folds: int, regression: bool):
    """Every fold needs finite vectors and two labels to train on."""
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
        raise ValueError(f"{len(labels)} samples: too few for {folds} folds of at least two.")
    if not regression and (counts.max() < folds or np.sort(counts)[-2] < 2):
        sizes = ", ".join(f"{v}: {n}" for v, n in zip(values[:8], counts[:8], strict=True))
        raise ValueError(
            f"Samples by class ({sizes}): too few for {folds} folds, which need one class of "
            f"{folds} and a second of 2."
        )
