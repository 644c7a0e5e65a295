"""Five labelled tasks computed from the embedded text, in the manner of SentEval's probing tasks.

They have the shapes of the five GLUE tasks, so that everything runs without a download. They are
*not* those tasks: each function says what its task measures, and what it does not. Sentences come
from the corpus's own document split, and no sentence (up to case, digits and punctuation) occurs
in both splits, or twice in one.
"""

import functools
import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from predrecon.data import embedded_text
from predrecon.data.embedded_text import LIBRARIES
from predrecon.seeding import numpy_generator

_SIZES = {"train": 3000, "validation": 1000}
_NAMES = re.compile(
    r"\b(numpy|np|scipy|scikit|sklearn|pandas|pd|networkx|nx|sympy|torch|pytorch)\b", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"(?<=[a-z0-9)\"'][.!?])\s+(?=[A-Z])")


@dataclass(frozen=True)
class Sentence:
    """A sentence and its place; `paragraph` counts within the document."""

    text: str
    library: str
    document: str
    paragraph: int

    @property
    def words(self) -> list[str]:
        return self.text.split()


Example = tuple[str, str | None, float]  # text, second text of a pair, label


def build_split(name: str, split: str, make: Callable) -> tuple[list, list | None, np.ndarray]:
    """Texts, second texts (None for single sentences) and labels `[N]` of an embedded task.

    The same on every machine with the same library versions. `make`, one of the functions below,
    yields as many examples as there are; the first `size` are taken.
    """
    size = _SIZES[split]
    examples = make(sentences(split), size, numpy_generator(0, f"{name} {split}"))
    first, second, labels = map(list, zip(*itertools.islice(examples, size), strict=True))
    return first, None if second[0] is None else second, np.array(labels)


@functools.cache
def sentences(split: str) -> list[Sentence]:
    """Sentences of 7 to 30 words in document order, each once in the whole corpus."""
    used, chosen = set(), []
    for document in embedded_text.documents():
        for number, paragraph in enumerate(document.paragraphs):
            parts = _SENTENCE_END.split(paragraph)
            texts = (t for t in parts if 7 <= len(t.split()) <= 30 and t.endswith("."))
            for text in embedded_text.unseen(texts, used):
                if document.split == split:
                    chosen.append(Sentence(text, document.library, document.name, number))
    return chosen


def library(pool: list[Sentence], size: int, rng: np.random.Generator) -> Iterator[Example]:
    """Which of seven libraries is the sentence from? Shape of SST-2; balanced; accuracy.

    Measures topic (graphs, algebra, statistics, ...), mostly a matter of words. Sentences that
    name a library are left out. Says nothing about sentiment.
    """
    examples = []
    for label, library in enumerate(LIBRARIES):
        own = [s.text for s in pool if s.library == library and not _NAMES.search(s.text)]
        picked = rng.permutation(len(own))[: size // len(LIBRARIES)]
        examples += [(own[i], None, label) for i in picked]
    return (examples[i] for i in rng.permutation(len(examples)))


def swap(pool: list[Sentence], size: int, rng: np.random.Generator) -> Iterator[Example]:
    """Are two neighbouring words swapped? Shape of CoLA; half and half; Matthews' correlation.

    Measures sensitivity to word order, as SentEval's bigram shift. First and last word stay, so
    capitals and full stops reveal nothing. Says nothing about grammar beyond local order.
    """
    label = 0
    for sentence in _shuffled(pool, rng):
        words = sentence.words
        neighbours = enumerate(itertools.pairwise(words[1:-1]), start=1)
        places = [
            p for p, (a, b) in neighbours
            if a.isalpha() and b.isalpha() and a.lower() != b.lower()
        ]  # fmt: skip
        if places:
            if label == 0:
                _swap_words(words, int(rng.choice(places)))
            yield " ".join(words), None, label
            label = 1 - label


def edit(pool: list[Sentence], size: int, rng: np.random.Generator) -> Iterator[Example]:
    """Is the second sentence an edited copy of the first? Shape of MRPC; half and half; F1.

    A copy loses about a fifth of its words and has two neighbours swapped. The other half pairs
    the sentence with an equally edited one of the same file and nearly the same length. Measures
    shared content words; there are no paraphrases in the linguistic sense.
    """
    by_document, label = _by_document(pool), 0
    for sentence in _shuffled(pool, rng):
        others = [
            s for s in by_document[sentence.document]
            if s is not sentence and abs(len(s.words) - len(sentence.words)) <= 2
        ]  # fmt: skip
        if others:
            source = sentence if label else others[int(rng.integers(len(others)))]
            words = [w for w in source.words if rng.random() >= 0.2] or source.words
            if len(words) > 3:
                _swap_words(words, int(rng.integers(1, len(words) - 2)))
            yield sentence.text, " ".join(words), label
            label = 1 - label


def relation(pool: list[Sentence], size: int, rng: np.random.Generator) -> Iterator[Example]:
    """Next sentence, same file, or another library? Shape of MNLI; balanced; accuracy.

    Measures topical closeness at two distances, a matter of discourse. Says nothing about
    entailment.
    """
    pairs = itertools.pairwise(pool)
    following = {a: b for a, b in pairs if (a.document, a.paragraph) == (b.document, b.paragraph)}
    later = list(following.values())  # none opens a paragraph: that would reveal the label
    by_document, label = _by_document(later), 0
    for sentence in _shuffled(pool, rng):
        if sentence not in following:  # every first text has a successor and hides the label
            continue
        others = [following[sentence]]
        if label == 1:
            same_file = by_document[sentence.document]
            others = [s for s in same_file if s.paragraph != sentence.paragraph]
        elif label == 2:
            picks = [later[i] for i in rng.integers(len(later), size=20)]
            others = [s for s in picks if s.library != sentence.library]
        if others:
            yield sentence.text, others[int(rng.integers(len(others)))].text, label
            label = (label + 1) % 3


def overlap(pool: list[Sentence], size: int, rng: np.random.Generator) -> Iterator[Example]:
    """What share of the words is the same, from 0 to 5? Shape of STS-B; Spearman's rho.

    The second text keeps a random share of the first one's words in place and takes the others
    from another sentence, word for word, so both have the same length. Measures lexical overlap
    and nothing else.
    """
    for sentence in _shuffled(pool, rng):
        words = sentence.words
        filler = pool[int(rng.integers(len(pool)))].words
        stays = rng.permutation(len(words)) < rng.integers(len(words) + 1)
        places = zip(words, stays, itertools.cycle(filler), strict=False)
        mixed = [word if stay else other for word, stay, other in places]
        same = sum(a.lower() == b.lower() for a, b in zip(words, mixed, strict=True))
        yield sentence.text, " ".join(mixed), 5.0 * same / len(words)


def _shuffled(pool: list[Sentence], rng: np.random.Generator) -> Iterator[Sentence]:
    return (pool[i] for i in rng.permutation(len(pool)))


def _by_document(pool: list[Sentence]) -> dict[str, list[Sentence]]:
    documents = defaultdict(list)
    for sentence in pool:
        documents[sentence.document].append(sentence)
    return documents


def _swap_words(words: list[str], p: int):
    words[p], words[p + 1] = words[p + 1], words[p]
