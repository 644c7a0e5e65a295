"""Five labelled tasks computed from the embedded text, in the manner of SentEval's probing tasks.

They have the shapes of the five GLUE tasks, so that everything runs without a download. They are
*not* those tasks: what each measures, and does not, is said in its function. Sentences come from
the corpus's own document split, and no sentence (up to case, digits and punctuation) occurs in
both splits, or twice in one.
"""

import functools
import itertools
import re
from dataclasses import dataclass

import numpy as np

from predrecon.data import embedded
from predrecon.data.docstrings import LIBRARIES, sentences
from predrecon.data.tasks import Split, Task
from predrecon.seeding import numpy_generator

_SIZES = {"train": 3000, "validation": 1000}
_NAMES = re.compile(
    r"\b(numpy|np|scipy|scikit|sklearn|pandas|pd|networkx|nx|sympy|torch|pytorch)\b", re.IGNORECASE
)


@dataclass(frozen=True)
class _Sentence:
    text: str
    library: str
    document: str
    paragraph: int

    @property
    def words(self) -> list[str]:
        return self.text.split()


def build(name: str) -> Task:
    """One of `tasks.EMBEDDED`; the same on every machine with the same library versions."""
    makers = {
        "docs-library": _library,
        "docs-swap": _swap,
        "docs-edit": _edit,
        "docs-relation": _relation,
        "docs-overlap": _overlap,
    }
    title, metric, classes, epochs = _ABOUT[name]
    splits = {
        split: makers[name](_sentences(split), _SIZES[split], numpy_generator(0, f"{name} {split}"))
        for split in _SIZES
    }
    note = "embedded task, labels computed from the text"
    return Task(name, title, metric, classes, epochs, **splits, note=note)


_ABOUT = {
    "docs-library": ("Docs-library", "accuracy", LIBRARIES, 90),
    "docs-swap": ("Docs-swap", "mcc", ("swapped", "intact"), 90),
    "docs-edit": ("Docs-edit", "f1", ("other sentence", "edited copy"), 10),
    "docs-relation": ("Docs-relation", "accuracy", ("next", "same file", "other library"), 15),
    "docs-overlap": ("Docs-overlap", "spearman", (), 15),
}


