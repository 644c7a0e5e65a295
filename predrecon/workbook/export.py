"""A finished run as a folder for others: a plain ModernBERT, or the published model as it is.

A ModernBERT's folder opens with transformers (`AutoModel`, `AutoModelForMaskedLM`) and with
sentence-transformers, which finds its modules in the same folder: one folder, one copy of the
weights, one tokenizer. Neither needs this package.
"""

import importlib.metadata
import json
import shutil
import textwrap
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from predrecon.audit.encoders import Model
from predrecon.audit.geometry import SIX, measure_all
from predrecon.data import paths
from predrecon.data.corpus import load_tokenizer, save_tokenizer
from predrecon.data.documents import EMBEDDED_CORPUS, HUB_CORPORA
from predrecon.data.embedded_text import LIBRARIES
from predrecon.data.files import build_folder, sha256
from predrecon.data.readers import SourceError
from predrecon.data.tasks import Task, load_tasks
from predrecon.model import PredictReconstruct
from predrecon.modernbert import to_modernbert
from predrecon.training.heldout import learned
from predrecon.training.run_folder import Run, quiet_transformers
from predrecon.workbook import tables

NO_MODERNBERT = (
    "The architecture is the published one, which no model of transformers computes: sine-cosine "
    "positions added to the tokens, and pre-norm blocks, the first one with a norm too. So these "
    "are the run's own files: `import predrecon` first, then transformers opens them."
)
# read by sentence-transformers 2 to 6
_MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]
_OWN_FILES = ("config.json", "model.safetensors", "recipe.json", "metrics.json")


def find_run(name: str | Path) -> Run:
    """The finished run in a folder, or with that name in the folder of all runs.

    Raises:
        ValueError: no run there, or one that is not finished; says how to finish it.
    """
    places = [Path(name).expanduser(), paths.runs_dir() / name]
    run = next((Run(place) for place in places if (place / "recipe.json").is_file()), None)
    if run is None:
        raise ValueError(f"{name}: no run (no recipe.json) here or in {paths.runs_dir()}.")
    if not run.finished:
        raise ValueError(
            f"{run.folder}: this run is not finished. Run the pretrain command that began it: it "
            "resumes at the last checkpoint. Then export."
        )
    return run


def export(run: Run, folder: str | Path, *, tasks: list[Task] | None = None) -> Path:
    """Write a finished run's model, tokenizer and model card into a new or empty folder.

    Args:
        run: from `find_run`.
        folder: the target; complete or absent, whatever happens.
        tasks: what the card's geometry is measured on, under mean pooling; an empty list: none.
            Default: the tasks of the run's text, or the embedded ones if those are not here.

    Raises:
        FileExistsError: the folder exists and is not empty.
    """
    folder = Path(folder).expanduser().resolve()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists and is not empty. Name another folder.")
    tasks = tasks_of(run) if tasks is None else tasks
    model, tokenizer = run.model(), load_tokenizer(run.folder)
    text = card(run, model, tokenizer, tasks, folder.name)

    def write(part: Path):
        length = model.config.max_position_embeddings
        save_tokenizer(tokenizer, part, length)
        if model.config.architecture == "modern":
            with quiet_transformers():
                to_modernbert(model, tokenizer).save_pretrained(part)
            _add_modules(part, model.config.hidden_size, length)
        else:
            for name in _OWN_FILES:
                shutil.copyfile(run.folder / name, part / name)
        (part / "README.md").write_text(text, encoding="utf-8")

    build_folder(folder, write)
    return folder


def tasks_of(run: Run) -> list[Task]:
    """The labelled tasks that belong to the run's text, or else the embedded ones."""
    try:
        return load_tasks("auto", corpus=run.recipe.corpus)
    except SourceError:
        return load_tasks("embedded")


