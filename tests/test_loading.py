"""Any encoder in: opened as what it is, read and pooled as it was made to be."""

import json
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers as t
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from predrecon import load_encoder
from predrecon.audit.cache import encoder_digest
from predrecon.audit.released import load_released
from predrecon.data.readers import SourceError
from predrecon.pooling import MAX_LENGTH

WORDS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"the a cat dog sat on mat b c d e f g".split()]
TEXTS = ["the cat sat", "a dog", "the cat sat on the mat b c d e f g"]
SMALL = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
KINDS = {
    "bert": t.BertConfig(vocab_size=40, max_position_embeddings=12, **SMALL),
    "roberta": t.RobertaConfig(vocab_size=40, max_position_embeddings=14, pad_token_id=1, **SMALL),
    "distilbert": t.DistilBertConfig(
        vocab_size=40, max_position_embeddings=12, dim=32, n_layers=2, n_heads=2, hidden_dim=64
    ),
    "mpnet": t.MPNetConfig(vocab_size=40, max_position_embeddings=14, pad_token_id=1, **SMALL),
    "deberta": t.DebertaV2Config(vocab_size=40, max_position_embeddings=12, **SMALL),
    "electra": t.ElectraConfig(
        vocab_size=40, max_position_embeddings=12, embedding_size=16, **SMALL
    ),
    "modernbert": t.ModernBertConfig(
        vocab_size=40, max_position_embeddings=12, pad_token_id=1, bos_token_id=0, eos_token_id=2,
        cls_token_id=0, sep_token_id=2, **SMALL
    ),
    "gpt2": t.GPT2Config(vocab_size=40, n_positions=12, n_embd=32, n_layer=2, n_head=2),
}  # fmt: skip


def words_tokenizer(kind):
    """One id a word; special tokens as BERT, RoBERTa (a doubled separator) or GPT-2 (none) have."""
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    if kind == "gpt2":
        return t.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")
    if kind in ("roberta", "mpnet"):
        backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    else:
        backend.post_processor = processors.BertProcessing(("</s>", 2), ("<s>", 0))
    tokens = dict(cls_token="<s>", sep_token="</s>", pad_token="<pad>", mask_token="<mask>")
    return t.PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", **tokens)


def saved(folder, kind="bert", dtype=torch.float32):
    torch.manual_seed(0)
    t.AutoModel.from_config(KINDS[kind]).to(dtype).save_pretrained(folder)
    words_tokenizer(kind).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_those_of_transformers_on_either_padding_side(tmp_path, kind):
    """Against a batch that transformers' own tokenizer pads and cuts."""
    model = load_encoder(saved(tmp_path / kind, kind))
    assert (model.name, model.max_length) == (kind, 12)
    tokenizer, encoder = words_tokenizer(kind), t.AutoModel.from_pretrained(tmp_path / kind).eval()
    tokenizer.pad_token = tokenizer.pad_token or "</s>"
    vectors = model.embed(TEXTS, poolings=("mean", "max"))
    for side in ("right", "left"):
        tokenizer.padding_side = side
        options = dict(padding=True, truncation=True, max_length=12, return_tensors="pt")
        batch = tokenizer(TEXTS, **options)
        inputs = dict(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        mask = batch["attention_mask"][..., None].bool()
        if kind == "gpt2":  # as its own generation does
            inputs["position_ids"] = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
        elif side == "left" and kind != "roberta" and kind != "mpnet":
            continue  # absolute positions: transformers itself does not shift them
        with torch.inference_mode():
            hidden = encoder(**inputs).last_hidden_state
        mean = (hidden * mask).sum(1) / mask.sum(1)
        np.testing.assert_allclose(vectors["mean"], mean, atol=1e-5)
        largest = hidden.masked_fill(~mask, -torch.inf).amax(1)
        np.testing.assert_allclose(vectors["max"], largest, atol=1e-5)
    alone = [model.embed([text], poolings=("mean",))["mean"][0] for text in TEXTS]
    np.testing.assert_allclose(vectors["mean"], alone, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "one", "pair"),
    [
        ("bert", [0, 5, 7, 2], [0, 5, 7, 2, 6, 2]),
        ("roberta", [0, 5, 7, 2], [0, 5, 7, 2, 2, 6, 2]),
        ("gpt2", [5, 7], [5, 7, 6]),
    ],
)
def test_special_tokens_are_those_of_the_encoders_own_template(tmp_path, kind, one, pair):
    model = load_encoder(saved(tmp_path, kind), name="it")
    assert model.token_ids(["the cat"]) == [one] == [words_tokenizer(kind)("the cat")["input_ids"]]
    assert model.token_ids(["the cat"], ["a"]) == [pair]
    assert model.special_ids == set(pair) - {5, 6, 7}
    assert len(model.token_ids(["the cat sat on " * 9])[0]) == 12
    if kind == "gpt2":
        with pytest.raises(ValueError, match="Text 1 is '': no token"):
            model.embed(["a", ""])


