"""Real English without a download: the docstrings of the scientific Python stack.

Every installation of this project already holds several million characters of carefully edited
English: the documentation of the libraries it depends on. This module *parses* the installed source
files (nothing is executed), keeps the paragraphs that are prose, drops duplicates, and trains a
WordPiece tokenizer on the result. Text and tokenizer are cached. A document is one source file; the
split into train and validation is by document.
"""

import ast
import hashlib
import importlib.metadata
import importlib.util
import itertools
import json
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from predrecon.data import paths
from predrecon.data.files import build_folder
from predrecon.data.progress import Progress

LIBRARIES = {
    "numpy": "numpy", "scipy": "scipy", "sklearn": "scikit-learn", "pandas": "pandas",
    "networkx": "networkx", "sympy": "sympy", "torch": "torch",
}  # fmt: skip
"""Packages read (import name: distribution). If two share a paragraph, the first one keeps it."""

FORMAT = 1
"""Part of the fingerprint, and so of the name of every corpus and run made from this text.

Increase it with any change that gives other documents, splits or tokens from the same source files:
what is read, what counts as prose, how it is cleaned or divided, how the tokenizer is trained. Keep
it for all else (comments, names, speed). `tests/test_corpus.py` pins the output of each number.
"""

VALIDATION_SHARE = 0.12
VOCABULARY = 8192

_SKIPPED = {"tests", "test", "testing", "_vendor", "vendor", "externals", "include"}
_FUNCTION_WORDS = frozenset(
    "a an the of to in is are be was were for and or not with on by as at from that this these it "
    "its if then when which can may will should must has have you we one no all any each into than "
    "used only same other such more".split()
)
_MARKUP = (
    (re.compile(r":[a-z:]+:`~?([^`<]+)(?:<[^`]*>)?`"), r"\1"),  # :func:`name`
    (re.compile(r"`([^`<]+?)\s*<[^`]*>`_*"), r"\1"),  # `text <target>`_
    (re.compile(r"``([^`]*)``"), r"\1"),
    (re.compile(r"`([^`]*)`_*"), r"\1"),
    (re.compile(r"\*{1,2}(\w[^*]*\w|\w)\*{1,2}"), r"\1"),
    (re.compile(r"\s*\[\d+\]_"), ""),  # footnote marks
    (re.compile(r"::$"), ":"),
    (re.compile(r"\s+"), " "),
)
_NOT_PROSE = re.compile(
    r">>>|\.\. |https?:|[=<>{}|\\^~#@$]|--|__|\.\.\.|\w\(\)?\w*,? ?\w*\)\.|:math|deprecated"
)
_SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True)
class Document:
    """The prose of one source file."""

    name: str  # path inside site-packages, e.g. `scipy/stats/_entropy.py`
    library: str  # one of `LIBRARIES`
    paragraphs: tuple[str, ...]  # cleaned, in file order, unique over the whole corpus

    @property
    def text(self) -> str:
        return "\n".join(self.paragraphs)

    @property
    def split(self) -> str:
        """`"validation"` for a fixed, hash-chosen share of the documents, else `"train"`."""
        digest = hashlib.sha256(self.name.encode()).digest()
        return "validation" if digest[0] < VALIDATION_SHARE * 256 else "train"


def fingerprint() -> str:
    """Digest of what the text and its tokenizer depend on: library versions and `FORMAT`."""
    names = LIBRARIES.values()
    try:
        versions = [f"{name}=={importlib.metadata.version(name)}" for name in names]
    except importlib.metadata.PackageNotFoundError as error:
        raise ModuleNotFoundError(
            f"The embedded corpus reads the docstrings of {', '.join(names)}, and {error.name!r} "
            "is not installed. Install the project with its dependencies (make demo does), or pass "
            "a corpus of your own."
        ) from None
    return hashlib.sha256("\n".join([f"format {FORMAT}", *versions]).encode()).hexdigest()[:16]


def documents() -> list[Document]:
    """The embedded text, read from the installed packages once and then from the cache."""
    file = paths.cache_dir() / f"docstrings-{fingerprint()}" / "documents.jsonl"

    def write(part: Path):  # `find_spec` locates a package without importing it
        specs = {library: importlib.util.find_spec(library) for library in LIBRARIES}
        folders = {k: Path(spec.submodule_search_locations[0]) for k, spec in specs.items()}
        lines = (json.dumps([d.name, d.library, d.paragraphs]) + "\n" for d in extract(folders))
        (part / file.name).write_text("".join(lines), encoding="utf-8")

    if not file.is_file():
        paths.cache_dir(write=True)
        build_folder(file.parent, write)
    rows = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return [Document(name, library, tuple(paragraphs)) for name, library, paragraphs in rows]