def _add_modules(part: Path, dim: int, length: int):
    """What sentence-transformers needs besides the model: transformer, then mean over tokens."""
    (part / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": dim, "pooling_mode_mean_tokens": True}
    pooling |= dict.fromkeys(("pooling_mode_cls_token", "pooling_mode_max_tokens"), False)
    contents = {
        "modules.json": _MODULES,
        "sentence_bert_config.json": {"max_seq_length": length, "do_lower_case": False},
        "1_Pooling/config.json": pooling,
    }
    for name, content in contents.items():
        (part / name).write_text(json.dumps(content, indent=1), encoding="utf-8")


def card(run: Run, model: PredictReconstruct, tokenizer, tasks: list[Task], name: str) -> str:
    """The model card (Markdown): what it is, what it cost and knows, and what it is not for."""
    config, recipe, metrics = model.config, run.recipe, run.metrics
    modern, hybrid = config.architecture == "modern", recipe.arm == "hybrid"
    model_of = Model(name, model.encoder, tokenizer, run.facts["seed"])
    parts = [_front_matter(modern), f"# {name}", ""]
    parts += [
        f"A text encoder of width {config.hidden_size} with {config.num_hidden_layers} layers and "
        f"{config.num_attention_heads} heads, for texts of at most "
        f"{config.max_position_embeddings} tokens, pre-trained by predrecon with "
        + ("a JEPA and a masked-language-modelling (MLM) loss" if hybrid else "the MLM loss alone")
        + f". It has {config.vocab_size:,} tokens. "
        + f"SHA-256 of the run's weights: `{sha256(run.folder / 'model.safetensors')}`.",
        "",
    ]
    if modern:
        kept = "It is a plain ModernBERT: this encoder and its MLM head."
        if hybrid:
            kept += (
                " It leaves out the predictor, the target encoder and the balance of the two "
                "losses, which only training needs."
            )
        parts += [kept, "", _OPEN_MODERN]
    else:
        parts += [NO_MODERNBERT, "", _OPEN_PUBLISHED]
    facts = {k: Path(v).name if k in ("corpus", "tokenizer", "init") and v and _own(v) else v
             for k, v in asdict(recipe).items()}  # fmt: skip
    fields = ", ".join(f"{name}={value}" for name, value in facts.items())
    about = f"Seed {run.facts['seed']}. Fingerprint of text and tokenizer: {run.facts['corpus']}."
    parts += ["## Recipe", "", about, "", "```", textwrap.fill(fields, 90), "```", ""]
    parts += ["## Text", "", _text_license(recipe.corpus), ""]
    if recipe.tokenizer not in ("auto", EMBEDDED_CORPUS):
        parts += [f"Tokenizer: {facts['tokenizer']}.", ""]
    parts += [
        "## Budget and held-out loss",
        "",
        f"- {metrics['steps']:,} steps, {metrics['tokens']:,} tokens, {metrics['seconds']:,.0f} s "
        f"on {metrics['device']}, {metrics['flops']:.3g} floating-point operations.",
        f"- Held-out MLM loss {metrics['validation_mlm']:.3f} nats over "
        f"{metrics['validation_masked_tokens']:,} masked tokens (15 %); word frequencies alone "
        f"reach {metrics['validation_unigram']:.3f}.",
        f"- {learned(metrics)}",
    ]
    if metrics["validation_jepa"] is not None:
        parts.append(f"- Held-out JEPA loss {metrics['validation_jepa']:.4f}.")
    parts += ["", "## Geometry", "", _geometry(model_of, tasks), ""]
    parts += ["## What it is not good for", "", *_limits(recipe, config, metrics), ""]
    return "\n".join(parts)


def _front_matter(modern: bool) -> str:
    lines = ["---", "language: en", "library_name: sentence-transformers", "tags:"]
    tags = ["modernbert", "sentence-transformers", "feature-extraction", "fill-mask"]
    if not modern:
        lines[2], tags = "library_name: predrecon", ["feature-extraction"]
    return "\n".join([*lines, *(f"- {tag}" for tag in tags), "---", ""])


_OPEN_MODERN = """```python
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer
from sentence_transformers import SentenceTransformer

tokenizer = AutoTokenizer.from_pretrained(folder)
encoder = AutoModel.from_pretrained(folder)  # hidden states
masked = AutoModelForMaskedLM.from_pretrained(folder)  # logits
vectors = SentenceTransformer(folder).encode(["A text."])  # the mean over tokens
```

`AutoModel` reports `head` and `decoder` as unexpected: they are the MLM head, which it leaves out.
"""

_OPEN_PUBLISHED = """```python
import predrecon  # registers the architecture
from transformers import AutoModel, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(folder)
encoder = AutoModel.from_pretrained(folder)  # hidden states
model = predrecon.PredictReconstruct.from_pretrained(folder)  # all that was trained
```
"""


def _own(name: str) -> bool:
    """Whether a name in a recipe is a path, whose folders stay private."""
    return name.startswith(("/", "~", ".")) or Path(name).exists()


def _text_license(corpus: str) -> str:
    if corpus == EMBEDDED_CORPUS:
        lines = [
            f"- {name} {importlib.metadata.version(name)}: {_license(name)}"
            for name in LIBRARIES.values()
        ]
        about = "Docstrings of seven Python libraries, under their licences as "
        return "\n".join([about + "installed when this card was written:", "", *lines])
    if corpus in HUB_CORPORA:
        return (
            f"{corpus} ({HUB_CORPORA[corpus][0]} on the Hugging Face hub): text of Wikipedia's "
            "authors, under CC BY-SA (wikitext-103: 3.0; the dumps of 2023: 4.0) and the GFDL."
        )
    return f"Own text (`{Path(corpus).name}`). Its license is unknown to predrecon: add it here."


def _license(distribution: str) -> str:
    """The license in a distribution's metadata."""
    metadata = importlib.metadata.metadata(distribution)
    classifiers = metadata.get_all("Classifier") or []
    named = [c.rpartition(" :: ")[2] for c in classifiers if c.startswith("License :: OSI")]
    return metadata.get("License-Expression") or ", ".join(named) or "see its distribution"


def _geometry(model: Model, tasks: list[Task]) -> str:
    if not tasks:
        return "Not measured (`--no-geometry`)."
    table = measure_all([model], tasks, poolings=("mean",)).table
    table = table[table["metric"].isin(SIX)]
    sizes = table.groupby("title", sort=False)["n"].max()
    table = table.assign(title=[f"{title} (N = {sizes[title]:,})" for title in table["title"]])
    wide = tables.pivot_cells(table, ["title"], ["metric"], tables.interval_cells(table))
    wide = wide[list(SIX)].rename(columns=lambda name: name.replace("_", " "))
    notes = "; ".join(dict.fromkeys(filter(None, table["note"])))
    return (
        f"{_markdown(wide)}\n\nMean pooling, {model.max_length} tokens of a text at most, first N "
        "texts of the validation split; 95 % intervals over texts of one run, not over seeds."
        + (f" Tasks: {notes}." if notes else "")
    )


def _markdown(wide: pd.DataFrame) -> str:
    head = ["task", *wide.columns]
    rows = [[title, *cells] for title, cells in zip(wide.index, wide.to_numpy(), strict=True)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _limits(recipe, config, metrics) -> list[str]:
    domain = "Python documentation" if recipe.corpus == EMBEDDED_CORPUS else "its own text"
    return [
        f"- Text unlike {domain}: it has seen {metrics['tokens'] / 1e6:.3g} M tokens of that"
        + (
            ", and the training text of its initial weights."
            if recipe.init
            else " and nothing else."
        ),
        f"- Texts longer than {config.max_position_embeddings} tokens: they are cut.",
        "- Similarity or search out of the box: it was never trained on sentence pairs, so cosines "
        "are not calibrated. Fine-tune it first, and compare with an encoder made for this.",
        "- Conclusions about training objectives: this is one run of one seed.",
        "- Generating text, and any decision about people: it was evaluated for neither.",
    ]
