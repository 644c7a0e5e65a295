import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from predrecon.masking import IGNORE, UNITS, block_masks, boundaries, token_masks, unit_masks


def generator(seed):
    return torch.Generator().manual_seed(seed)


@st.composite
def requests(draw):
    length = draw(st.integers(24, 200))
    low, high = sorted(draw(st.tuples(st.floats(0.5, 0.95), st.floats(0.5, 0.95))))
    small, large = sorted(draw(st.tuples(st.floats(0.02, 0.45), st.floats(0.02, 0.45))))
    feasible = min(int(low * length), length - max(1, int(large * length)))
    return dict(
        batch_size=draw(st.integers(1, 9)),
        length=length,
        context_scale=(low, high),
        target_scale=(small, large),
        num_targets=draw(st.integers(1, 4)),
        min_context=draw(st.integers(1, feasible)),
        generator=generator(draw(st.integers(0, 2**31))),
    )


def assert_valid(masks, batch_size, lengths, num_targets, min_context):
    assert masks.context.shape[0] == batch_size and masks.context.shape[1] >= min_context
    assert masks.targets.shape[:2] == (batch_size, num_targets)
    for context, targets, length in zip(masks.context, masks.targets, lengths, strict=True):
        context, flat = context.tolist(), targets.flatten().tolist()
        assert context == sorted(set(context)), "sorted, no duplicate"
        assert not set(context) & set(flat), "a target leaked into the context"
        assert min(context + flat) >= 0 and max(context + flat) < length
        for block in targets.tolist():
            assert block == list(range(block[0], block[0] + len(block))), "contiguous"


@settings(max_examples=200, deadline=None)
@given(requests())
def test_block_masks_hold_their_promises_at_every_size(request):
    masks = block_masks(**request)
    lengths = [request["length"]] * request["batch_size"]
    assert_valid(
        masks, request["batch_size"], lengths, request["num_targets"], request["min_context"]
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(50, 128), min_size=1, max_size=8), st.integers(0, 2**31))
def test_block_masks_fall_on_real_tokens_only(lengths, seed):
    masks = block_masks(len(lengths), 128, lengths=torch.tensor(lengths), generator=generator(seed))
    assert_valid(masks, len(lengths), lengths, 2, 32)


def test_a_leak_leaves_the_whole_context_block():
    """The same blocks, of which the context is not cut: contiguous, and targets lie in it."""
    request = dict(batch_size=64, length=64, target_scale=(0.1, 0.2))
    clean = block_masks(**request, generator=generator(3))
    for wait in (True, False):
        leaky = block_masks(**request, leak=True, wait=wait, generator=generator(3))
        assert torch.equal(leaky.targets, clean.targets)
        assert (leaky.context.diff(dim=1) == 1).all() and leaky.context.shape[1] >= 0.65 * 64 - 1
        visible = (leaky.targets[..., None] == leaky.context[:, None, None]).any(-1)
        assert visible.float().mean() > 0.4


def test_block_sizes_follow_the_scales():
    sizes = {"context": [], "targets": []}
    for seed in range(300):
        masks = block_masks(4, 512, generator=generator(seed))
        sizes["context"].append(masks.context.shape[1])
        sizes["targets"].append(masks.targets.shape[2])
    targets = np.array(sizes["targets"]) / 512
    assert 0.10 - 1 / 512 <= targets.min() < 0.12 and 0.23 < targets.max() <= 0.25
    assert abs(targets.mean() - 0.175) < 0.01
    assert max(sizes["context"]) <= 0.85 * 512


def test_a_lone_sample_keeps_all_of_its_context():
    """Nothing but the targets is taken away: the mean size is that of a simulation with sets."""
    draw, expected = np.random.default_rng(0), []
    while len(expected) < 2000:
        size, block = int(512 * draw.uniform(0.65, 0.85)), int(512 * draw.uniform(0.10, 0.25))
        first = draw.integers(512 - size + 1)
        context = set(range(first, first + size))
        for first in draw.integers(512 - block + 1, size=2):
            context -= set(range(first, first + block))
        if len(context) >= 32:
            expected.append(len(context))
    sizes = [block_masks(1, 512, generator=generator(s)).context.shape[1] for s in range(2000)]
    assert np.mean(sizes) == pytest.approx(np.mean(expected), rel=0.02)
    assert np.std(sizes) == pytest.approx(np.std(expected), rel=0.08)


