import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from predrecon.data import docstrings, embedded, paths, readers
from predrecon.data.corpus import load_corpus, load_tokenizer
from predrecon.data.readers import SourceError

TEXTS = [f"Document {i} has a few words. " * 20 for i in range(120)]


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PREDRECON_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def tokenizer_dir():
    return embedded.tokenizer_folder()


def write_parquet(path, texts, column="text"):
    pq.write_table(pa.table({column: texts}), path)


def test_embedded_text_is_large_clean_and_split_by_document(corpus):
    documents = embedded.documents()
    assert sum(len(d.text) for d in documents) > 4_000_000
    paragraphs = [p for d in documents for p in d.paragraphs]
    assert len(set(paragraphs)) == len(paragraphs), "de-duplicated"
    assert all(docstrings.is_prose(p) for p in paragraphs)
    share = sum(d.split == "validation" for d in documents) / len(documents)
    assert 0.08 < share < 0.16
    assert {d.library for d in documents} == set(docstrings.LIBRARIES)
    assert 4000 <= len(corpus.tokenizer) <= 8192


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Return the number of nodes in the graph.", True),
        (">>> x = np.array([1, 2, 3])", False),
        ("x : array_like of shape (n_samples,)", False),
        ("Too short.", False),
        ("n_samples n_features n_classes n_jobs random_state verbose tol.", False),
    ],
)
def test_prose_filter(text, expected):
    assert docstrings.is_prose(text) is expected


def test_sources_are_parsed_never_run(tmp_path):
    file = tmp_path / "evil.py"
    doc = "Return the sum of all the numbers that are in the list."
    file.write_text(f'raise SystemExit\ndef f():\n    """{doc}"""\n')
    assert list(docstrings._paragraphs(file)) == [doc]


def test_cached_load_reads_no_source_and_blocks_are_packed(corpus, monkeypatch):
    monkeypatch.setattr(docstrings, "documents", None)
    again = load_corpus()
    assert again.fingerprint == corpus.fingerprint
    tokenizer = corpus.tokenizer
    blocks = corpus.blocks("train", 64)
    batch = blocks.batch([0, 5, len(blocks) - 1])
    assert batch.shape == (3, 64)
    assert (batch[:, 0] == tokenizer.cls_token_id).all()
    assert (batch[:, -1] == tokenizer.sep_token_id).all()
    assert not (batch == tokenizer.pad_token_id).any()
    ends = (blocks.stream == tokenizer.sep_token_id).sum()
    assert ends == corpus.facts["train"]["documents"], "[SEP] ends documents and nothing else"
    first = embedded.documents()
    expected = tokenizer(next(d.text for d in first if d.split == "train"))["input_ids"][1:-1][:62]
    assert batch[0, 1 : 1 + len(expected)].tolist() == expected


def test_tokenizer_training_is_deterministic(empty_cache, tokenizer_dir):
    """The trainer's hash order must not reach the vocabulary."""
    documents = tokenizer_dir.parent / f"docstrings-{docstrings.fingerprint()}"
    empty_cache.mkdir()
    (empty_cache / documents.name).symlink_to(documents)
    again = embedded.tokenizer_folder()
    assert again != tokenizer_dir
    first, second = ((f / "tokenizer.json").read_bytes() for f in (tokenizer_dir, again))
    assert first == second


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "txt"])
def test_local_files_of_every_kind_hold_the_same_tokens(tmp_path, empty_cache, tokenizer_dir, kind):
    file = tmp_path / f"mine.{kind}"
    if kind == "parquet":
        write_parquet(file, TEXTS)
    elif kind == "jsonl":
        file.write_text("".join(json.dumps({"text": t}) + "\n" for t in TEXTS))
    else:
        file.write_text("\n\n".join(TEXTS))
    corpus = load_corpus(file, tokenizer=tokenizer_dir)
    assert corpus.facts["train"]["documents"] == 117
    assert corpus.facts["validation"]["documents"] == 3, "one in 50 is held out"
    ids = corpus.blocks("train", 64).batch([0])[0].tolist()
    assert corpus.tokenizer.decode(ids[1:8]) == "document 1 has a few words."