def test_runs_read_as_they_were_trained_whatever_the_template(smoke_runs, corpus):
    run = smoke_runs["hybrid"]
    model = load_encoder(run.folder)
    assert (model.seed, model.max_length, model.name) == (0, 48, run.folder.name)
    assert encoder_digest(model.encoder) == encoder_digest(run.encoder())
    assert model.token_ids(["a word"]) == [corpus.tokenizer("a word")["input_ids"]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_keep_their_precision_and_vectors_are_float32(tmp_path, dtype):
    model = load_encoder(saved(tmp_path, dtype=dtype))
    assert next(model.encoder.parameters()).dtype == dtype
    vectors = model.embed(TEXTS)
    assert {z.dtype for z in vectors.values()} == {np.dtype(np.float32)}
    whole = load_encoder(saved(tmp_path)).embed(TEXTS)["mean"]
    np.testing.assert_allclose(vectors["mean"], whole, atol=0.05)


def test_a_model_without_a_pooler_is_the_same_each_time(tmp_path):
    torch.manual_seed(0)
    t.BertForMaskedLM(KINDS["bert"]).save_pretrained(tmp_path)
    words_tokenizer("bert").save_pretrained(tmp_path)
    digests = {encoder_digest(load_encoder(tmp_path).encoder) for _ in range(2)}
    assert len(digests) == 1


# sentence-transformers folders


def sentence_folder(folder, mode, *, normalize=False, old=True, more=(), **settings):
    saved(folder)
    (folder / "1_Pooling").mkdir()
    modes = {f"pooling_mode_{name}": name == mode for name in MODES}
    pooling = modes | {f"pooling_mode_{mode}": True} if old else {"pooling_mode": mode}
    pooling["word_embedding_dimension"] = SMALL["hidden_size"]
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    names = ["Transformer", "Pooling", *["Normalize"] * normalize, *more]
    places = ["", *(f"{i}_{name}" for i, name in enumerate(names) if i)]
    listed = [
        {"idx": i, "name": f"{i}", "path": place, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, place) in enumerate(zip(names, places, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 8} | settings))
    return folder


def reference(folder, mode, normalize):
    """Text by text, without batches or masks."""
    tokenizer, encoder = words_tokenizer("bert"), t.AutoModel.from_pretrained(folder).eval()
    rows = []
    for text in TEXTS:
        batch = tokenizer(text, truncation=True, max_length=8, return_tensors="pt")
        with torch.inference_mode():
            h = encoder(batch["input_ids"]).last_hidden_state[0].double()
        n = len(h)
        row = {
            "cls_token": h[0],
            "max_tokens": h.max(0).values,
            "mean_tokens": h.mean(0),
            "mean_sqrt_len_tokens": h.sum(0) / n**0.5,
            "weightedmean_tokens": sum((i + 1) * h[i] for i in range(n)) / (n * (n + 1) / 2),
            "lasttoken": h[-1],
        }[mode]
        rows.append(row / row.norm() if normalize else row)
    return torch.stack(rows)


MODES = ["cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens"]


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("mode", [*MODES, "lasttoken"])
def test_own_pooling_is_that_of_the_folder(tmp_path, mode, normalize):
    folder = sentence_folder(tmp_path, mode, normalize=normalize)
    model = load_encoder(folder)
    assert model.poolings[-1] == "own" and model.max_length == 8
    own = model.embed(TEXTS, poolings=("own",))["own"]
    np.testing.assert_allclose(own, reference(folder, mode, normalize), atol=1e-5)


@pytest.mark.parametrize("mode", ["mean_tokens", "cls_token", "max_tokens"])
def test_own_pooling_is_that_of_sentence_transformers(tmp_path, mode):
    library = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    folder = sentence_folder(tmp_path, mode, normalize=True)
    expected = library.SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    own = load_encoder(folder).embed(TEXTS, poolings=("own",))["own"]
    np.testing.assert_allclose(own, expected, atol=1e-5)


def test_modes_are_concatenated_and_newer_files_are_read(tmp_path):
    folder = sentence_folder(tmp_path, ["mean", "cls"], old=False)
    own = load_encoder(folder).embed(TEXTS, poolings=("own",))["own"]
    parts = [reference(folder, mode, False) for mode in ("mean_tokens", "cls_token")]
    np.testing.assert_allclose(own, torch.cat(parts, dim=1), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(mode="mean_tokens", more=["Dense"]), "its module Dense is not supported"),
        (dict(mode="mean_tokens", more=["Pooling"]), "modules Transformer, Pooling, Pooling: exp"),
        (dict(mode="median", old=False), "pooling median: expected one of cls, max"),
        (dict(mode="mean_tokens", do_lower_case=True), "do_lower_case is not supported"),
    ],
)
def test_modules_that_are_not_computed_are_refused_by_name(tmp_path, options, message):
    with pytest.raises(SourceError, match=message):
        load_encoder(sentence_folder(tmp_path, **options))


