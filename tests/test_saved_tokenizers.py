"""A run's folder gives the numbers that are shown, with transformers alone."""

import copy

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import RobertaProcessing
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerFast

from predrecon import recipes
from predrecon.data import embedded_text
from predrecon.data.corpus import Corpus, load_corpus, load_tokenizer, save_tokenizer
from predrecon.data.readers import SourceError
from predrecon.pooling import embed, token_ids
from predrecon.training.loop import pretrain

TEXTS = ["A word.", "a [SEP] b", "Twelve more words [MASK] stand here: " * 20, ""]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[", "]", "sep", "a", "b", "word", "."]


def opened(folder):
    return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)


def words_tokenizer(processor=None, words=WORDS, **tokens):
    """A tokenizer from elsewhere: one id a word, and no [CLS] and [SEP] unless it is told."""
    vocabulary = {word: number for number, word in enumerate(words)}
    backend = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = Lowercase(), BertPreTokenizer()
    if processor:
        backend.post_processor = processor
    roles = {f"{w[1:-1].lower()}_token": w for w in words if w[0] == "[" and len(w) > 1} | tokens
    return PreTrainedTokenizerFast(tokenizer_object=backend, **roles)


def test_texts_are_cut_to_what_the_encoder_takes(smoke_runs):
    for run in smoke_runs.values():
        tokenizer, encoder = opened(run.folder)
        batch = tokenizer("word " * 600, truncation=True, return_tensors="pt")
        assert tokenizer.model_max_length == encoder.config.max_position_embeddings == 48
        assert batch["input_ids"].shape == (1, 48)
        assert encoder(**batch).last_hidden_state.isfinite().all()


@pytest.mark.parametrize("text", ["a [SEP] b", "[CLS] [MASK]", "x[PAD]y", "A [UNK]."])
def test_special_tokens_in_a_text_are_read_alike(smoke_runs, corpus, text):
    tokenizer, _ = opened(smoke_runs["hybrid"].folder)
    ids = tokenizer(text)["input_ids"]
    assert ids == corpus.tokenizer(text)["input_ids"] == token_ids(tokenizer, text, None, 99)[0]
    assert [i for i in ids if i in tokenizer.all_special_ids] == [ids[0], ids[-1]]


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_folder_alone_gives_the_vectors(smoke_runs, corpus, tmp_path, side):
    told = copy.deepcopy(corpus.tokenizer)
    told.padding_side, told.truncation_side, told.model_max_length = side, "left", 7
    told("a", padding="max_length", truncation=True, max_length=5)  # calls leave traces
    save_tokenizer(told, tmp_path, 48)
    assert told.model_max_length == 7, "the one at hand stays as it was"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.padding_side == side
    encoder = AutoModel.from_pretrained(smoke_runs["hybrid"].folder)
    batch = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        hidden = encoder(batch["input_ids"], batch["attention_mask"]).last_hidden_state
    mask = batch["attention_mask"][..., None]
    means = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
    expected = embed(encoder, corpus.tokenizer, TEXTS)["mean"]
    np.testing.assert_allclose(means, expected, atol=1e-5)
    pairs = tokenizer(TEXTS[:2], ["b", TEXTS[2]], truncation="only_second")["input_ids"]
    assert pairs == token_ids(corpus.tokenizer, TEXTS[:2], ["b", TEXTS[2]], 48)


@pytest.mark.parametrize(
    "processor", [None, RobertaProcessing(("[SEP]", 3), ("[CLS]", 2))], ids=["none", "RoBERTa's"]
)
def test_cls_and_sep_stand_where_they_are_measured(tmp_path, processor):
    foreign = words_tokenizer(processor)
    foreign.save_pretrained(tmp_path / "theirs")
    tokenizer = load_tokenizer(tmp_path / "theirs")
    save_tokenizer(tokenizer, tmp_path / "run", 16)
    opened = AutoTokenizer.from_pretrained(tmp_path / "run")
    assert opened("a word [SEP]")["input_ids"] == [2, 8, 10, 5, 7, 6, 3]
    assert opened("a", "b")["input_ids"] == [2, 8, 3, 9, 3]
    assert opened("a", "b")["input_ids"] == token_ids(tokenizer, "a", "b", 16)[0]
    again = load_tokenizer(tmp_path / "run")
    save_tokenizer(again, tmp_path / "copy", 16)
    texts = [(tmp_path / d / "tokenizer.json").read_text() for d in ("run", "copy")]
    assert texts[0] == texts[1]


def test_a_runs_own_tokenizer_is_the_one_it_was_trained_with(smoke_runs, corpus):
    folder = smoke_runs["mlm"].folder
    assert load_corpus(tokenizer=folder).fingerprint == corpus.fingerprint


@pytest.mark.parametrize(
    ("tokens", "words", "message"),
    [
        ({"pad_token": "[SEP]"}, WORDS, "pads with its sep_token"),
        ({"pad_token": "[MASK]"}, WORDS, "pads with its mask_token"),
        ({}, WORDS[1:], "no pad_token_id"),
        ({}, [*WORDS, *["word"] * 5, "last"], "with ids up to 17"),
    ],
)
def test_tokenizers_that_would_train_something_else_are_refused(tmp_path, tokens, words, message):
    words_tokenizer(None, words, **tokens).save_pretrained(tmp_path)
    with pytest.raises(SourceError, match=message):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", ["", "{}", '{"version": "1.0"', "not json"])
def test_a_damaged_tokenizer_is_named(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(SourceError, match=rf"{tmp_path.name}: transformers cannot read"):
        load_tokenizer(tmp_path)


def test_a_corpus_with_a_tokenizer_told_otherwise_trains_and_opens(corpus, tmp_path):
    """As in an interactive session: changed settings are saved in the run's folder."""
    told = copy.deepcopy(corpus.tokenizer)
    told.padding_side = "left"
    corpus = Corpus(corpus.name, told, corpus.folder, corpus.facts, corpus.fingerprint)
    recipe = recipes.get("smoke", arm="mlm", max_steps=2, validation_blocks=4)
    run = pretrain(recipe, corpus, tmp_path / "run", seed=0)
    tokenizer, encoder = opened(run.folder)
    assert (tokenizer.padding_side, tokenizer.model_max_length) == ("left", 48)
    expected = embed(run.encoder(), load_tokenizer(embedded_text.tokenizer_folder()), TEXTS)["max"]
    np.testing.assert_allclose(embed(encoder, tokenizer, TEXTS)["max"], expected, atol=1e-5)
