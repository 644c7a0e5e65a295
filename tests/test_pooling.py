import copy

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel
from transformers.modeling_outputs import BaseModelOutput

from predrecon.audit.cache import encoder_digest
from predrecon.pooling import (
    PADDINGS,
    POOLINGS,
    attention_direction,
    embed,
    longest_input,
    pool,
    token_ids,
)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(5, 9, 6, generator=generator, dtype=torch.float64)
    mask = torch.zeros(5, 9, dtype=torch.long)
    for i, n in enumerate((9, 1, 4, 7, 2)):
        mask[i, :n] = 1
    return hidden, mask


def by_loop(hidden, mask, how, weight=None):
    rows = []
    for vectors, real in zip(hidden, mask, strict=True):
        kept = [v for v, m in zip(vectors, real, strict=True) if m]
        if how == "max":
            rows.append(torch.stack([max(v[d] for v in kept) for d in range(len(kept[0]))]))
            continue
        directions = {"mean": torch.zeros(6), "weighted": weight}
        direction = (directions | {"attention": attention_direction(6, 0)})[how]
        scores = [torch.exp(v @ direction.double()) for v in kept]
        rows.append(sum(s * v for s, v in zip(scores, kept, strict=True)) / sum(scores))
    return torch.stack(rows)


@pytest.mark.parametrize("how", POOLINGS)
def test_pooling_against_a_loop(batch, how):
    weight = (
        torch.randn(6, generator=torch.Generator().manual_seed(1)) if how == "weighted" else None
    )
    assert torch.allclose(pool(*batch, how, direction=weight), by_loop(*batch, how, weight))


@pytest.mark.parametrize("how", POOLINGS)
def test_padding_has_no_part(batch, how):
    hidden, mask = batch
    spoiled = hidden.masked_fill(mask[..., None] == 0, float("nan"))
    assert torch.equal(pool(spoiled, mask, how), pool(hidden, mask, how))


def test_weighted_pooling_as_published_is_mean_pooling(batch):
    assert torch.equal(pool(*batch, "weighted"), pool(*batch, "mean"))


def test_attention_is_seeded(batch):
    assert torch.equal(pool(*batch, "attention"), pool(*batch, "attention"))
    assert not torch.allclose(pool(*batch, "attention"), pool(*batch, "attention", seed=1))


def test_bad_input_is_named(batch):
    hidden, mask = batch
    with pytest.raises(ValueError, match="mean, max, weighted, attention"):
        pool(hidden, mask, "median")
    with pytest.raises(ValueError, match=r"expected \[B, L, D\]"):
        pool(hidden, mask[:, :3], "mean")
    with pytest.raises(ValueError, match="without a real token"):
        pool(hidden, torch.zeros_like(mask), "mean")


def test_embed_keeps_the_order_whatever_the_batches(corpus, smoke_runs):
    encoder, tokenizer = smoke_runs["hybrid"].encoder(), corpus.tokenizer
    texts = [f"word {'and more ' * (i * 7 % 13)}" for i in range(20)]
    together = embed(encoder, tokenizer, texts, batch_tokens=60)
    for i in (0, 3, 19):
        alone = embed(encoder, tokenizer, texts[i : i + 1])
        for how in POOLINGS:
            np.testing.assert_allclose(together[how][i], alone[how][0], atol=1e-5)


def test_padding_attended_to_is_a_pass_of_full_length_without_a_mask(corpus, smoke_runs):
    """As the public code: the encoder sees padding, pooling does not, batches change nothing."""
    encoder, tokenizer = smoke_runs["hybrid"].encoder(), corpus.tokenizer
    texts = [f"word {'and more ' * (i * 7 % 13)}" for i in range(20)]
    longest = encoder.config.max_position_embeddings
    assert longest < 128, "an encoder built for fewer tokens than are read"
    attended = embed(encoder, tokenizer, texts, padding="attended")
    ids = token_ids(tokenizer, texts, None, longest)
    for i, text in enumerate(ids):
        padded = torch.tensor([text + [tokenizer.pad_token_id] * (longest - len(text))])
        with torch.inference_mode():
            hidden = encoder.encode(padded)[:, : len(text)]
        for how in POOLINGS:
            expected = pool(hidden, torch.ones(1, len(text)), how)[0]
            np.testing.assert_allclose(attended[how][i], expected, atol=1e-5)
    for batch_tokens in (1, 3 * longest):
        again = embed(encoder, tokenizer, texts, padding="attended", batch_tokens=batch_tokens)
        np.testing.assert_allclose(again["mean"], attended["mean"], atol=1e-6)
    ignored = embed(encoder, tokenizer, texts)["mean"]
    assert np.abs(ignored - attended["mean"]).max() > 1e-3
    full = ["many words " * 50]
    ignored, attended = (
        embed(encoder, tokenizer, full, padding=padding)["mean"] for padding in PADDINGS
    )
    np.testing.assert_allclose(ignored, attended, atol=1e-6)
    with pytest.raises(ValueError, match="padding='masked': expected one of ignored, attended"):
        embed(encoder, tokenizer, texts, padding="masked")