def tokenizer_folder() -> Path:
    """Folder of the embedded text's WordPiece tokenizer (lower-cased, as bert-base-uncased)."""
    folder = paths.cache_dir() / f"tokenizer-{fingerprint()}-{VOCABULARY}"

    def write(part: Path):
        train_tokenizer([d.text for d in documents() if d.split == "train"]).save_pretrained(part)

    if not (folder / "tokenizer.json").is_file():
        paths.cache_dir(write=True)
        build_folder(folder, write)
    return folder


def train_tokenizer(texts: list[str]):
    """A transformers WordPiece tokenizer of at most `VOCABULARY` tokens, a function of the texts.

    The trainer numbers "##c" pieces in hash order and breaks ties by number, so two runs would
    differ. Listing all of them first, sorted, fixes the order.
    """
    from tokenizers import BertWordPieceTokenizer
    from transformers import PreTrainedTokenizerFast

    letters = sorted(set("".join(texts).lower()) - {" ", "\n"})
    trainer = BertWordPieceTokenizer(lowercase=True)
    trainer.train_from_iterator(
        texts,
        vocab_size=VOCABULARY,
        special_tokens=[*_SPECIAL_TOKENS, *letters, *(f"##{c}" for c in letters)],
        show_progress=False,
    )
    tokenizer = BertWordPieceTokenizer(vocab=trainer.get_vocab(), lowercase=True)
    roles = {f"{token[1:-1].lower()}_token": token for token in _SPECIAL_TOKENS}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer._tokenizer, **roles)


def extract(folders: dict[str, Path]) -> list[Document]:
    """Read the source files of `{library: its folder}` in a fixed order.

    All of `LIBRARIES` have about five thousand files, 15 to 30 s on one core.
    """
    sources = [
        (library, path.relative_to(folder), path)
        for library, folder in folders.items()
        for path in sorted(folder.rglob("*.py"))
        if not _SKIPPED.intersection(path.relative_to(folder).parts)
    ]
    seen, extracted = set(), []
    with Progress("reading docstrings", len(sources), "files") as progress:
        for number, (library, place, path) in enumerate(sources, start=1):
            if paragraphs := tuple(unseen(_paragraphs(path), seen)):
                extracted.append(Document(f"{library}/{place.as_posix()}", library, paragraphs))
            progress.update(number)
    return extracted


def unseen(texts: Iterable[str], seen: set[str]) -> Iterator[str]:
    """Texts that are new up to case, digits and punctuation; `seen` remembers them."""
    for text in texts:
        key = re.sub(r"[^a-z]+", " ", text.lower()).strip()
        if key not in seen:
            seen.add(key)
            yield text


def is_prose(text: str) -> bool:
    """True for a paragraph that reads as English: no code, no tables, enough function words."""
    words = text.split()
    return (
        6 <= len(words) <= 250
        and text[0].isupper()
        and text[-1] in ".!?:"
        and not _NOT_PROSE.search(text)
        and (letters := sum(c.isalpha() or c.isspace() for c in text)) >= 0.9 * len(text)
        and sum(c.isupper() for c in text) <= 0.2 * letters  # licences are in capitals
        and sum(w.strip(".,:;()").lower() in _FUNCTION_WORDS for w in words) >= 0.22 * len(words)
    )


def _paragraphs(path: Path) -> Iterator[str]:
    def indentation(line: str) -> int:
        return len(line) - len(line.lstrip())

    for docstring in _docstrings(path):
        for block in re.split(r"\n\s*\n", docstring):
            # group lines by indentation: separates `name : type` from the description below it
            for _, lines in itertools.groupby(block.splitlines(), key=indentation):
                paragraph = " ".join(map(str.strip, lines))
                for pattern, replacement in _MARKUP:
                    paragraph = pattern.sub(replacement, paragraph)
                if is_prose(paragraph := paragraph.strip()):
                    yield paragraph


def _docstrings(path: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in somebody else's source
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # templates and Python 2 leftovers are skipped
        return
    pending: list[ast.AST] = [tree]
    while pending:  # statements only: `ast.walk` would spend its time in expressions
        node = pending.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
        for field in ("finalbody", "orelse", "handlers", "body"):
            pending.extend(reversed(getattr(node, field, ())))