def test_no_position_is_out_of_reach():
    """Over many batches every position is context at times, and a target at times."""
    context, target = np.zeros(64), np.zeros(64)
    for seed in range(300):
        masks = block_masks(16, 64, generator=generator(seed))
        np.add.at(context, masks.context.flatten().numpy(), 1)
        np.add.at(target, masks.targets.flatten().numpy(), 1)
    assert (context > 0).all(), "the ends seldom: a contiguous block must start or end there"
    assert (target > 0).all()
    mirrored = np.abs(context - context[::-1]).max() / context.max()
    assert mirrored < 0.1, "left and right are treated alike"


def test_same_generator_same_masks():
    first, second = (block_masks(8, 128, generator=generator(7)) for _ in range(2))
    assert torch.equal(first.context, second.context)
    assert torch.equal(first.targets, second.targets)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (dict(length=40), "min_context=32"),
        (dict(length=64, target_scale=(0.5, 0.9)), "Lower target_scale"),
        (dict(context_scale=(0.9, 0.6)), "context_scale"),
        (dict(target_scale=(0.0, 0.2)), "target_scale"),
        (dict(num_targets=0), "num_targets"),
        (dict(min_context=0), "min_context=0"),
        (dict(lengths=torch.tensor([128, 300])), "lengths"),
        (dict(lengths=torch.tensor([128, 20])), "shortest sample has 20"),
    ],
)
def test_impossible_requests_say_which_number_to_change(change, named):
    request = dict(batch_size=2, length=128) | change
    with pytest.raises(ValueError, match=named):
        block_masks(**request)


TOKENS = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", ".", "the", "##ing", "walk", "##er", "dog"]
STARTS, ENDS = boundaries(TOKENS, TOKENS[:4])


def units_of(mask, ids, seed):
    return UNITS[mask](ids, STARTS, ENDS, generator(seed))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(UNITS)), st.integers(1, 7), st.integers(24, 120), st.data())