def test_pairs_are_one_sequence(corpus):
    tokenizer = corpus.tokenizer
    (ids,) = token_ids(tokenizer, ["one two"], ["three"], 48)
    assert tokenizer.convert_ids_to_tokens(ids)[0] == "[CLS]"
    assert ids.count(tokenizer.sep_token_id) == 2 and ids[-1] == tokenizer.sep_token_id
    (cut,) = token_ids(tokenizer, ["many words " * 50], None, 48)
    assert len(cut) == 48 and cut[-1] == tokenizer.sep_token_id
    with pytest.raises(ValueError, match="as many in both"):
        token_ids(tokenizer, ["a"], ["b", "c"], 48)


class Words:
    """A tokenizer of one id a word, and an encoder of one dimension that notes its batches."""

    cls_token_id, sep_token_id, pad_token_id, training = 1, 2, 0, False
    config = type("Config", (), {"max_position_embeddings": 128})

    def __init__(self):
        self.shapes = []

    def __call__(self, texts=None, input_ids=None, attention_mask=None, **_):
        if texts is not None:
            return {"input_ids": [[5] * len(text.split()) for text in texts]}
        self.shapes.append(tuple(input_ids.shape))
        return BaseModelOutput(last_hidden_state=input_ids[..., None].float())

    def named_modules(self):
        return ()

    def parameters(self):
        yield torch.zeros(1)


@pytest.mark.parametrize(
    "words",
    [[3] * 2000 + [126] * 50, [126] * 50 + [3] * 2000, [1], list(range(1, 126))],
    ids=["long texts last", "long texts first", "one text", "every length"],
)
def test_a_batch_is_no_larger_than_promised_wherever_long_texts_begin(words):
    """Many short texts, then long ones: the batch that reaches the long ones is as wide as they."""
    model = Words()
    texts = ["word " * count for count in words]
    vectors = embed(model, model, texts, poolings=("mean",), batch_tokens=8192)["mean"]
    assert sum(rows for rows, _ in model.shapes) == len(words)
    assert all(rows == 1 or rows * width <= 8192 for rows, width in model.shapes)
    tokens = sum(words) + 2 * len(words)
    assert len(model.shapes) <= 2 * tokens / 8192 + 2, "and none is needlessly small"
    expected = [(1 + 5 * count + 2) / (count + 2) for count in words]
    assert vectors[:, 0] == pytest.approx(expected, rel=1e-5), "in the order given"


TEXTS = ["A word.", "Many more words stand in this longer text, and then some."]


@pytest.fixture
def tokenizer(corpus):
    """A tokenizer whose settings a test may change."""
    return copy.deepcopy(corpus.tokenizer)


def tiny(kind, config, **options):
    """An encoder from elsewhere."""
    sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    torch.manual_seed(0)
    return kind(config(vocab_size=8192, **sizes, **options)).eval()


@pytest.mark.parametrize("foreign", [False, True], ids=["ours", "BERT"])
@pytest.mark.parametrize("told", ["padding on the left", "no padding token"])
def test_vectors_depend_neither_on_the_padding_side_nor_on_neighbours(
    smoke_runs, tokenizer, foreign, told
):
    encoder = tiny(BertModel, BertConfig) if foreign else smoke_runs["hybrid"].encoder()
    expected = [embed(encoder, tokenizer, [text])["mean"][0] for text in TEXTS]
    if told == "no padding token":
        tokenizer.pad_token = None
        with pytest.raises(ValueError, match="no padding to attend to"):
            embed(encoder, tokenizer, TEXTS, padding="attended")
    else:
        padded = embed(encoder, tokenizer, TEXTS, padding="attended")["mean"]
        tokenizer.padding_side = "left"
        again = embed(encoder, tokenizer, TEXTS, padding="attended")["mean"]
        np.testing.assert_array_equal(again, padded)
    np.testing.assert_allclose(embed(encoder, tokenizer, TEXTS)["mean"], expected, atol=1e-5)