# Checkpoints of the public code


def state(kind, width, layers, length, rows=None):
    """A state dictionary under the public code's names, random."""

    def r(*shape):
        return torch.randn(shape) * 0.3

    prefix = "predictor_" if kind == "predictor" else ""
    parts = {
        f"{prefix}blocks.{i}.{name}": r(*shape)
        for i in range(layers)
        for name, shape in {
            "norm1.weight": [width], "norm1.bias": [width],
            "attn.qkv.weight": [3 * width, width], "attn.qkv.bias": [3 * width],
            "attn.proj.weight": [width, width], "attn.proj.bias": [width],
            "norm2.weight": [width], "norm2.bias": [width],
            "mlp.fc1.weight": [4 * width, width], "mlp.fc1.bias": [4 * width],
            "mlp.fc2.weight": [width, 4 * width], "mlp.fc2.bias": [width],
        }.items()
    }  # fmt: skip
    parts |= {f"{prefix}norm.weight": r(width), f"{prefix}norm.bias": r(width)}
    if kind == "encoder":
        parts |= {
            "pos_embed": r(1, length, width),
            "token_embed.token_embed.weight": r(rows, width),
        }
        return parts
    parts |= {"mask_token": r(1, 1, width), "pred_pos_embed": r(1, 64, width)}
    parts |= {"predictor_embed.weight": r(width, 24), "predictor_embed.bias": r(width)}
    return parts | {"predictor_proj.weight": r(24, width), "predictor_proj.bias": r(24)}


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    parts = {
        "encoder": state("encoder", 24, 2, 16, len(WORDS)),
        "target_encoder": state("encoder", 24, 2, 16, len(WORDS)),
        "predictor": state("predictor", 8, 1, 16),
        "token_regressor": {
            "proj.weight": torch.randn(24, 24), "proj.bias": torch.randn(24),
            "norm.weight": torch.randn(24), "norm.bias": torch.randn(24),
            "regress.weight": torch.randn(40, 24)[: len(WORDS)],
            "regress.bias": torch.randn(len(WORDS)),
        },
        "loss_weight": torch.tensor([0.7]), "scaler": None, "epoch": 3, "training_mode": "hybrid",
    }  # fmt: skip
    file = tmp_path / "text_jepa-final.pth.tar"
    torch.save(parts, file)
    return file, parts


def norm(x, weight, bias, eps):
    spread = x.var(-1, keepdim=True, unbiased=False)
    return (x - x.mean(-1, keepdim=True)) / (spread + eps).sqrt() * weight + bias


def gelu(x):
    return x * (1 + torch.erf(x / 2**0.5)) / 2


def run_blocks(p, x, heads, prefix=""):
    """Written from the paper's Section 3, head by head: another writing than the package's."""
    p, layer = {k.removeprefix(prefix): v.double() for k, v in p.items()}, 0
    while (name := f"blocks.{layer}.") + "norm1.weight" in p:
        b = {k.removeprefix(name): v for k, v in p.items() if k.startswith(name)}
        y = norm(x, b["norm1.weight"], b["norm1.bias"], 1e-6)
        q, k, v = (y @ b["attn.qkv.weight"].T + b["attn.qkv.bias"]).chunk(3, dim=-1)
        size, seen = x.shape[-1] // heads, []
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            scores = q[..., part] @ k[..., part].transpose(-1, -2) / size**0.5
            seen.append(scores.softmax(-1) @ v[..., part])
        x = x + torch.cat(seen, dim=-1) @ b["attn.proj.weight"].T + b["attn.proj.bias"]
        y = norm(x, b["norm2.weight"], b["norm2.bias"], 1e-6)
        y = gelu(y @ b["mlp.fc1.weight"].T + b["mlp.fc1.bias"])
        x, layer = x + y @ b["mlp.fc2.weight"].T + b["mlp.fc2.bias"], layer + 1
    return norm(x, p["norm.weight"], p["norm.bias"], 1e-6)