def test_masks_of_units_hold_the_promises_of_block_masks(mask, batch_size, length, data):
    """Sorted, disjoint from the context, rectangular, inside of the text, the same by seed."""
    seed, targets = data.draw(st.integers(0, 2**31)), data.draw(st.integers(1, 3))
    least = data.draw(st.integers(1, min(int(0.65 * length), length - targets * length // 4)))
    ids = torch.randint(0, len(TOKENS), (batch_size, length), generator=generator(seed))
    request = dict(num_targets=targets, min_context=least)
    units = units_of(mask, ids, seed)
    assert (units[:, 0] == 0).all() and (units.diff(dim=1) >= 0).all() and units.max() < length
    masks = unit_masks(units, generator=generator(seed), **request)
    again = unit_masks(units_of(mask, ids, seed), generator=generator(seed), **request)
    assert torch.equal(masks.context, again.context) and torch.equal(masks.targets, again.targets)
    assert masks.context.shape[1] >= least and masks.targets.shape[:2] == (batch_size, targets)
    for context, target in zip(masks.context.tolist(), masks.targets.tolist(), strict=True):
        flat = [position for block in target for position in block]
        assert context == sorted(set(context)) and all(block == sorted(block) for block in target)
        assert len(set(flat)) == len(flat), "no two targets overlap"
        assert not set(context) & set(flat) and 0 <= min(context + flat)
        assert max(context + flat) < length


def test_units_are_what_they_are_called():
    ids = torch.tensor([[1, 5, 7, 6, 9, 4, 5, 9, 8, 4, 7, 2]])  # [CLS] the walk##ing dog . ...
    assert units_of("random", ids, 0).tolist() == [list(range(12))]
    assert units_of("words", ids, 0).tolist() == [[0, 1, 2, 2, 3, 4, 5, 6, 6, 7, 8, 9]]
    assert units_of("sentences", ids, 0).tolist() == [[0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3]]
    many = units_of("spans", torch.zeros(400, 100, dtype=torch.long), 0)
    lengths = torch.cat([row.bincount() for row in many]).double()
    assert lengths.mean().item() == pytest.approx(5, rel=0.1)
    ones = (lengths == 1).double().mean().item()
    assert ones == pytest.approx(0.2, abs=0.02), "geometric: a fifth of the spans is one token"


def test_only_the_last_unit_is_cut():
    """All pieces of a word are targets or none is, but for one word of a text."""
    ids = torch.randint(4, len(TOKENS), (64, 60), generator=generator(1))
    units = units_of("words", ids, 1)
    masks = unit_masks(units, min_context=16, generator=generator(1))
    hidden = torch.zeros_like(units).scatter_(1, masks.targets.flatten(1), 1)
    for row, chosen in zip(units, hidden, strict=True):
        sizes, taken = row.bincount(), row.bincount(weights=chosen.double())
        assert ((taken > 0) & (taken < sizes)).sum() <= 1


def test_units_without_room_and_vocabularies_without_words_are_refused():
    with pytest.raises(ValueError, match="3 of its largest targets"):
        unit_masks(torch.arange(40)[None], num_targets=3, min_context=20)
    with pytest.raises(ValueError, match="mask='spans'"):
        boundaries(["a", "b"], [])
    assert boundaries(["\u0120a", "b", "."], [])[0].tolist() == [True, False, False]


SPECIAL = (0, 1, 2, 3, 4)
OPTIONS = dict(mask_token_id=4, vocab_size=1000, special_ids=SPECIAL)


def test_token_masks_are_80_10_10_of_15_percent():
    ids = torch.randint(5, 1000, (400, 128), generator=generator(0))
    masked, labels = token_masks(ids, **OPTIONS, generator=generator(1))
    chosen = labels != IGNORE
    n = int(chosen.sum())
    assert abs(n / ids.numel() - 0.15) < 4 * (0.15 * 0.85 / ids.numel()) ** 0.5
    assert torch.equal(labels[chosen], ids[chosen])
    assert torch.equal(masked[~chosen], ids[~chosen])
    hidden = (masked[chosen] == 4).float().mean().item()
    kept = (masked[chosen] == ids[chosen]).float().mean().item()
    assert abs(hidden - 0.8) < 4 * (0.8 * 0.2 / n) ** 0.5
    assert abs(kept - 0.1 - 0.1 / 995) < 4 * (0.1 * 0.9 / n) ** 0.5


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 1))
def test_specials_are_never_chosen_nor_drawn(seed, probability):
    ids = torch.randint(0, 12, (4, 50), generator=generator(seed))
    masked, labels = token_masks(
        ids, mask_token_id=4, vocab_size=12, special_ids=SPECIAL, probability=probability,
        generator=generator(seed),
    )  # fmt: skip
    special = torch.isin(ids, torch.tensor(SPECIAL))
    assert (labels[special] == IGNORE).all()
    assert torch.equal(masked[special], ids[special])
    replacements = masked[(masked != ids) & (masked != 4)]
    assert not torch.isin(replacements, torch.tensor(SPECIAL)).any()


def test_random_replacements_reach_the_whole_ordinary_vocabulary():
    ids = torch.full((200, 200), 9)
    masked, _ = token_masks(
        ids, mask_token_id=4, vocab_size=12, special_ids=SPECIAL, probability=1.0,
        generator=generator(0),
    )  # fmt: skip
    assert set(masked.unique().tolist()) == {4, 5, 6, 7, 8, 9, 10, 11}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (dict(probability=1.5), "probability=1.5"),
        (dict(mask_token_id=1000), "mask_token_id holds 1000"),
        (dict(special_ids=range(1000)), "whole vocabulary"),
    ],
)
def test_token_masks_refuse_nonsense(change, named):
    with pytest.raises(ValueError, match=named):
        token_masks(torch.ones(2, 8, dtype=torch.long), **(OPTIONS | change))