def test_data_layout_by_argument_and_by_variable(tmp_path, empty_cache, tokenizer_dir, monkeypatch):
    folder = tmp_path / "data" / "wikipedia"
    folder.mkdir(parents=True)
    write_parquet(folder / "train-00000-of-00001.parquet", TEXTS)
    write_parquet(folder / "validation.parquet", TEXTS[:5])
    (tmp_path / "data" / "tokenizer").symlink_to(tokenizer_dir)
    corpus = load_corpus("wikipedia", data_dir=tmp_path / "data")
    assert corpus.facts["train"]["documents"] == 120
    assert corpus.facts["validation"]["documents"] == 5
    monkeypatch.setenv("PREDRECON_DATA", str(tmp_path / "data"))
    assert load_corpus("wikipedia").fingerprint == corpus.fingerprint
    monkeypatch.setenv("PREDRECON_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(NotADirectoryError, match="PREDRECON_DATA="):
        load_corpus("wikipedia")


def test_special_tokens_in_text_are_text(tokenizer_dir):
    tokenizer = load_tokenizer(tokenizer_dir)
    ids = tokenizer("a [SEP] b [MASK]", add_special_tokens=False)["input_ids"]
    assert not set(ids) & {tokenizer.sep_token_id, tokenizer.mask_token_id}


def test_wikitext_lines_become_articles():
    from predrecon.data.documents import _articles

    lines = ["", " = One = \n", " text \n", " = = Part = = \n", " more \n", " = Two = \n", " x \n"]
    assert list(_articles(lines)) == ["= One =\ntext\n= = Part = =\nmore", "= Two =\nx"]


def test_local_wikitext_is_read_by_article_like_the_hubs(tmp_path, empty_cache, tokenizer_dir):
    lines = [f" = Title {i} = " if k == 0 else "" if k == 1 else f" line {k} = of the article "
             for i in range(60) for k in range(4)]  # fmt: skip
    (tmp_path / "wikitext-103").mkdir()
    write_parquet(tmp_path / "wikitext-103" / "train.parquet", lines)
    write_parquet(tmp_path / "wikitext-103" / "validation.parquet", lines[:8])
    corpus = load_corpus("wikitext-103", tokenizer=tokenizer_dir, data_dir=tmp_path)
    assert corpus.facts["train"]["documents"] == 60
    assert corpus.facts["validation"]["documents"] == 2


def test_hub_layout_through_the_hub_code_path(monkeypatch, empty_cache, tokenizer_dir):
    """The hub's reader with data sets of the hub's shape, made here."""
    import datasets

    asked = []

    def load_dataset(repository, config, split):
        asked.append((repository, config, split))
        if "wikitext" in repository:
            rows = [" = T = ", "", " some words of text "] * (40 if split == "train" else 4)
            return datasets.Dataset.from_dict({"text": rows})
        return datasets.Dataset.from_dict({"id": list(map(str, range(120))), "text": TEXTS})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    wikitext = load_corpus("wikitext-103", tokenizer=tokenizer_dir)
    assert wikitext.facts["train"]["documents"] == 40
    assert wikitext.facts["validation"]["documents"] == 4
    wikipedia = load_corpus("wikipedia", tokenizer=tokenizer_dir)
    assert wikipedia.facts["validation"]["documents"] == 3
    assert ("wikimedia/wikipedia", "20231101.en", "train") in asked


def test_a_single_file_may_be_called_test(tmp_path, empty_cache, tokenizer_dir):
    (tmp_path / "test.txt").write_text("\n\n".join(TEXTS))
    assert load_corpus(tmp_path / "test.txt", tokenizer=tokenizer_dir).facts["train"]["documents"]


def bad_files(root):
    write_parquet(root / "column.parquet", TEXTS, column="body")
    (root / "empty.parquet").write_bytes(b"")
    (root / "fake.parquet").write_text("this is not parquet")
    (root / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
    (root / "broken.jsonl").write_text('{"text": "fine"}\n{"text": \n')
    (root / "column.jsonl").write_text('{"body": "x"}\n')
    (root / "number.jsonl").write_text('{"text": 5}\n')
    (root / "half.jsonl").write_text('{"text": "fine"}\n{"text": "half \\ud800"}\n')
    (root / "one.txt").write_text("One document only.\n")
    (root / "blank.txt").write_text("\n\n")
    (root / "page.html").write_text("<p>")
    (root / "folder").mkdir()
    binary = pa.array([b"ok", b"\xff\xfe"], pa.binary()).cast(pa.string(), safe=False)
    pq.write_table(pa.table({"text": binary}), root / "latin.parquet")
    write_parquet(root / "null.parquet", ["a", None])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("column.parquet", "no column 'text'; it has body"),
        ("empty.parquet", "the file is empty"),
        ("fake.parquet", "not a parquet file"),
        ("latin.txt", "column 'text' is not valid UTF-8"),
        ("latin.parquet", "column 'text' is not valid UTF-8"),
        ("null.parquet", "column 'text' has no value in row 1"),
        ("broken.jsonl", "line 2: not JSON"),
        ("number.jsonl", "column 'text' holds 5 in row 0"),
        ("half.jsonl", "column 'text' holds half a surrogate pair in row 1"),
        ("one.txt", "at least two documents"),
        ("column.jsonl", "no column 'text'; it has body"),
        ("blank.txt", "the file holds no rows"),
        ("page.html", "expected a file that ends in"),
        ("folder", "no .parquet, .jsonl, .txt file"),
    ],
)
def test_bad_input_names_file_and_column_and_caches_nothing(
    tmp_path, empty_cache, tokenizer_dir, name, said
):
    bad_files(tmp_path)
    with pytest.raises(SourceError, match=name) as caught:
        load_corpus(tmp_path / name, tokenizer=tokenizer_dir)
    assert said in str(caught.value)
    corpora = empty_cache / "corpora"
    left = corpora.iterdir() if corpora.exists() else []
    assert [file.name for file in left if file.suffix != ".lock"] == []