def test_a_public_checkpoint_computes_what_its_tensors_say(checkpoint):
    file, parts = checkpoint
    model, heads = load_released(file, num_heads=3, predictor_heads=2), 3
    ids = torch.randint(0, len(WORDS), (2, 10))
    context = torch.tensor([[0, 2, 3, 7], [1, 4, 5, 9]])
    targets = torch.tensor([[[1, 4], [5, 6]], [[0, 2], [3, 6]]])

    def embedded(name):
        tokens = parts[name]["token_embed.token_embed.weight"].double()[ids]
        return tokens + parts[name]["pos_embed"][0, :10].double()

    def near(ours, theirs):
        np.testing.assert_allclose(ours.detach(), theirs, atol=2e-5)

    hidden = run_blocks(parts["encoder"], embedded("encoder"), heads)
    near(model.encoder.encode(ids), hidden)
    r = {k: v.double() for k, v in parts["token_regressor"].items()}
    z = gelu(hidden @ r["proj.weight"].T + r["proj.bias"])
    z = norm(z, r["norm.weight"], r["norm.bias"], 1e-5)
    near(model.logits(hidden.float()), z @ r["regress.weight"].T + r["regress.bias"])
    kept = torch.stack([embedded("encoder")[i, context[i]] for i in range(2)])
    seen = run_blocks(parts["encoder"], kept, heads)
    near(model.encoder.encode(ids, keep=context), seen)
    aim = F.layer_norm(
        run_blocks(parts["target_encoder"], embedded("target_encoder"), heads), (24,)
    )
    near(model.target_vectors(ids, targets), torch.stack([aim[i, targets[i]] for i in range(2)]))
    p = {k: v.double() for k, v in parts["predictor"].items()}
    place = p["pred_pos_embed"][0]
    near(model.balance.lam, 1 / (1 + np.exp(-0.7)))
    predicted = model.predictor(seen.float(), context, targets)
    for i in range(2):
        visible = seen[i] @ p["predictor_embed.weight"].T + p["predictor_embed.bias"]
        visible = visible + place[context[i]]
        for k in range(2):
            asked = p["mask_token"][0] + place[targets[i, k]]
            y = run_blocks(p, torch.cat([visible, asked])[None], 2, "predictor_")[0, -2:]
            near(predicted[i, k], y @ p["predictor_proj.weight"].T + p["predictor_proj.bias"])


def test_a_public_checkpoint_is_an_encoder_like_any_other(checkpoint, tmp_path):
    file, _ = checkpoint
    words_tokenizer("bert").save_pretrained(tmp_path / "words")
    model = load_encoder(file, tokenizer=tmp_path / "words", num_heads=4)
    assert (model.name, model.max_length) == ("text_jepa-final", 16)
    assert model.embed(TEXTS)["mean"].shape == (3, 24)


def test_mlm_checkpoints_have_no_target(checkpoint):
    file, parts = checkpoint
    torch.save(parts | {"loss_weight": None, "target_encoder": None}, file)
    model = load_released(file)
    assert model.config.arm == "mlm" and model.config.num_attention_heads == 8


class Trap:
    def __reduce__(self):
        return print, ("executed",)


def test_bad_checkpoints_are_refused_and_never_executed(checkpoint, tmp_path, capsys):
    file, parts = checkpoint
    with pytest.raises(ValueError, match=r"num_heads=5 does not divide the width 24.*--num-heads"):
        load_encoder(file, num_heads=5)
    trap = tmp_path / "trap.pth.tar"
    torch.save(parts | {"config": Trap()}, trap)
    with pytest.raises(SourceError, match=r"an object inside .*Not opened"):
        load_encoder(trap)
    trap.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(SourceError, match=r"trap\.pth\.tar"):
        load_encoder(trap)
    assert "executed" not in capsys.readouterr().out
    trap.write_text("text")
    with pytest.raises(SourceError, match=r"trap\.pth\.tar"):
        load_encoder(trap)
    torch.save({"model": {}}, trap)
    with pytest.raises(SourceError, match=r"no 'encoder', so not a checkpoint.*Here are: model"):
        load_encoder(trap)
    broken = {k: v for k, v in parts["encoder"].items() if k != "norm.bias"}
    torch.save(parts | {"encoder": broken}, trap)
    with pytest.raises(SourceError, match="do not make up the published architecture"):
        load_encoder(trap)