def test_a_string_is_one_text(smoke_runs, tokenizer):
    encoder = smoke_runs["mlm"].encoder()
    expected = embed(encoder, tokenizer, TEXTS[:1])["max"]
    for one in (TEXTS[0], np.array(TEXTS)[0], tuple(TEXTS[:1]), iter(TEXTS[:1])):
        np.testing.assert_array_equal(embed(encoder, tokenizer, one)["max"], expected)
    pair = embed(encoder, tokenizer, *TEXTS)["max"]
    np.testing.assert_array_equal(pair, embed(encoder, tokenizer, *([t] for t in TEXTS))["max"])
    assert token_ids(tokenizer, TEXTS[0], None, 48) == token_ids(tokenizer, TEXTS[:1], None, 48)
    for wrong in (["A text.", None], ["A text.", float("nan")], [b"A text."], [["A", "text."]]):
        with pytest.raises(ValueError, match=rf"Text {len(wrong) - 1} is .*: expected a string"):
            embed(encoder, tokenizer, wrong)
    for nothing in ([], None):
        with pytest.raises(ValueError, match="at least one"):
            embed(encoder, tokenizer, nothing)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("foreign", [False, True], ids=["ours", "BERT"])
def test_half_precision_is_measured_within_its_rounding(smoke_runs, tokenizer, dtype, foreign):
    encoder = tiny(BertModel, BertConfig) if foreign else smoke_runs["hybrid"].encoder()
    whole, digest = embed(encoder, tokenizer, TEXTS), encoder_digest(encoder)
    half = encoder.to(dtype)
    vectors = embed(half, tokenizer, TEXTS)
    rounding = 16 * torch.finfo(dtype).eps
    for how in POOLINGS:
        scale = np.abs(whole[how]).max()
        assert vectors[how].dtype == np.float32 and np.isfinite(vectors[how]).all()
        np.testing.assert_allclose(vectors[how], whole[how], rtol=0, atol=rounding * scale)
        alone = embed(half, tokenizer, TEXTS[0])[how]
        np.testing.assert_allclose(vectors[how][:1], alone, rtol=0, atol=rounding * scale)
    assert encoder_digest(half) not in (digest, encoder_digest(half.to(torch.float32)))


def test_halves_are_pooled_in_float32(batch):
    hidden, mask = batch
    for dtype in (torch.bfloat16, torch.float16):
        half = hidden.to(dtype)
        for how in POOLINGS:
            assert torch.equal(pool(half, mask, how), pool(half.float(), mask, how))
    assert pool(hidden, mask, "mean").dtype == torch.float64


def test_texts_are_cut_to_what_an_encoder_takes(smoke_runs, tokenizer):
    long = "many words " * 500
    positions = dict(max_position_embeddings=66, pad_token_id=1)
    roberta = tiny(RobertaModel, RobertaConfig, **positions)
    assert longest_input(roberta) == 64, "two positions are reserved"
    bert = tiny(BertModel, BertConfig, max_position_embeddings=66)
    assert longest_input(bert) == 66
    assert longest_input(smoke_runs["mlm"].encoder()) == 48
    for encoder in (roberta, bert, smoke_runs["mlm"].encoder()):
        vectors = embed(encoder, tokenizer, [long, "A word."], max_length=10**6)["mean"]
        cut = embed(encoder, tokenizer, long, max_length=longest_input(encoder))["mean"]
        np.testing.assert_allclose(vectors[:1], cut, atol=1e-5)
    with pytest.raises(ValueError, match="room for 2 special tokens"):
        embed(bert, tokenizer, long, max_length=1)


def test_what_would_be_random_or_without_its_tokens_is_refused(smoke_runs, tokenizer):
    encoder = smoke_runs["mlm"].encoder()
    with pytest.raises(ValueError, match=r"training mode.*eval"):
        embed(encoder.train(), tokenizer, TEXTS)
    tokenizer.sep_token = None
    with pytest.raises(ValueError, match=r"\[SEP\] is None"):
        embed(encoder.eval(), tokenizer, TEXTS)


def test_special_tokens_in_a_text_are_text_whatever_the_tokenizer_says(tokenizer):
    texts = ["a [SEP] b", "[MASK] c", "[CLS][PAD]"]
    expected = token_ids(tokenizer, texts, None, 48)
    tokenizer.split_special_tokens = False
    assert token_ids(tokenizer, texts, None, 48) == expected
    assert [ids.count(tokenizer.sep_token_id) for ids in expected] == [1, 1, 1]
    assert not any(tokenizer.mask_token_id in ids for ids in expected)
