import bz2
import codecs
import gzip
import hashlib
import json
import lzma
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from predrecon.data import documents, embedded_text, paths, readers
from predrecon.data.corpus import load_corpus, load_tokenizer
from predrecon.data.files import sha256
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


def test_held_out_articles_are_whole(tmp_path, empty_cache):
    lines = [
        line for n in range(100) for line in (f" = Title {n} = ", "", f" line of {n} ", "more")
    ]
    (tmp_path / "wikitext-103").mkdir()
    write_parquet(tmp_path / "wikitext-103" / "train.parquet", lines)
    source = documents.open_source("wikitext-103", tmp_path)
    assert list(source.read("validation")) == [f"= Title {n} =\nline of {n}\nmore" for n in (0, 50)]
    assert len(list(source.read("train"))) == 98


def test_a_single_file_may_be_called_test(tmp_path, empty_cache, tokenizer_dir):
    (tmp_path / "test.txt").write_text("\n\n".join(TEXTS))
    assert load_corpus(tmp_path / "test.txt", tokenizer=tokenizer_dir).facts["train"]["documents"]


def write_jsonl(path, texts, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts), encoding=encoding)


def documents_of(path, tokenizer):
    facts = load_corpus(path, tokenizer=tokenizer).facts
    return facts["train"]["documents"], facts["validation"]["documents"]


HELD_OUT = [
    "validation_matched.jsonl", "valid.00.txt", "wiki.valid.txt", "dev_1.txt", "VALIDATION.txt",
    "test-00000-of-00001.parquet", "my val.txt", "part2dev3.txt", "held-out.txt", "heldout_a.jsonl",
    "validation/a.txt", "en/test/00.txt", "dev.txt.gz", "train_dev.txt",
]  # fmt: skip
TRAINED_ON = [
    "train.txt", "testament.txt", "developer.txt", "invalid.txt", "valids.txt", "values.txt",
    "contest.txt", "devon-1.txt", "train/test.txt", "training-00/dev.txt", "validity/a.txt",
]  # fmt: skip


@pytest.mark.parametrize("name", [*HELD_OUT, *TRAINED_ON])
def test_names_say_what_is_held_out(name):
    assert documents.is_held_out(Path(name)) == (name in HELD_OUT)


@pytest.mark.parametrize(
    "name", ["validation_matched.jsonl", "wiki.valid.jsonl", "dev_1.jsonl", "validation/a.jsonl"]
)
def test_held_out_files_are_not_trained_on(tmp_path, empty_cache, tokenizer_dir, name):
    write_jsonl(tmp_path / "c" / "train.jsonl", TEXTS[:60])
    write_jsonl(tmp_path / "c" / name, TEXTS[60:70])
    assert documents_of(tmp_path / "c", tokenizer_dir) == (60, 10)


def test_keys_change_only_where_documents_do(tmp_path, empty_cache):
    """Runs and caches of older versions are found by names and digests of files alone."""
    unchanged = {
        ("train.jsonl", "validation.jsonl"): True,
        ("a.jsonl", "b.jsonl"): True,
        ("dev.txt", "train-1.txt"): True,
        ("test-00000-of-00001.jsonl", "train.jsonl"): True,
        ("train.jsonl", "validation_matched.jsonl"): False,
        ("train.txt", "wiki.valid.txt"): False,
        ("train.jsonl", "val.jsonl"): False,
    }
    for number, (names, same) in enumerate(unchanged.items()):
        folder = tmp_path / str(number)
        for name in names:
            write_jsonl(folder / name, TEXTS[:2])
        key = documents.digest(*(p for n in names for p in (n, sha256(folder / n))))
        assert (documents.open_source(str(folder), None).digest == key) == same, names