# Other bad input


@pytest.mark.parametrize("kind", ["T5", "UMT5"])
def test_half_of_an_encoder_decoder_saved_alone_is_an_encoder(tmp_path, kind):
    """As sentence-t5 is; UMT5's configuration still says that it is an encoder-decoder."""
    sizes = dict(d_model=16, d_kv=8, d_ff=16, num_layers=2, num_heads=2, vocab_size=40)
    torch.manual_seed(0)
    half = getattr(t, f"{kind}EncoderModel")(getattr(t, f"{kind}Config")(**sizes)).eval()
    half.save_pretrained(tmp_path)
    tokenizer = words_tokenizer("bert")
    tokenizer.save_pretrained(tmp_path)
    vectors = load_encoder(tmp_path).embed(TEXTS, poolings=("mean",))["mean"]
    for text, vector in zip(TEXTS, vectors, strict=True):
        with torch.no_grad():
            hidden = half(**tokenizer(text, return_tensors="pt")).last_hidden_state
        np.testing.assert_allclose(vector, hidden[0].mean(0), atol=1e-5)


def test_what_cannot_be_measured_is_refused_in_one_line(tmp_path):
    def refused(place, kind, message, **options):
        with pytest.raises(kind, match=message) as caught:
            load_encoder(place, **options)
        return str(caught.value)

    bare = saved(tmp_path / "bare")
    (bare / "model.safetensors").unlink()
    assert "\n" not in refused(bare, SourceError, "no weights in this folder")
    short = saved(tmp_path / "short")
    torch.manual_seed(0)
    config = t.BertConfig(vocab_size=9, **SMALL)
    t.BertModel(config).save_pretrained(short)
    message = "the tokenizer has ids up to 17, the encoder embeds 9 tokens"
    assert "\n" not in refused(short, ValueError, message)
    silent = tmp_path / "silent"
    t.BertModel(KINDS["bert"]).save_pretrained(silent)
    refused(silent, SourceError, "tokenizer")
    sizes = dict(d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2, vocab_size=40)
    t.T5Model(t.T5Config(**sizes)).save_pretrained(tmp_path / "t5")
    words_tokenizer("bert").save_pretrained(tmp_path / "t5")
    assert "\n" not in refused(tmp_path / "t5", ValueError, "t5 is an encoder-decoder")
    cut = saved(tmp_path / "cut")
    config = json.loads((cut / "config.json").read_text()) | {"num_hidden_layers": 3}
    (cut / "config.json").write_text(json.dumps(config))
    refused(cut, SourceError, "no weights for encoder.layer.2.*would be random")
    t.ViTModel(t.ViTConfig(**SMALL, image_size=16, patch_size=8)).save_pretrained(tmp_path / "eye")
    words_tokenizer("bert").save_pretrained(tmp_path / "eye")
    refused(tmp_path / "eye", ValueError, "ViTModel does not read tokens")
    whole = saved(tmp_path / "whole")
    refused(whole, ValueError, "num_heads=4: .*states its number of heads", num_heads=4)
    refused("/no/such/place", SourceError, "/no/such/place: no such file or folder")
    refused("someone/some-encoder", SourceError, "Not found(.|\n)*the hub's encoder someone/some")


def test_code_that_comes_with_an_encoder_is_not_run_unless_asked_for(tmp_path):
    (tmp_path / "code.py").write_text(
        "from transformers import BertConfig, BertModel\n"
        "class Config(BertConfig):\n    model_type = 'strange'\n"
        "class Strange(BertModel):\n    config_class = Config\n"
    )
    saved(tmp_path)
    names = {"AutoConfig": "code.Config", "AutoModel": "code.Strange"}
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "strange", "auto_map": names}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SourceError, match=r"trust_remote_code=True.*--trust-remote-code"):
        load_encoder(tmp_path)
    model = load_encoder(tmp_path, trust_remote_code=True)
    assert type(model.encoder).__name__ == "Strange"
    assert model.max_length <= MAX_LENGTH
