"""Tokenising: streams, survives interruptions, and is the same whatever happened on the way."""

import json
import threading

import numpy as np
import pytest

from predrecon.data import token_store
from predrecon.data.corpus import load_tokenizer
from predrecon.data.readers import SourceError

TEXTS = {
    "train": [
        f"Document {n} says [SEP] and ends with naïve words. " * (n % 7 + 1) for n in range(60)
    ],
    "validation": ["A held-out text.", "And another one, longer than the first."],
}


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer()


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(token_store, "_SHARD", 900)
    monkeypatch.setattr(token_store, "_BATCH", 250)


def build(folder, tokenizer, read=TEXTS.get):
    token_store.build(folder, "texts", read, tokenizer)
    return {split: np.fromfile(folder / f"{split}.bin", np.uint16) for split in TEXTS}


def test_the_stream_is_every_document_and_its_end(tmp_path, tokenizer):
    streams = build(tmp_path / "store", tokenizer)
    for split, texts in TEXTS.items():
        expected = []
        for text in texts:
            expected += [
                *tokenizer(text, add_special_tokens=False)["input_ids"],
                tokenizer.sep_token_id,
            ]
        assert streams[split].tolist() == expected
    facts = json.loads((tmp_path / "store" / "facts.json").read_text())
    assert facts["train"]["documents"] == 60
    assert facts["train"]["tokens"] == len(streams["train"])
    assert facts["train"]["characters"] == sum(map(len, TEXTS["train"]))
    assert (streams["train"] == tokenizer.sep_token_id).sum() == 60, "[SEP] in a text is text"


@pytest.mark.parametrize("stop", [0, 1, 7, 30, 59])
def test_an_interrupted_build_keeps_finished_shards_and_no_others(
    tmp_path, tokenizer, monkeypatch, stop
):
    complete = build(tmp_path / "complete", tokenizer)
    written = []
    plain = token_store._write_shard
    monkeypatch.setattr(
        token_store, "_write_shard", lambda *a: written.append(a[0].name) or plain(*a)
    )

    def read(split):
        for number, text in enumerate(TEXTS[split]):
            if split == "train" and number == stop:
                raise KeyboardInterrupt
            yield text

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "store", tokenizer, read)
    assert not (tmp_path / "store").exists()
    before = list(written)
    again = build(tmp_path / "store", tokenizer)
    assert not set(before) & set(written[len(before) :]), "finished shards are not written again"
    for split in TEXTS:
        assert np.array_equal(again[split], complete[split])
    assert not list(tmp_path.glob(".shards-store*"))


def test_a_shard_that_was_not_finished_is_written_again(tmp_path, tokenizer, monkeypatch):
    complete = build(tmp_path / "complete", tokenizer)
    shards = tmp_path / ".shards-store"
    shards.mkdir()
    (shards / "train-000000.part").write_bytes(b"\x01\x02")
    (shards / "train-000001.part").write_bytes(b"\x01")
    assert np.array_equal(build(tmp_path / "store", tokenizer)["train"], complete["train"])


def test_unreadable_text_leaves_nothing(tmp_path, tokenizer):
    def read(split):
        yield from TEXTS[split][:40]
        raise SourceError("line 41: not UTF-8")

    with pytest.raises(SourceError, match="line 41"):
        build(tmp_path / "store", tokenizer, read)
    assert [p.name for p in tmp_path.iterdir()] == [".store.lock"]
    with pytest.raises(SourceError, match="no document for the validation split"):
        build(tmp_path / "store", tokenizer, lambda split: TEXTS[split] * (split == "train"))


def test_two_builds_at_once_do_not_harm_each_other(tmp_path, tokenizer):
    complete = build(tmp_path / "complete", tokenizer)
    at_once = [threading.Thread(target=build, args=(tmp_path / "store", tokenizer)) for _ in "ab"]
    for thread in at_once:
        thread.start()
    for thread in at_once:
        thread.join()
    stream = np.fromfile(tmp_path / "store" / "train.bin", np.uint16)
    assert np.array_equal(stream, complete["train"])