def _library(pool: list[_Sentence], size: int, rng: np.random.Generator) -> Split:
    """Which of seven libraries is the sentence from? Shape of SST-2; balanced; accuracy.

    Measures topic (graphs, algebra, statistics, ...), largely a matter of words. Sentences that
    name a library are left out. Says nothing about sentiment.
    """
    chosen = []
    for label, library in enumerate(LIBRARIES):
        own = [s.text for s in pool if s.library == library and not _NAMES.search(s.text)]
        picked = rng.permutation(len(own))[: size // len(LIBRARIES)]
        chosen += [(own[i], label) for i in picked]
    chosen = [chosen[i] for i in rng.permutation(len(chosen))]
    return Split([text for text, _ in chosen], None, np.array([label for _, label in chosen]))


def _swap(pool: list[_Sentence], size: int, rng: np.random.Generator) -> Split:
    """Are two neighbouring words swapped? Shape of CoLA; half and half; Matthews' correlation.

    Measures sensitivity to word order, as SentEval's bigram shift. First and last word stay, so
    capitals and full stops tell nothing. Says nothing about grammar beyond local order.
    """
    texts, labels = [], []
    for i in rng.permutation(len(pool)):
        words = pool[i].words
        places = [
            p
            for p in range(1, len(words) - 2)
            if words[p].isalpha() and words[p + 1].isalpha()
            and words[p].lower() != words[p + 1].lower()
        ]  # fmt: skip
        if not places:
            continue
        label = len(texts) % 2
        if label == 0:
            p = int(rng.choice(places))
            words[p], words[p + 1] = words[p + 1], words[p]
        texts.append(" ".join(words))
        labels.append(label)
        if len(texts) == size:
            break
    return Split(texts, None, np.array(labels))


def _edit(pool: list[_Sentence], size: int, rng: np.random.Generator) -> Split:
    """Is the second sentence an edited copy of the first? Shape of MRPC; half and half; F1.

    A copy loses about a fifth of its words and has two neighbours swapped. The other half pairs
    the sentence with an equally edited one of the same file and nearly the same length. Measures
    shared content words; no paraphrase in the linguist's sense is involved.
    """
    first, second, labels = [], [], []
    by_document = _group(pool, "document")
    for i in rng.permutation(len(pool)):
        own = pool[i]
        length = len(own.words)
        others = [
            s for s in by_document[own.document]
            if s is not own and abs(len(s.words) - length) <= 2
        ]  # fmt: skip
        if not others:
            continue
        label = len(first) % 2
        source = own if label else others[int(rng.integers(len(others)))]
        first.append(own.text)
        second.append(_edited(source.words, rng))
        labels.append(label)
        if len(first) == size:
            break
    return Split(first, second, np.array(labels))


def _relation(pool: list[_Sentence], size: int, rng: np.random.Generator) -> Split:
    """Next sentence, same file, or another library? Shape of MNLI; balanced; accuracy.

    Measures topical closeness at two distances, a matter of discourse. Says nothing about
    entailment.
    """
    following = {
        id(a): b
        for a, b in itertools.pairwise(pool)
        if (a.document, a.paragraph) == (b.document, b.paragraph)
    }
    later = list(following.values())  # seconds never open a paragraph: that would tell the label
    by_document = _group(later, "document")
    first, second, labels = [], [], []
    for i in rng.permutation(len(pool)):
        own = pool[i]
        if id(own) not in following:  # all firsts have a successor: the label is not in the first
            continue
        label = len(first) % 3
        if label == 0:
            others = [following[id(own)]]
        elif label == 1:
            others = [s for s in by_document.get(own.document, []) if s.paragraph != own.paragraph]
        else:
            others = [s for s in (later[j] for j in rng.integers(len(later), size=20))
                      if s.library != own.library]  # fmt: skip
        if not others:
            continue
        first.append(own.text)
        second.append(others[int(rng.integers(len(others)))].text)
        labels.append(label)
        if len(first) == size:
            break
    return Split(first, second, np.array(labels))


def _overlap(pool: list[_Sentence], size: int, rng: np.random.Generator) -> Split:
    """What share of the words is the same, from 0 to 5? Shape of STS-B; Spearman's rho.

    The second text keeps a random share of the first one's words in place and takes the others
    from another sentence, word for word, so both have the same length. Measures lexical overlap
    and nothing else.
    """
    first, second, labels = [], [], []
    for i in rng.permutation(len(pool)):
        words = pool[i].words
        filler = pool[int(rng.integers(len(pool)))].words
        kept = rng.permutation(len(words)) < rng.integers(len(words) + 1)
        mixed = [w if k else filler[p % len(filler)]
                 for p, (w, k) in enumerate(zip(words, kept, strict=True))]  # fmt: skip
        same = sum(a.lower() == b.lower() for a, b in zip(words, mixed, strict=True))
        first.append(pool[i].text)
        second.append(" ".join(mixed))
        labels.append(5.0 * same / len(words))
        if len(first) == size:
            break
    return Split(first, second, np.array(labels))


def _edited(words: list[str], rng: np.random.Generator) -> str:
    kept = [w for w in words if rng.random() >= 0.2] or words
    if len(kept) > 3:
        p = int(rng.integers(1, len(kept) - 2))
        kept[p], kept[p + 1] = kept[p + 1], kept[p]
    return " ".join(kept)


def _group(pool: list[_Sentence], field: str) -> dict[str, list[_Sentence]]:
    groups: dict[str, list[_Sentence]] = {}
    for sentence in pool:
        groups.setdefault(getattr(sentence, field), []).append(sentence)
    return groups


@functools.cache
def _sentences(split: str) -> list[_Sentence]:
    """Sentences of 7 to 30 words in document order, each once in the whole corpus."""
    found: dict[str, list[_Sentence]] = {name: [] for name in _SIZES}
    seen: set[str] = set()
    for document in embedded.documents():
        for number, paragraph in enumerate(document.paragraphs):
            for text in sentences(paragraph):
                key = re.sub(r"[^a-z]+", " ", text.lower()).strip()
                if 7 <= len(text.split()) <= 30 and text.endswith(".") and key not in seen:
                    seen.add(key)
                    place = document.library, document.name, number
                    found[document.split].append(_Sentence(text, *place))
    return found[split]
