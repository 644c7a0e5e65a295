import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression

from predrecon.data import embedded_tasks, tasks
from predrecon.data.readers import SourceError
from predrecon.probes import majority, score


@pytest.fixture(scope="module", params=tasks.EMBEDDED)
def task(request, corpus):
    return tasks.load_task(request.param)


def key(text):
    return re.sub(r"[^a-z]+", " ", text.lower()).strip()


def test_embedded_tasks_have_the_shapes_of_glue(task):
    assert len(task.validation) >= 900 and len(task.train) >= 2900
    pairs = task.name in ("docs-edit", "docs-relation", "docs-overlap")
    assert (task.validation.second is not None) == pairs
    if task.classes:
        counts = np.bincount(task.validation.labels)
        assert len(counts) == len(task.classes) and counts.max() - counts.min() <= 1, "balanced"
    else:
        assert task.validation.labels.min() >= 0 and task.validation.labels.max() <= 5
        assert set(task.groups(task.validation.labels)) == {0, 1, 2, 3, 4}


def test_embedded_tasks_are_deterministic(task):
    again = tasks.load_task(task.name)
    assert again.validation.first == task.validation.first
    assert again.validation.second == task.validation.second
    assert np.array_equal(again.train.labels, task.train.labels)


def test_embedded_splits_do_not_leak(task):
    """No first sentence of the training split occurs in validation, in whatever spelling."""
    train, validation = ({key(t) for t in s.first} for s in (task.train, task.validation))
    assert not train & validation
    assert len(validation) >= 0.99 * len(task.validation.first)
    training_documents = {s.document for s in embedded_tasks.sentences("train")}
    assert not training_documents & {s.document for s in embedded_tasks.sentences("validation")}


def test_embedded_tasks_are_not_solvable_by_length_alone(task):
    """Word and character counts, one by one and in ratio, barely beat the majority class."""

    def lengths(split):
        sides = [split.first] if split.second is None else [split.first, split.second]
        counts = [[len(t.split()), len(t)] for side in sides for t in side]
        x = np.array(counts, float).reshape(len(sides), -1, 2).transpose(1, 0, 2)
        x = x.reshape(len(split), -1)
        return np.hstack([x, np.log(x), x[:, :1] - x[:, -2:-1]])

    y, y_val = task.groups(task.train.labels), task.groups(task.validation.labels)
    x, x_val = lengths(task.train), lengths(task.validation)
    mean, std = x.mean(0), x.std(0) + 1e-9
    model = LogisticRegression(max_iter=2000).fit((x - mean) / std, y)
    accuracy = score(y_val, model.predict((x_val - mean) / std), "accuracy")
    assert accuracy < majority(y, y_val, "accuracy") + 0.10


@pytest.mark.parametrize("side", ["first", "second"])
def test_relation_task_needs_both_sentences(corpus, side):
    from sklearn.feature_extraction.text import TfidfVectorizer

    task = tasks.load_task("docs-relation")
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2)
    x = words.fit_transform(getattr(task.train, side))
    model = LogisticRegression(max_iter=500).fit(x, task.train.labels)
    guesses = model.predict(words.transform(getattr(task.validation, side)))
    assert score(task.validation.labels, guesses, "accuracy") < 0.40


def test_library_names_are_not_in_the_library_task(corpus):
    texts = " ".join(tasks.load_task("docs-library").validation.first).lower()
    for name in ("numpy", "scipy", "sklearn", "pandas", "networkx", "sympy", "torch"):
        assert not re.search(rf"\b{name}\b", texts)


def test_swapped_sentences_differ_from_an_intact_one_by_one_swap(corpus):
    pool = {s.text for s in embedded_tasks.sentences("validation")}
    split = tasks.load_task("docs-swap").validation
    for text, label in zip(split.first[:200], split.labels[:200], strict=True):
        assert (text in pool) == bool(label)
        if not label:
            words = text.split()
            undone = (
                " ".join([*words[:p], words[p + 1], words[p], *words[p + 2 :]])
                for p in range(1, len(words) - 2)
            )
            assert any(u in pool for u in undone)


