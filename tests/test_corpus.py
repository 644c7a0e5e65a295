import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from predrecon.data import embedded_text, paths, readers
from predrecon.data.corpus import load_corpus, load_tokenizer
from predrecon.data.readers import SourceError

TEXTS = [f"Document {i} has a few words. " * 20 for i in range(120)]


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PREDRECON_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def tokenizer_dir():
    return embedded_text.tokenizer_folder()


def write_parquet(path, texts, column="text"):
    pq.write_table(pa.table({column: texts}), path)


def test_embedded_text_is_large_clean_and_split_by_document(corpus):
    documents = embedded_text.documents()
    assert sum(len(d.text) for d in documents) > 4_000_000
    paragraphs = [p for d in documents for p in d.paragraphs]
    assert len(set(paragraphs)) == len(paragraphs), "de-duplicated"
    assert all(embedded_text.is_prose(p) for p in paragraphs)
    share = sum(d.split == "validation" for d in documents) / len(documents)
    assert 0.08 < share < 0.16
    assert {d.library for d in documents} == set(embedded_text.LIBRARIES)
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
    assert embedded_text.is_prose(text) is expected


def test_sources_are_parsed_never_run(tmp_path):
    file = tmp_path / "evil.py"
    doc = "Return the sum of all the numbers that are in the list."
    file.write_text(f'raise SystemExit\ndef f():\n    """{doc}"""\n')
    assert [d.paragraphs for d in embedded_text.extract({"evil": tmp_path})] == [(doc,)]


SOURCES = {
    "first/__init__.py": '''
        """Tools for the study of graphs, in a few words.

        See :func:`~first.walk` for the walk that is used in all of the examples.

        x : array_like of shape (n,)
            The values that are to be sorted, in any order [1]_.

        >>> first.walk(3)

        The *first* of the ``values`` is the `smallest`_ one, as in this list::
        """
        if True:
            def walk():
                """Return the nodes of the graph in the order of the walk."""
                try:
                    async def inner():
                        """This is found inside of a function, and it is kept."""
                except ValueError:
                    class Error:
                        """An error that is raised when the graph is not a tree."""
                finally:
                    def last():
                        """The last of the functions that have a docstring here."""
        else:
            def walk():
                """Short."""
        ''',
    "first/sub/more.py": '"""RETURN THE NODES OF THE GRAPH, AS IT IS IN THE LICENCE."""',
    "first/tests/test_walk.py": '"""The test of the walk is not a part of the text."""',
    "first/python2.py": '"""This is in a file that can not be parsed."""\nprint "no"',
    "second/again.py": '''
        """Return the nodes of the graph in the order of the walk!

        A second library has all of the words that are in the first one.
        """''',
    "second/borders.py": f'''"""Sort every value of every array by descending size.

        Sort every value of every array by descending absolute size.

        This is one of the six.

        It is of the five.

        There are 10 or more of them in it.

        There are 100 or more of them in it.

        This IS THE one of all of them.

        This IS THE ONE of all of them.

        {" ".join(["This is"] * 125)}.

        {" ".join(["This is"] * 125)} it.
        """''',
    "second/code.py": "x = 1",
    "second/other.py": '"""Some of the files are held out, and it is their name that decides."""',
}


def test_other_output_of_the_same_sources_needs_another_format_number(tmp_path):
    """Never change an entry of this list: raise `FORMAT` and add the new number's digest."""
    import textwrap

    for place, source in SOURCES.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(textwrap.dedent(source))
    documents = embedded_text.extract({name: tmp_path / name for name in ("first", "second")})
    tokenizer = embedded_text.train_tokenizer([document.text for document in documents])
    vocabulary = sorted(tokenizer.get_vocab().items())
    ids = tokenizer([document.text for document in documents])["input_ids"]
    facts = [[[d.name, d.library, d.split, d.text] for d in documents], vocabulary, ids]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    digests = {1: "9b6e6937d0bcedf0"}
    assert digest == digests.get(embedded_text.FORMAT)


def test_fingerprint_follows_versions_and_format_number(monkeypatch):
    before = embedded_text.fingerprint()
    monkeypatch.setattr(embedded_text, "FORMAT", embedded_text.FORMAT + 1)
    assert embedded_text.fingerprint() != before
    monkeypatch.undo()
    version = embedded_text.importlib.metadata.version
    monkeypatch.setattr(
        "importlib.metadata.version", lambda name: version(name) + "x" * (name == "sympy")
    )
    assert embedded_text.fingerprint() != before


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setattr(embedded_text, "LIBRARIES", {"numpy": "numpy", "nowhere": "nowhere"})
    with pytest.raises(ModuleNotFoundError, match=r"'nowhere' is not installed.*make demo"):
        load_corpus()


def test_cached_load_reads_no_source_and_blocks_are_packed(corpus, monkeypatch):
    monkeypatch.setattr(embedded_text, "extract", None)
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
    first = embedded_text.documents()
    expected = tokenizer(next(d.text for d in first if d.split == "train"))["input_ids"][1:-1][:62]
    assert batch[0, 1 : 1 + len(expected)].tolist() == expected


def test_tokenizer_training_is_deterministic(empty_cache, tokenizer_dir):
    """The trainer's hash order must not reach the vocabulary."""
    documents = tokenizer_dir.parent / f"docstrings-{embedded_text.fingerprint()}"
    empty_cache.mkdir()
    (empty_cache / documents.name).symlink_to(documents)
    again = embedded_text.tokenizer_folder()
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
    damaged = root / "damaged.parquet"
    write_parquet(damaged, TEXTS)
    damaged.write_bytes(b"PAR1" + b"?" * 60 + damaged.read_bytes()[64:])  # its end is sound


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("column.parquet", "no column 'text'; it has body"),
        ("empty.parquet", "the file is empty"),
        ("fake.parquet", "not a parquet file"),
        ("damaged.parquet", "a damaged one"),
        ("latin.txt", "column 'text' is not valid UTF-8"),
        ("latin.parquet", "column 'text' is not valid UTF-8"),
        ("null.parquet", "column 'text' has no value in row 1"),
        ("broken.jsonl", "line 2: not JSON"),
        ("number.jsonl", "column 'text' holds 5 in row 0"),
        ("half.jsonl", "column 'text' holds half a surrogate pair in row 1"),
        ("one.txt", "at least two documents"),
        ("column.jsonl", "no column 'text'; it has body"),
        ("blank.txt", "holds no rows"),
        ("page.html", "expected a file that ends in"),
        ("folder", "no .parquet, .jsonl, .txt file"),
    ],
)
def test_bad_input_names_file_and_column_and_caches_nothing(
    tmp_path, empty_cache, tokenizer_dir, name, message
):
    bad_files(tmp_path)
    with pytest.raises(SourceError, match=name) as caught:
        load_corpus(tmp_path / name, tokenizer=tokenizer_dir)
    assert message in str(caught.value)
    corpora = empty_cache / "corpora"
    cached = corpora.iterdir() if corpora.exists() else []
    assert [file.name for file in cached if file.suffix != ".lock"] == []


def test_unknown_names_list_the_valid_ones(tokenizer_dir):
    with pytest.raises(SourceError, match="docstrings, wikitext-103, wikipedia"):
        load_corpus("wikipaedia", tokenizer=tokenizer_dir)


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


@pytest.mark.slow
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