def test_unknown_names_list_the_valid_ones(tokenizer_dir):
    with pytest.raises(SourceError, match="docstrings, wikitext-103, wikipedia"):
        load_corpus("wikipaedia", tokenizer=tokenizer_dir)


@pytest.mark.parametrize("offline", ["1", "0"])
def test_offline_is_an_error_with_ways_out(empty_cache, tokenizer_dir, monkeypatch, offline):
    """Told to be offline, and finding it out: `127.0.0.1:9` (discard) answers nobody."""
    import datasets
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_CACHE", str(empty_cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline == "1")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", offline == "1")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SourceError) as caught:
        load_corpus("wikitext-103", tokenizer=tokenizer_dir)
    message = str(caught.value)
    for part in ("PREDRECON_DATA (not set)", "Salesforce/wikitext", "Three ways out", "docstrings"):
        assert part in message
    with pytest.raises(SourceError, match="bert-base-uncased"):
        load_tokenizer("bert-base-uncased")
    assert constants.HF_HUB_OFFLINE == (offline == "1"), "the setting is put back"


def test_a_tokenizer_folder_without_its_file_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"no tokenizer\.json"):
        load_tokenizer(tmp_path)


def test_short_splits_and_wrong_splits_are_named(tmp_path, empty_cache, tokenizer_dir):
    file = tmp_path / "tiny.txt"
    file.write_text("\n\n".join(["one two three"] * 60))
    corpus = load_corpus(file, tokenizer=tokenizer_dir)
    with pytest.raises(ValueError, match="do not fill one block of length=64"):
        corpus.blocks("validation", 64)
    with pytest.raises(ValueError, match="'train' or 'validation'"):
        corpus.blocks("test", 8)


def test_nothing_half_built_is_left(tmp_path):
    from predrecon.data.files import build_folder

    def fail(part):
        (part / "half").write_text("x")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        build_folder(tmp_path / "a" / "b", fail)
    assert not list((tmp_path / "a").iterdir())


def test_importing_is_light(tmp_path):
    """No umap, plotly or datasets, no network, and nothing written."""
    import os
    import subprocess
    import sys

    code = (
        "import sys, predrecon; heavy = {'umap', 'plotly', 'datasets', 'numba', 'ipywidgets'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    environment = {**os.environ, "PREDRECON_CACHE": str(tmp_path / "c"), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.stdout.strip() == "[]", done.stderr
    assert not list(tmp_path.iterdir())


def test_paths_follow_their_variables(monkeypatch, tmp_path):
    monkeypatch.setenv("PREDRECON_RUNS", str(tmp_path / "r"))
    assert paths.runs_dir() == tmp_path / "r"
    monkeypatch.delenv("PREDRECON_DATA", raising=False)
    assert paths.data_dir() is None
    assert readers.SUFFIXES == (".parquet", ".jsonl", ".txt")
    assert np.dtype("uint16").itemsize == 2