PACKERS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("packed", PACKERS)
@pytest.mark.parametrize("kind", [".txt", ".jsonl"])
def test_compressed_text_is_read(tmp_path, empty_cache, tokenizer_dir, kind, packed):
    lines = [json.dumps({"text": t}) for t in TEXTS] if kind == ".jsonl" else TEXTS
    plain = tmp_path / "c" / f"a{kind}"
    plain.parent.mkdir()
    plain.write_text("\n\n".join(lines))
    stream = load_corpus(plain, tokenizer=tokenizer_dir).blocks("train", 16).stream
    whole = tmp_path / "c" / f"a{kind}{packed}"
    whole.write_bytes(PACKERS[packed](plain.read_bytes()))
    assert np.array_equal(
        load_corpus(whole, tokenizer=tokenizer_dir).blocks("train", 16).stream, stream
    )
    facts = load_corpus(plain.parent, tokenizer=tokenizer_dir).facts
    assert facts["files"]["train"] == [plain.name], "not twice"
    assert facts["skipped"] == {whole.name: "also there decompressed"}
    plain.unlink()
    assert documents_of(whole.parent, tokenizer_dir) == (117, 3)
    whole.write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(SourceError, match=rf"a{kind}{packed}.*damaged or cut off"):
        load_corpus(whole, tokenizer=tokenizer_dir)


MARKED = {
    "utf-8": codecs.BOM_UTF8, "utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
}  # fmt: skip


@pytest.mark.parametrize("encoding", MARKED)
@pytest.mark.parametrize("kind", ["txt", "jsonl"])
def test_byte_order_marks_are_read(tmp_path, empty_cache, tokenizer_dir, kind, encoding):
    texts = ["Naïve text number one.", *TEXTS]
    lines = (
        [json.dumps({"text": t}, ensure_ascii=False) for t in texts] if kind == "jsonl" else texts
    )
    body = "\r\n\r\n".join(lines)
    (tmp_path / f"plain.{kind}").write_bytes(body.encode())
    (tmp_path / f"marked.{kind}").write_bytes(MARKED[encoding] + body.encode(encoding))
    plain, marked = (
        [row["text"] for row in readers.read_rows(tmp_path / f"{name}.{kind}", ("text",))]
        for name in ("plain", "marked")
    )
    assert plain == marked and plain[0] == texts[0]
    assert documents_of(tmp_path / f"marked.{kind}", tokenizer_dir) == (118, 3)


def test_text_after_a_mark_has_another_key_than_when_the_mark_was_text(tmp_path, empty_cache):
    (tmp_path / "a.txt").write_bytes(codecs.BOM_UTF8 + b"one\n\ntwo")
    old = documents.digest("a.txt", sha256(tmp_path / "a.txt"))
    assert documents.open_source(str(tmp_path / "a.txt"), None).digest != old


def test_what_is_not_text_is_skipped_with_a_word(tmp_path, empty_cache, tokenizer_dir, capsys):
    folder = tmp_path / "c"
    write_jsonl(folder / "a.jsonl", TEXTS)
    write_jsonl(folder / "B.JSONL", TEXTS[:3])
    left = [".DS_Store", "Thumbs.db", "x.txt~", "#x.txt#", ".x.txt.swp", "x.bak", "._a.jsonl",
            "~$x.txt", ".hidden.txt", "x.csv"]  # fmt: skip
    for name in left:
        (folder / name).write_bytes(b"\0\1")
    (folder / ".git").mkdir()
    (folder / ".git" / "x.txt").write_text("not text of the corpus")
    (folder / "empty.jsonl").write_bytes(b"")
    (folder / "blank.txt").write_text(" \n\n")
    write_parquet(folder / "none.parquet", pa.array([], pa.string()))
    (folder / "folder.txt").mkdir()
    (folder / "folder.txt" / "inner.txt").write_text("One.\n\nTwo.")
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.txt")
    corpus = load_corpus(folder, tokenizer=tokenizer_dir)
    assert corpus.facts["files"] == {
        "train": ["B.JSONL", "a.jsonl", "folder.txt/inner.txt"], "validation": []
    }  # fmt: skip
    expected = {*left, ".git/", "empty.jsonl", "blank.txt", "none.parquet", "loop/", "pipe.txt"}
    assert set(corpus.facts["skipped"]) == expected and all(corpus.facts["skipped"].values())
    assert corpus.facts["train"]["documents"] + corpus.facts["validation"]["documents"] == 125
    line = capsys.readouterr().err
    assert "files: 3, held out: one document in 50, skipped: " in line and "more" in line
    assert load_corpus(folder, tokenizer=tokenizer_dir).facts == corpus.facts, "from the cache too"


