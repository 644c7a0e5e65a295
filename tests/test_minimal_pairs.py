"""BLiMP: its rows, pseudo-log-likelihood against a plain loop, accuracy with ties and intervals."""

import json

import numpy as np
import pytest
import torch
import transformers

from predrecon.audit import cache, minimal_pairs
from predrecon.audit.minimal_pairs import (
    LEVELS,
    MaskedModel,
    measure_minimal_pairs,
    pair_scores,
    pseudo_log_likelihoods,
    wilson_interval,
)
from predrecon.data import hub
from predrecon.data.minimal_pairs import MinimalPairs, load_blimp
from predrecon.data.readers import SourceError
from predrecon.model import PredictReconstruct, PredictReconstructConfig
from predrecon.pooling import token_ids

SIZES = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
TEXTS = ["the cat sleeps", "the cat sleep", "a list of names holds one name", "return"]


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(cache.paths, "cache_dir", lambda **_: tmp_path)
    return tmp_path / "results"


def row(number, uid="agreement", term="agreement", field="syntax", **changes):
    texts = dict(sentence_good=f"the cat sleeps {number}", sentence_bad=f"the cat sleep {number}")
    return texts | dict(UID=uid, linguistics_term=term, field=field) | changes


def write(root, rows):
    (root / "blimp").mkdir()
    lines = "\n".join(json.dumps(row) for row in rows)
    (root / "blimp" / "train.jsonl").write_text(lines, encoding="utf-8")


def test_rows_are_read_and_cut_by_paradigm(tmp_path):
    write(tmp_path, [row(i, uid) for i in range(4) for uid in ("one", "two")])
    pairs = load_blimp(tmp_path, max_pairs=3)
    assert len(pairs) == 6 and pairs.uid.tolist() == ["one", "two"] * 3
    assert pairs.good[2] == "the cat sleeps 1" and pairs.bad[2] == "the cat sleep 1"
    assert pairs.title == "BLiMP (stand-in)"
    assert pairs.note == (
        "stand-in: 8 pairs of 2 paradigms instead of 67,000 of 67; "
        "the first 3 pairs of each paradigm"
    )
    assert len(load_blimp(tmp_path)) == 8


def test_equal_sentences_are_ties_and_said(tmp_path):
    write(tmp_path, [row(0), row(1, sentence_bad="the cat sleeps 1")])
    pairs = load_blimp(tmp_path)
    assert len(pairs) == 2
    assert pairs.note.endswith("pairs of two equal sentences, hence ties: 1")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(sentence_good=" "), "column 'sentence_good' holds no text in row 1"),
        (dict(field="semantics"), "agreement of semantics in row 1, and agreement of syntax"),
        (dict(UID=None), "'UID' has no value in row 1"),
    ],
)
def test_bad_rows_are_named(tmp_path, changes, message):
    write(tmp_path, [row(0), row(1) | changes])
    with pytest.raises(SourceError, match=message):
        load_blimp(tmp_path)


def test_bad_places_are_named(tmp_path):
    with pytest.raises(SourceError, match="nyu-mll/blimp"):
        load_blimp(tmp_path)
    (tmp_path / "blimp").mkdir()
    with pytest.raises(SourceError, match=r"no train.parquet \(or .jsonl\)"):
        load_blimp(tmp_path)
    with pytest.raises(ValueError, match="max_pairs=0"):
        load_blimp(tmp_path, max_pairs=0)


def test_the_hub_has_one_configuration_a_paradigm(tmp_path, monkeypatch):
    import datasets

    def split(repository, name, part, **_):
        rows = [row(i, name) for i in range(2)]
        return hub.HubSplit(f"{repository} {name} {part}", datasets.Dataset.from_list(rows))

    monkeypatch.setattr(hub, "configurations", lambda *_, **__: ["one", "two"])
    monkeypatch.setattr(hub, "load_split", split)
    assert load_blimp(tmp_path).uid.tolist() == ["one", "one", "two", "two"]


def ours(corpus, architecture="published"):
    torch.manual_seed(0)
    sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4)
    config = PredictReconstructConfig(
        vocab_size=len(corpus.tokenizer), architecture=architecture, **sizes
    )
    return MaskedModel("tiny", PredictReconstruct(config).eval(), corpus.tokenizer)


def theirs(corpus, kind):
    torch.manual_seed(0)
    sizes = SIZES | dict(dim=32, n_layers=2, n_heads=4, hidden_dim=48, embedding_size=32)
    config = transformers.AutoConfig.for_model(
        kind, vocab_size=len(corpus.tokenizer), pad_token_id=0, **sizes
    )
    model = transformers.AutoModelForMaskedLM.from_config(config).eval()
    return MaskedModel(kind, model, corpus.tokenizer)


def plain_loop(full_logits, ids, mask_id):
    """One text and one masked token at a time, without padding; logits of all positions."""
    totals = []
    for text in ids:
        total = 0.0
        for position in range(1, len(text) - 1):
            masked = torch.tensor([text])
            masked[0, position] = mask_id
            with torch.no_grad():
                logits = full_logits(masked)
            total += logits[0, position].log_softmax(-1)[text[position]].item()
        totals.append(total)
    return totals


