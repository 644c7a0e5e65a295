"""A training step as a GPU runs it, on a CPU: nothing in it may need the values of a tensor."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from predrecon import recipes
from predrecon.data.corpus import Blocks
from predrecon.masking import IGNORE, block_masks
from predrecon.training import batches
from predrecon.training.batches import draw_batch, room_for, share_of
from predrecon.training.flops import batch_flops
from predrecon.training.optimizer import build_model, build_optimizer

ATEN = torch.ops.aten
READS = {  # operations whose result, or its shape, the host has to ask a GPU for
    ATEN._local_scalar_dense,
    ATEN.equal,
    ATEN.is_nonzero,
    ATEN.masked_select,
    ATEN.nonzero,
    ATEN.bincount,
    ATEN._unique2,
}


class WaitedError(Exception):
    pass


class NoWaiting(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        picked = args[1] if func.overloadpacket is ATEN.index else []
        if func.overloadpacket in READS or any(
            p is not None and p.dtype is torch.bool for p in picked
        ):
            raise WaitedError(str(func))
        return func(*args, **(kwargs or {}))


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Masks as they are drawn for a GPU, and room for its masked tokens."""
    monkeypatch.setattr(
        batches,
        "block_masks",
        lambda *shape, wait, **options: block_masks(*shape, wait=False, **options),
    )
    return torch.device("cuda")


@pytest.mark.parametrize("arm", ["hybrid", "mlm"])
def test_a_step_waits_for_no_gpu(corpus, as_on_a_gpu, arm):
    recipe = recipes.get("smoke", arm=arm)
    model = build_model(recipe, corpus, 0)
    optimizer = build_optimizer(model, recipe)
    blocks, room = corpus.blocks("train", recipe.length), room_for(recipe, 2, as_on_a_gpu)
    draw_batch(recipe, corpus, blocks, 0, 0)  # tables of the vocabulary are made once
    for step in range(2):
        with NoWaiting():
            batch = draw_batch(recipe, corpus, blocks, 0, step)
            flops = batch_flops(model.config, batch)
            out = model(**share_of(batch, 1, 2, room))
            out.loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if arm == "hybrid":
                model.update_target(0.99)
        assert out.loss.isfinite() and flops > 0


def test_the_guard_sees_what_a_cpu_may_read(corpus):
    recipe = recipes.get("smoke")
    with pytest.raises(WaitedError, match="_local_scalar_dense"), NoWaiting():
        draw_batch(recipe, corpus, corpus.blocks("train", recipe.length), 0, 0)
    with pytest.raises(WaitedError, match="nonzero"), NoWaiting():
        share_of({"labels": torch.ones(2, 4, dtype=torch.long)}, 0, 1)


@pytest.mark.parametrize("arm", ["hybrid", "mlm"])
def test_room_to_spare_changes_no_loss(corpus, arm):
    recipe = recipes.get("smoke", arm=arm)
    model = build_model(recipe, corpus, 0)
    batch = draw_batch(recipe, corpus, corpus.blocks("train", recipe.length), 0, 0)
    room = room_for(recipe, 1, torch.device("cuda"))
    exact, roomy = share_of(batch, 0, 1), share_of(batch, 0, 1, room)
    assert len(roomy["masked_at"]) == room > len(exact["masked_at"])
    assert torch.equal(roomy["masked_at"][: len(exact["masked_at"])], exact["masked_at"])
    torch.testing.assert_close(model(**roomy).loss, model(**exact).loss, rtol=1e-6, atol=1e-6)


def test_the_room_is_hardly_ever_short():
    recipe = recipes.get("paper")
    draws = np.random.default_rng(0).binomial(64 * 512, recipe.mlm_probability, 100_000)
    room = room_for(recipe, 1, torch.device("cuda"))
    assert draws.max() < room < 1.15 * draws.mean()
    assert room_for(recipe, 1, torch.device("cpu")) is None


def test_context_without_waiting_is_what_every_placement_leaves():
    """Same blocks, and at the paper's batch the same size as the smallest sample's."""
    for seed in range(60):
        both = [
            block_masks(64, 512, generator=torch.Generator().manual_seed(seed), wait=wait)
            for wait in (True, False)
        ]
        assert torch.equal(both[0].targets, both[1].targets)
        assert torch.equal(both[0].context, both[1].context)
    for seed in range(200):
        masks = block_masks(
            3, 64, min_context=16, generator=torch.Generator().manual_seed(seed), wait=False
        )
        assert masks.context.shape[1] >= 16
        for context, targets in zip(masks.context, masks.targets, strict=True):
            assert not set(context.tolist()) & set(targets.flatten().tolist())


def test_ids_on_a_gpu_are_those_on_disk(monkeypatch):
    """Also above 32,767, which are negative as int16; and a stream without room stays on disk."""
    stream = np.random.default_rng(0).integers(0, 2**16, 10_000).astype(np.uint16)
    blocks, here = Blocks(stream, 64, 101, 102), torch.device("cpu")
    free = [4 * stream.nbytes]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[0], 0))
    ids = blocks.batch([5, 0, 7])
    assert ids[0, 1:-1].tolist() == stream[5 * 62 : 6 * 62].tolist()
    assert (ids[:, 0] == 101).all() and (ids[:, -1] == 102).all()
    resident = blocks._resident(here)
    assert torch.equal(blocks._cut(resident, torch.tensor([5, 0, 7])), ids)
    free[0] -= 4
    assert Blocks(stream, 64, 101, 102)._resident(here) is None


def test_padding_never_counts(corpus):
    batch = draw_batch(recipes.get("smoke"), corpus, corpus.blocks("train", 64), 0, 0)
    part = share_of(batch, 0, 1, room=batch["labels"].numel())
    labels = batch["labels"].flatten()[part["masked_at"]]
    assert (labels != IGNORE).sum() == part["count"] and labels[-1] == IGNORE


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("arm", ["hybrid", "mlm"])
def test_a_real_step_waits_for_no_gpu(corpus, tmp_path, arm):
    """PyTorch itself raises where the host would wait, from the third step on."""
    from predrecon.training import loop

    recipe = recipes.get("smoke", arm=arm, compile=False, max_steps=8, log_every=8)
    taken = []

    class Watched(loop.Training):
        def _step(self, step):
            torch.cuda.set_sync_debug_mode("error" if len(taken) > 2 else "default")
            try:
                return super()._step(step)
            finally:
                torch.cuda.set_sync_debug_mode("default")
                taken.append(step)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop, "Training", Watched)
        loop.pretrain(recipe, corpus, tmp_path, seed=0)
    assert taken == list(range(8))