@pytest.mark.parametrize("name", ["train.txt", "dev.txt"])
def test_a_split_of_empty_files_is_refused(tmp_path, empty_cache, tokenizer_dir, name):
    for file in ("train.txt", "dev.txt"):
        (tmp_path / file).write_text("\n" if file == name else "One.\n\nTwo.")
    with pytest.raises(SourceError, match=rf"{name}: no rows"):
        load_corpus(tmp_path, tokenizer=tokenizer_dir)


def test_documents_without_text_are_skipped_and_counted(
    tmp_path, empty_cache, tokenizer_dir, capsys
):
    write_jsonl(tmp_path / "plain.jsonl", TEXTS)
    mixed = [t for text in TEXTS for t in ("", text, " \n ")]
    write_jsonl(tmp_path / "mixed.jsonl", mixed)
    plain, corpus = (
        load_corpus(tmp_path / f"{name}.jsonl", tokenizer=tokenizer_dir)
        for name in ("plain", "mixed")
    )
    for split in ("train", "validation"):
        assert np.array_equal(plain.blocks(split, 16).stream, corpus.blocks(split, 16).stream)
    assert corpus.facts["train"]["without_text"] == 240
    assert plain.facts["train"]["without_text"] == 0
    assert "skipped 240 documents without text" in capsys.readouterr().err


@pytest.mark.parametrize("texts", [[""] * 5000, [" ", "\n"] * 40, ["\u200b"] * 60])
def test_a_corpus_without_text_is_refused(tmp_path, empty_cache, tokenizer_dir, texts):
    write_jsonl(tmp_path / "wiki.jsonl", texts)
    with pytest.raises(SourceError, match=r"wiki\.jsonl: no text in the train split"):
        load_corpus(tmp_path / "wiki.jsonl", tokenizer=tokenizer_dir)
    write_jsonl(tmp_path / "c" / "train.jsonl", TEXTS)
    write_jsonl(tmp_path / "c" / "validation.jsonl", texts)
    with pytest.raises(SourceError, match=r"no text in the validation split"):
        load_corpus(tmp_path / "c", tokenizer=tokenizer_dir)
    assert not [f for f in (empty_cache / "corpora").iterdir() if f.suffix != ".lock"]


def test_a_cache_of_an_older_version_is_used_unless_it_holds_blank_documents(
    tmp_path, empty_cache, tokenizer_dir, monkeypatch
):
    write_jsonl(tmp_path / "a.jsonl", TEXTS)
    write_jsonl(tmp_path / "b.jsonl", [*TEXTS, ""])
    for name, rebuilt in (("a", False), ("b", True)):
        corpus = load_corpus(tmp_path / f"{name}.jsonl", tokenizer=tokenizer_dir)
        file, stream = corpus.folder / "facts.json", corpus.folder / "train.bin"
        facts = json.loads(file.read_text())
        for split in ("train", "validation"):
            del facts[split]["without_text"]
        file.write_text(json.dumps(facts))
        if rebuilt:
            end = np.array([corpus.tokenizer.sep_token_id], np.uint16)
            stream.write_bytes(stream.read_bytes() + end.tobytes())
        os.utime(stream, (0, 0))
        again = load_corpus(tmp_path / f"{name}.jsonl", tokenizer=tokenizer_dir)
        assert again.facts == corpus.facts and again.fingerprint == corpus.fingerprint
        assert (stream.stat().st_mtime != 0) == rebuilt
        key = corpus.folder.name.removeprefix(f"{name}-")
        assert (corpus.fingerprint != key) == rebuilt, "its runs saw other text"