def test_overlap_labels_are_the_share_of_equal_words(corpus):
    split = tasks.load_task("docs-overlap").validation
    for a, b, label in zip(split.first, split.second, split.labels, strict=True):
        same = [x.lower() == y.lower() for x, y in zip(a.split(), b.split(), strict=True)]
        assert label == pytest.approx(5 * np.mean(same))


def write(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def test_glue_from_a_local_layout_and_its_stand_ins_are_named(tmp_path, monkeypatch):
    for part, n in (("train", 30), ("validation_matched", 15)):
        write(
            tmp_path / "glue" / "mnli" / f"{part}.parquet",
            premise=["a b"] * n, hypothesis=["c d"] * n, label=[i % 3 for i in range(n)],
        )  # fmt: skip
    task = tasks.load_task("mnli", tmp_path)
    assert (len(task.train), len(task.validation), task.metric) == (30, 15, "accuracy")
    assert "stand-in" in task.note and "30 / 15 rows instead of 392,702 / 9,815" in task.note
    assert task.title == "MNLI (stand-in)", "said in every table and figure"
    monkeypatch.setenv("PREDRECON_DATA", str(tmp_path))
    assert tasks.load_task("mnli").note == task.note


def test_graded_labels_stay_graded(tmp_path):
    for part in ("train", "validation"):
        write(
            tmp_path / "stsb" / f"{part}.parquet",
            sentence1=["a", "b"] * 5, sentence2=["c", "d"] * 5, label=[0.5, 4.75] * 5,
        )  # fmt: skip
    task = tasks.load_task("stsb", tmp_path)
    assert task.validation.labels.tolist() == [0.5, 4.75] * 5
    assert task.groups(task.validation.labels).tolist() == [0, 4] * 5


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (dict(text=["a"], label=[1]), "no column 'sentence'"),
        (dict(sentence=["a"], label=[-1]), "a test split has no labels"),
        (dict(sentence=["a"], label=["yes"]), "0 to 1, negative, positive"),
        (dict(sentence=["a"] * 3, label=[1, 0, -1]), "holds -1 in row 2"),
        (dict(sentence=["a"] * 12, label=[1] * 12), "holds 1 in all of its 12 rows"),
        (dict(sentence=["a"] * 12, label=[1] * 11 + [0]), "by label 11, 1, are too few"),
        (dict(sentence=["a"] * 4, label=[1, 0] * 2), "4 rows, by label 2, 2, are too few"),
        (dict(sentence=["", " "] * 6, label=[1, 0] * 6), "'sentence' holds no text in any row"),
        (dict(sentence=[3], label=[1]), "holds 3 in row 0, not text"),
        (dict(sentence=["a"], label=[7]), "integers 0 to 1"),
        (dict(sentence=["a", "b"], label=[1, 0.5]), "column 'label' holds 0.5 in row 1"),
        (dict(sentence=["a", "b"], label=[1, None]), "column 'label' has no value in row 1"),
    ],
)
def test_bad_task_files_are_named(tmp_path, columns, message):
    write(tmp_path / "glue" / "sst2" / "train.parquet", **columns)
    with pytest.raises(SourceError, match=message) as caught:
        tasks.load_task("sst2", tmp_path)
    assert "train.parquet" in str(caught.value)


LABELS = [
    ("sst2", [1, 0], [1, 0]),
    ("sst2", ["1", "0"], [1, 0]),
    ("sst2", [True, False], [1, 0]),
    ("sst2", ["Positive", "negative "], [1, 0]),
    ("mrpc", ["equivalent", "not_equivalent"], [1, 0]),
    ("mrpc", ["paraphrase", "different"], [1, 0]),
    ("mnli", ["contradiction", "entailment"], [2, 0]),
    ("stsb", ["4.5", "0"], [4.5, 0]),
    ("stsb", [5, 1], [5, 1]),
]