@pytest.mark.parametrize("architecture", ["published", "modern"])
def test_pseudo_log_likelihood_of_a_run_against_a_loop(corpus, architecture):
    model = ours(corpus, architecture)
    ids = token_ids(corpus.tokenizer, TEXTS, None, 64)
    net, mask_id = model.model, corpus.tokenizer.mask_token_id
    expected = plain_loop(lambda x: net.logits(net.encoder.encode(x)), ids, mask_id)
    for batch_tokens in (1, 40, 8192):
        values = pseudo_log_likelihoods(model.logits, ids, mask_id, batch_tokens=batch_tokens)
        assert values == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    "kind", ["bert", "roberta", "distilbert", "mpnet", "deberta-v2", "electra", "modernbert"]
)
def test_pseudo_log_likelihood_of_any_masked_lm_against_a_loop(corpus, kind):
    model = theirs(corpus, kind)
    ids = token_ids(corpus.tokenizer, TEXTS, None, 64)
    mask_id = corpus.tokenizer.mask_token_id
    expected = plain_loop(lambda x: model.model(x).logits, ids, mask_id)
    values = pseudo_log_likelihoods(model.logits, ids, mask_id)
    assert values == pytest.approx(expected, abs=1e-4)
    with torch.no_grad():
        assert model.model(torch.tensor([[2, 5, 6, 3]])).logits.shape[1] == 4, "no hook is left"


def test_a_callable_is_enough_and_ties_are_exact():
    def logits(input_ids, attention_mask, positions):
        return torch.arange(12.0).expand(len(positions), 12)

    values = pseudo_log_likelihoods(logits, [[1, 5, 2], [1, 6, 5, 2], [1, 5, 2]], 3)
    assert values[0] == values[2]
    assert values[1] - values[0] == pytest.approx(torch.arange(12.0).log_softmax(0)[6].item())


@pytest.mark.parametrize(
    ("logits", "ids", "message"),
    [
        (lambda x, m, p: torch.zeros(len(p), 9), [[1, 2]], r"Ids \[1, 2\]: no token between"),
        (lambda x, m, p: torch.zeros(1, 2, 9), [[1, 5, 2]], r"logits of shape \(1, 2, 9\)"),
        (lambda x, m, p: torch.zeros(len(p), 4), [[1, 5, 2]], "Token 5 with logits for 4 tokens"),
        (lambda x, m, p: torch.zeros(len(p), 9) * np.nan, [[1, 5, 2]], "NaN or infinite"),
    ],
)
def test_bad_logits_and_ids_are_named(logits, ids, message):
    with pytest.raises(ValueError, match=message):
        pseudo_log_likelihoods(logits, ids, 3)


def pairs_of(*sentences, title="BLiMP (stand-in)"):
    good, bad = (list(side) for side in zip(*sentences, strict=True))
    names = np.array(["one", "two"])[np.arange(len(good)) % 2]
    return MinimalPairs(title, good, bad, names, names, np.full(len(good), "syntax"), "a note")


def test_accuracy_by_group_with_ties_counted_half(corpus, results, monkeypatch):
    unknown = "\U0001f600", "\U0001f601"  # both [UNK], hence a tie
    pairs = pairs_of(("a cat sleeps", "a cat sleep"), unknown, ("the name", "name the"), unknown)
    model = ours(corpus)
    scores = pair_scores(model, pairs)
    values = pseudo_log_likelihoods(
        model.logits,
        token_ids(corpus.tokenizer, [*pairs.good, *pairs.bad], None, 64),
        corpus.tokenizer.mask_token_id,
    ).reshape(2, -1)
    assert scores[[1, 3]].tolist() == [0.5, 0.5]
    assert scores[[0, 2]].tolist() == (values[0] > values[1])[[0, 2]].astype(float).tolist()
    monkeypatch.setattr(minimal_pairs, "token_ids", lambda *_: pytest.fail("computed again"))
    table = measure_minimal_pairs([model], pairs)
    assert len(list(results.iterdir())) == 1
    assert table["level"].unique().tolist() == list(LEVELS)
    overall = table.iloc[0]
    assert overall["value"] == scores.mean() and overall["n"] == 4
    by_uid = table[table["level"] == "UID"].set_index("group")
    assert by_uid.loc["two", "value"] == 0.5 and by_uid.loc["two", "n"] == 2
    assert (table["low"] >= 0).all() and (table["high"] <= 1).all()
    assert set(table["note"]) == {"a note"}


def test_wilson_interval_against_scipy():
    from scipy.stats import binomtest

    for right, n in ((0, 20), (13, 20), (50, 50)):
        expected = binomtest(right, n).proportion_ci(method="wilson")
        interval = wilson_interval([1] * right + [0] * (n - right))
        assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    with pytest.raises(ValueError, match="0 scores"):
        wilson_interval([])


def test_bad_models_are_named(corpus):
    model = ours(corpus)
    long = pairs_of(("name " * 600, "one " * 600))
    with pytest.raises(ValueError, match="tiny: a sentence of 602 tokens, the model reads"):
        measure_minimal_pairs([model], long)
    with pytest.raises(ValueError, match="No model"):
        measure_minimal_pairs([], long)
    bert = transformers.BertModel(transformers.BertConfig(vocab_size=50, **SIZES)).eval()
    with pytest.raises(ValueError, match="BertModel has no MLM head"):
        MaskedModel("bare", bert, corpus.tokenizer)
    with pytest.raises(ValueError, match="in training mode"):
        MaskedModel("tiny", model.model.train(), corpus.tokenizer)