def test_names_that_are_not_utf8_or_long_are_read(tmp_path, empty_cache, tokenizer_dir):
    folder = tmp_path / "c"
    folder.mkdir()
    for name in (b"caf\xe9.txt", b"n\xff.parquet"):
        path = Path(os.fsdecode(os.fsencode(folder) + b"/" + name))
        write_jsonl(path, TEXTS) if path.suffix == ".jsonl" else path.write_text("\n\n".join(TEXTS))
        if path.suffix == ".parquet":
            write_parquet(folder / "plain.parquet", TEXTS)
            (folder / "plain.parquet").rename(path)
        facts = load_corpus(path, tokenizer=tokenizer_dir).facts
        assert facts["files"]["train"] == [name.decode("utf-8", "backslashreplace")]
    facts = load_corpus(folder, tokenizer=tokenizer_dir).facts
    json.dumps(facts, ensure_ascii=False).encode()
    assert facts["files"]["train"] == ["caf\\xe9.txt", "n\\xff.parquet"]
    (folder / os.fsdecode(b"bad\xe9.txt")).write_bytes(b"\xff")
    with pytest.raises(SourceError, match=r"bad\\xe9\.txt.*not valid UTF-8") as caught:
        load_corpus(folder, tokenizer=tokenizer_dir)
    str(caught.value).encode()
    for name in ("n" * 250 + ".txt", "名" * 80 + ".txt", "corpus[1].txt"):
        (tmp_path / name).write_text("\n\n".join(TEXTS))
        assert documents_of(tmp_path / name, tokenizer_dir) == (117, 3)


@pytest.mark.parametrize(
    "ids",
    [{"a": 5, "b": 9}, {"a": 5, "b": 70_000}, {"a": 6, "b": 7}],
    ids=["hole", "beyond", "first"],
)
def test_a_vocabulary_with_holes_is_refused(tmp_path, ids):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    special = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
    backend = Tokenizer(models.WordLevel(special | ids, unk_token="[UNK]"))
    names = {f"{t[1:-1].lower()}_token": t for t in special}
    PreTrainedTokenizerFast(tokenizer_object=backend, **names).save_pretrained(tmp_path)
    with pytest.raises(SourceError, match=r"7 tokens with ids up to .* without gaps"):
        load_tokenizer(tmp_path)


def test_a_split_without_a_block_is_refused_before_anything_is_written(
    tmp_path, empty_cache, tokenizer_dir
):
    from predrecon import recipes
    from predrecon.training.loop import pretrain

    for n, name in enumerate(("train", "validation")):
        for part in ("train", "validation"):
            texts = ["One two."] if part == name else TEXTS
            write_jsonl(tmp_path / str(n) / f"{part}.jsonl", texts)
        corpus = load_corpus(tmp_path / str(n), tokenizer=tokenizer_dir)
        with pytest.raises(ValueError, match=rf"{name}: .* do not fill one block"):
            pretrain(recipes.get("smoke"), corpus, tmp_path / "run")
        assert not (tmp_path / "run").exists()


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
    (root / "lfs.parquet").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d\n")
    (root / "annex.txt").write_text("/annex/objects/SHA256E-s4--00.txt\n")
    (root / "link.txt").symlink_to(root / "gone" / "object")
    os.mkfifo(root / "pipe.txt")
    (root / "packed.txt.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    (root / "packed.parquet.gz").write_bytes(gzip.compress(b"PAR1"))
    (root / "plain.txt.gz").write_text("not compressed")
    (root / "zeros.txt").write_bytes("One.\n\nTwo.".encode("utf-16-le"))
    (root / "mixed.txt").write_bytes(b"One.\n\n" * 9999 + "Two.".encode("utf-16-le"))
    (root / "odd.txt").write_bytes(codecs.BOM_UTF16_LE + "One.\n\nTwo.".encode("utf-16-le")[:-1])
    (root / "deep.jsonl").write_text('{"text": ' + "[" * 100_000 + "\n")
    (root / "digits.jsonl").write_text('{"text": ' + "1" * 5000 + "}\n")
    write_parquet(root / "list.parquet", [["a"], ["b"]])
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
        ("lfs.parquet", "a pointer of a large-file store"),
        ("annex.txt", "a pointer of a large-file store"),
        ("link.txt", "gone/object, which is not there"),
        ("pipe.txt", "not a regular file"),
        ("packed.txt.zst", ".zst is not read here"),
        ("packed.parquet.gz", ".gz is not read here"),
        ("plain.txt.gz", "damaged or cut off"),
        ("zeros.txt", "line 1: a zero byte"),
        ("mixed.txt", "line 19999: a zero byte"),
        ("odd.txt", "is not valid UTF-16"),
        ("deep.jsonl", "line 1: not JSON"),
        ("digits.jsonl", "line 1: not JSON"),
        ("list.parquet", "column 'text' holds ['a'] in row 0, not text"),
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