@pytest.mark.parametrize(("name", "values", "expected"), LABELS)
def test_labels_are_read_as_numbers_and_as_text(tmp_path, name, values, expected):
    definition = tasks._DEFINITIONS[name]
    columns = {column: ["a", "b"] * 6 for column in definition.columns}
    for part in ("train", definition.validation):
        write(tmp_path / name / f"{part}.parquet", **columns, label=values * 6)
    assert tasks.load_task(name, tmp_path).train.labels.tolist() == expected * 6


@pytest.mark.parametrize(
    ("grades", "message"),
    [
        ([0.0, 0.4, 1.0, 0.2], "no grade above 1, expected 0 to 5"),
        (["0.1", "0.9"], "no grade above 1, expected 0 to 5"),
        ([10.0, 50.0, 100.0, 5.0], r"holds 10.0 in row 0, expected 0 to 5"),
        (["high", "low"], r"holds 'high' in row 0, expected 0 to 5"),
        ([float("nan"), 3.0], r"holds nan in row 0, expected 0 to 5"),
        ([3.5, 3.5], r"holds 3.5 in all of its 12 rows"),
    ],
)
def test_grades_of_another_scale_are_refused(tmp_path, grades, message):
    labels = grades * (12 // len(grades))
    write(tmp_path / "stsb" / "train.parquet", sentence1=["a"] * 12, sentence2=["b"] * 12,
          label=labels)  # fmt: skip
    with pytest.raises(SourceError, match=rf"train\.parquet: column 'label' .*{message}"):
        tasks.load_task("stsb", tmp_path)


def sst2(folder, labels):
    texts = [f"text {row} of class {label}" for row, label in enumerate(labels)]
    for part in ("train", "validation"):
        write(folder / "sst2" / f"{part}.parquet", sentence=texts, label=labels)
    return tasks.load_task("sst2", folder)


ORDERS = {
    "ascending": np.repeat([0, 1], 2500),
    "descending": np.repeat([1, 0], 2500),
    "the first half": np.append(np.repeat([0, 1], 1250), np.arange(2500) % 2),
    "one class, then both": np.append(np.zeros(600, int), np.arange(4400) % 2),
    "blocks": np.tile(np.repeat([0, 1], 50), 50),
}


@pytest.mark.parametrize("order", ORDERS)
def test_rows_in_order_of_their_label_are_shuffled(tmp_path, order):
    labels = ORDERS[order]
    task = sst2(tmp_path, labels)
    assert "train: rows were in order of their label" in task.note
    for n in (500, 2000):
        assert abs(task.validation.head(n).labels.mean() - labels.mean()) < 0.07, n
    split = task.train
    assert sorted(split.first) == sorted(f"text {i} of class {k}" for i, k in enumerate(labels))
    assert all(text.endswith(str(k)) for text, k in zip(split.first, split.labels, strict=True))
    assert sst2(tmp_path, labels).train.first == split.first, "always alike"


@pytest.mark.parametrize("share", [0.5, 0.32, 0.05])
def test_rows_in_any_other_order_stay(tmp_path, share):
    labels = (np.random.default_rng(0).random(3000) < share).astype(int)
    task = sst2(tmp_path, labels)
    assert np.array_equal(task.train.labels, labels) and "order" not in task.note


def test_pairs_are_shuffled_together(tmp_path):
    grades = np.sort(np.random.default_rng(1).random(700) * 5)
    columns = {f"sentence{k}": [f"{grade:.9f}" for grade in grades] for k in (1, 2)}
    for part in ("train", "validation"):
        write(tmp_path / "stsb" / f"{part}.parquet", **columns, label=grades)
    split = tasks.load_task("stsb", tmp_path).train
    assert split.first == split.second == [f"{grade:.9f}" for grade in split.labels]
    assert abs(split.head(500).labels.mean() - 2.5) < 0.2


def test_missing_tasks_say_what_was_tried(tmp_path):
    with pytest.raises(SourceError, match="Three ways out") as caught:
        tasks.load_task("cola", tmp_path)
    assert str(tmp_path / "glue" / "cola") in str(caught.value)
    assert "docs-swap" in str(caught.value)
    assert isinstance(caught.value, tasks.MissingLabelsError), "the demo goes on without"
    assert str(caught.value).splitlines()[0].startswith("No labels: CoLA is neither on this mach")
    with pytest.raises(ValueError, match="sst2, cola, mrpc, mnli, stsb, docs-library"):
        tasks.load_task("sst5")
    (tmp_path / "glue" / "mrpc").mkdir(parents=True)
    with pytest.raises(SourceError, match=r"no train\.parquet"):
        tasks.load_task("mrpc", tmp_path)


def test_families():
    names = [t.name for t in tasks.load_tasks("docs-swap, docs-edit")]
    assert names == ["docs-swap", "docs-edit"]
    assert [t.name for t in tasks.load_tasks("auto", corpus="docstrings")] == list(tasks.EMBEDDED)


def graded(place, n=12, **changes):
    columns = dict(
        sentence1=[f"a {i}" for i in range(n)], sentence2=[f"b {i}" for i in range(n)],
        score=[5 * i / (n - 1) for i in range(n)],
    )  # fmt: skip
    write(place, **columns | changes)


def test_graded_pairs_have_a_test_split_and_their_stand_ins_are_named(tmp_path):
    graded(tmp_path / "sts" / "sts13" / "test.parquet", n=1500)
    task = tasks.load_similarity_task("sts13", tmp_path)
    assert (task.title, task.note, len(task.test)) == ("STS13", "", 1500)
    assert sorted(task.test.labels)[-1] == 5.0
    for a, b in zip(task.test.first, task.test.second, strict=True):
        assert a.removeprefix("a") == b.removeprefix("b"), "shuffled together"
    assert abs(task.test.head(300).labels.mean() - 2.5) < 0.25, "the first are a sample"
    graded(tmp_path / "sick-r" / "test.parquet")
    task = tasks.load_similarity_task("sick-r", tmp_path)
    assert task.title == "SICK-R (stand-in)" and "12 rows instead of 9,927" in task.note


def test_sts12_without_msrvid_says_so(tmp_path):
    graded(tmp_path / "sts" / "sts12" / "test.parquet", n=2358)
    task = tasks.load_similarity_task("sts12", tmp_path)
    assert task.title == "STS12 (without MSRvid)"
    assert task.note.endswith("2,358 rows instead of 3,108, without MSRvid")


def test_graded_pairs_of_tasks_with_other_splits():
    task = tasks.load_similarity_task("docs-overlap")
    other = tasks.load_task("docs-overlap")
    assert sorted(task.test.labels) == sorted(other.validation.labels)
    assert task.note == other.note


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(score=[0.5, 0.25] * 6), "column 'score' holds no grade above 1"),
        (dict(score=[6.0] * 12), "column 'score' holds 6.0 in row 0, expected 0 to 5"),
        (dict(sentence2=[""] * 12), "'sentence2' holds no text in any row"),
        (dict(score=[3.0] * 12), "nothing to tell apart"),
    ],
)
def test_bad_graded_pairs_are_named(tmp_path, changes, message):
    graded(tmp_path / "sts" / "sts14" / "test.parquet", **changes)
    with pytest.raises(SourceError, match=message):
        tasks.load_similarity_task("sts14", tmp_path)


def test_unknown_similarity_tasks_are_named(tmp_path):
    with pytest.raises(ValueError, match="'sts17': expected one of sts12, sts13"):
        tasks.load_similarity_task("sts17")
    with pytest.raises(ValueError, match="tasks is empty: expected some of sts, sts12"):
        tasks.load_similarity_tasks([])
    with pytest.raises(SourceError, match="mteb/sts15-sts"):
        tasks.load_similarity_task("sts15", tmp_path)


def test_stsb_names_its_split(monkeypatch):
    overlap = tasks.load_task("docs-overlap")
    monkeypatch.setattr(tasks, "load_task", lambda *_: overlap)
    note = tasks.load_similarity_task("stsb").note
    assert note.endswith("; validation split (MTEB's numbers are of the test split)")
