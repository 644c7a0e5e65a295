"""The opening of every notebook: one call gives everything that its cells use."""

from dataclasses import replace
from functools import cached_property

import pandas as pd
import torch

from predrecon import recipes
from predrecon.audit.encoders import Model, models
from predrecon.audit.geometry import GEOMETRY_SAMPLES, SIX, Geometry, measure_all
from predrecon.audit.seeds import headline
from predrecon.data.corpus import Corpus, load_corpus
from predrecon.data.readers import SourceError
from predrecon.data.tasks import Task, load_task, load_tasks, task_names
from predrecon.training.batches import draw_batch
from predrecon.training.loop import ensure, ensure_arms, every_seed
from predrecon.training.run_folder import Run, finished_runs
from predrecon.workbook import labels
from predrecon.workbook.figures import Gallery
from predrecon.workbook.widgets import LiveCurves


class Notebook:
    """Everything that the cells of a notebook use, loaded or trained on first use.

    The parameters of a notebook are names and numbers, so that papermill can set them. The things
    they name are attributes: `corpus` is "wikipedia", `book.corpus` its text.

    Args:
        preset, corpus, tokenizer, max_steps: of `recipe`, as in `recipes.get`.
        arms: objectives to compare.
        seed: of the runs that are trained if missing.
        tasks: as in `data.tasks.task_names`.
        data_dir: local copies of the real data; None: the variable PREDRECON_DATA.
        overrides: other fields of the recipe.
        max_samples: maximum number of texts of a validation split.
        max_train: maximum number of training texts of a probe; None: all.
        every_seed: compare every seed that is on disk, not only `seed`.

    Raises:
        ValueError: an unknown preset, arm, task or field, or a bad value.
    """

    def __init__(
        self,
        preset: str = "auto",
        *,
        corpus: str = "auto",
        tokenizer: str = "auto",
        max_steps: int | None = None,
        arms: str | list[str] = "hybrid,mlm",
        seed: int = 0,
        tasks: str | list[str] = "auto",
        data_dir: str | None = None,
        overrides: dict | None = None,
        max_samples: int = GEOMETRY_SAMPLES,
        max_train: int | None = None,
        every_seed: bool = False,
    ):
        fields = {"corpus": corpus, "tokenizer": tokenizer, "max_steps": max_steps}
        overrides = {} if overrides is None else overrides
        if not isinstance(overrides, dict) or {*map(type, overrides)} - {str}:
            raise ValueError(
                f"overrides={overrides!r:.80}: expected fields and their values, in Python "
                "{'lr': 1e-4}, for papermill -y 'overrides: {lr: 1e-4}'."
            )
        self.recipe = recipes.get(preset, **fields | overrides)
        self.arms, self.seed = recipes.arms(arms), recipes.read("seed", seed)
        self.every_seed = recipes.read("every_seed", every_seed)
        self.max_samples = recipes.read("max_samples", max_samples)
        self.max_train = recipes.read("max_train", max_train)
        task_names(tasks, self.recipe.corpus)  # an unknown one fails now, not after training
        self.task_names, self.data_dir = tasks, recipes.read("data_dir", data_dir or None)

    @cached_property
    def corpus(self) -> Corpus:
        """The text, tokenised."""
        recipe = self.recipe
        return load_corpus(recipe.corpus, tokenizer=recipe.tokenizer, data_dir=self.data_dir)

    @cached_property
    def tasks(self) -> list[Task]:
        """The labelled tasks."""
        return load_tasks(self.task_names, corpus=self.recipe.corpus, data_dir=self.data_dir)

    @cached_property
    def first_task(self) -> Task | None:
        """The first of `tasks`; None, and a printed reason, if "auto" finds no labels."""
        if "tasks" in vars(self):
            return self.tasks[0]
        try:
            return load_task(task_names(self.task_names, self.recipe.corpus)[0], self.data_dir)
        except SourceError as missing:
            if self.task_names != "auto":
                raise
            print(str(missing).splitlines()[0])

    @cached_property
    def batch(self) -> dict[str, torch.Tensor]:
        """The first training batch of `seed`, masked for both objectives."""
        blocks = self.corpus.blocks("train", self.recipe.length)
        return draw_batch(self.recipe, self.corpus, blocks, self.seed, step=0)

    def train(self, arm: str):
        """Open, resume or train the run of `arm`, with curves that grow in the cell.

        Finished arms are drawn too. Does nothing if `arm` is not one of `arms`.
        """
        if arm in self.arms:
            finished = [run for runs in self.finished_runs.values() for run in runs]
            others = {r.recipe.arm: r.history for r in finished if r.facts["seed"] == self.seed}
            recipe, curves = replace(self.recipe, arm=arm), LiveCurves(arm, others)
            ensure(recipe, self.corpus, seed=self.seed, on_log=curves)

    @cached_property
    def runs(self) -> dict[str, Run]:
        """`{arm: run}` of `seed`: opened, resumed or trained."""
        return ensure_arms(self.recipe, self.arms, self.corpus, seed=self.seed)

    @property
    def finished_runs(self) -> dict[str, list[Run]]:
        """`{arm: runs}` of every seed that is on disk; nothing is trained."""
        by_arm = {arm: replace(self.recipe, arm=arm) for arm in self.arms}
        return {arm: finished_runs(recipe, self.corpus) for arm, recipe in by_arm.items()}

    @property
    def by_architecture(self) -> dict[str, dict[str, list[Run]]]:
        """`finished_runs` of the published twin, then of the recipe."""
        twin = recipes.published_twin(self.recipe)
        if twin is None:
            return {"as published": self.finished_runs}
        by_arm = {arm: replace(twin, arm=arm) for arm in self.arms}
        published = {arm: finished_runs(recipe, self.corpus) for arm, recipe in by_arm.items()}
        return {"as published": published, self.recipe.architecture: self.finished_runs}

    @cached_property
    def all_runs(self) -> dict[str, list[Run]]:
        """`{arm: runs}` to compare: those of `seed`; with `every_seed` also all others on disk."""
        if self.every_seed:
            return every_seed(self.recipe, self.arms, self.corpus, seed=self.seed)
        return {arm: [run] for arm, run in self.runs.items()}

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds of `all_runs`."""
        if not self.every_seed:
            return [self.seed]
        return sorted({run.facts["seed"] for runs in self.all_runs.values() for run in runs})

    @cached_property
    def models(self) -> list[Model]:
        """The encoders of `all_runs`, and each seed's untrained one; `seed` comes first."""
        every = models(self.all_runs, self.corpus.tokenizer, untrained=True)
        return sorted(every, key=lambda model: model.seed != self.seed)

    @property
    def encoders(self) -> list[Model]:
        """`models` without the untrained ones."""
        return [model for model in self.models if model.name != "untrained"]

    @cached_property
    def geometry(self) -> Geometry:
        """Every metric of `encoders` on `tasks` under every pooling: measured once, then cached."""
        options = {"max_samples": self.max_samples, "seed": self.seed}
        return measure_all(self.encoders, self.tasks, **options)

    @cached_property
    def gaps(self) -> pd.DataFrame | None:
        """`seeds.headline`, hybrid minus MLM-only; with one arm None, and a printed line."""
        if len(self.arms) < 2:
            print("One arm only: nothing to compare.")
            return None
        metrics = (*SIX, "semantic_probe", "token_probe")
        return headline(self.geometry, metrics=metrics)

    @cached_property
    def gallery(self) -> Gallery:
        """Shows figures with the cost of their numbers, and exports them."""
        return Gallery(labels.tag(self.recipe, self.seed), self.caption(*self.seeds))

    def caption(self, *seeds: int) -> str:
        """What the numbers of these seeds cost, for the line under a figure's title."""
        return labels.caption(self.recipe, *seeds)
