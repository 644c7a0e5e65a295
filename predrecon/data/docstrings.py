"""Real English without a download: the docstrings of the scientific Python stack.

Every installation of this project already contains several million characters of carefully edited
English: the documentation of the libraries it depends on. This module reads those docstrings by
*parsing* the installed source files (nothing is imported, nothing is executed), keeps the
paragraphs that are prose, and drops duplicates.

A document is one source file. The split into train and validation is by document, so that no file
contributes to both.
"""

import ast
import hashlib
import importlib.metadata
import importlib.util
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from predrecon.data.progress import Progress

LIBRARIES = ("numpy", "scipy", "sklearn", "pandas", "networkx", "sympy", "torch")
"""Packages read, in the order that decides who keeps a paragraph that two of them share."""

VALIDATION_SHARE = 0.12

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
_SENTENCE_END = re.compile(r"(?<=[a-z0-9)\"'][.!?])\s+(?=[A-Z])")


@dataclass(frozen=True)
class Document:
    """The prose of one source file.

    Attributes:
        name: path inside site-packages, e.g. `scipy/stats/_entropy.py`.
        library: one of `LIBRARIES`.
        paragraphs: cleaned paragraphs, in file order, unique over the whole corpus.
    """

    name: str
    library: str
    paragraphs: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.paragraphs)

    @property
    def split(self) -> str:
        """`"validation"` for a fixed, hash-chosen share of the documents, else `"train"`."""
        digest = hashlib.sha256(self.name.encode()).digest()
        return "validation" if digest[0] < VALIDATION_SHARE * 256 else "train"


def fingerprint() -> str:
    """Digest of what the text depends on: the libraries' versions and this file's own source."""
    versions = [f"{name}=={importlib.metadata.version(_distribution(name))}" for name in LIBRARIES]
    source = Path(__file__).read_bytes()
    return hashlib.sha256("\n".join(versions).encode() + source).hexdigest()[:16]


def documents() -> list[Document]:
    """Read all libraries: about five thousand files, in a fixed order; 15 to 30 s on one core."""
    seen: set[str] = set()
    found = []
    files = [(library, root, path) for library in LIBRARIES for root, path in _files(library)]
    with Progress("reading docstrings", len(files), "files") as progress:
        for number, (library, root, path) in enumerate(files):
            progress.update(number)
            fresh = []
            for paragraph in _paragraphs(path):
                key = re.sub(r"[^a-z]+", " ", paragraph.lower()).strip()
                if key not in seen:
                    seen.add(key)
                    fresh.append(paragraph)
            if fresh:
                name = f"{library}/{path.relative_to(root).as_posix()}"
                found.append(Document(name, library, tuple(fresh)))
        progress.update(len(files))
    return found


def sentences(paragraph: str) -> list[str]:
    """Split a paragraph at sentence ends that a capital letter follows."""
    return _SENTENCE_END.split(paragraph)


def is_prose(text: str) -> bool:
    """True for a paragraph that reads as English: no code, no tables, enough function words."""
    words = text.split()
    if (
        not 6 <= len(words) <= 250
        or not text[0].isupper()
        or text[-1] not in ".!?:"
        or _NOT_PROSE.search(text)
    ):
        return False
    letters = sum(c.isalpha() or c.isspace() for c in text)
    capitals = sum(c.isupper() for c in text)
    function_words = sum(w.strip(".,:;()").lower() in _FUNCTION_WORDS for w in words)
    return (
        letters >= 0.9 * len(text)
        and capitals <= 0.2 * letters  # licences shout
        and function_words >= 0.22 * len(words)
    )


def _paragraphs(path: Path) -> Iterator[str]:
    for docstring in _docstrings(path):
        for block in re.split(r"\n\s*\n", docstring):
            for chunk in _same_indent(block.splitlines()):
                for pattern, replacement in _MARKUP:
                    chunk = pattern.sub(replacement, chunk)
                chunk = chunk.strip()
                if chunk and is_prose(chunk):
                    yield chunk


def _same_indent(lines: list[str]) -> Iterator[str]:
    """Runs of lines of one indentation: separates `name : type` from the description below it."""
    run: list[str] = []
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if run and indent != len(run[0]) - len(run[0].lstrip()):
            yield " ".join(part.strip() for part in run)
            run = []
        run.append(line)
    if run:
        yield " ".join(part.strip() for part in run)


def _docstrings(path: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in somebody else's source
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # templates and Python 2 leftovers: not ours to mend
        return
    pending: list[ast.AST] = [tree]
    while pending:  # statements only: `ast.walk` would spend its time in expressions
        node = pending.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield docstring
        for field in ("finalbody", "orelse", "handlers", "body"):
            pending.extend(reversed(getattr(node, field, ())))


def _files(library: str) -> list[tuple[Path, Path]]:
    """(package folder, source file) pairs, without tests and vendored copies."""
    root = _source_folder(library)
    paths = sorted(root.rglob("*.py"))
    return [(root, p) for p in paths if not _SKIPPED.intersection(p.relative_to(root).parts)]


def _source_folder(library: str) -> Path:
    spec = importlib.util.find_spec(library)  # locates a top-level package without importing it
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            f"The embedded corpus reads the docstrings of {', '.join(LIBRARIES)}, and {library!r} "
            "is not installed. Install the project with its dependencies (make demo does), or pass "
            "a corpus of your own."
        )
    return Path(spec.submodule_search_locations[0])


def _distribution(library: str) -> str:
    return {"sklearn": "scikit-learn"}.get(library, library)
