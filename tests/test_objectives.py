"""Latent losses, targets and balances, each against a formula of its own in float64."""

import numpy as np
import pytest
import torch

from predrecon import objectives, recipes
from predrecon.masking import block_masks, token_masks
from predrecon.model import TARGETS, PredictReconstruct, PredictReconstructConfig
from predrecon.objectives import BALANCES, LATENT_LOSSES, Balance, latent_loss, shared_gradients
from predrecon.recipes import Recipe

N, D = 40, 6


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def directions(seed=0, count=64):
    drawn = normal(D, count, seed=seed)
    return drawn / np.linalg.norm(drawn, axis=0)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def epps_pulley(x, t):
    """The statistic of one column, by brute force: the sum over points of |cf - normal cf|^2."""
    error = abs(np.exp(1j * np.outer(x, t)).mean(0) - np.exp(-(t**2) / 2)) ** 2
    return len(x) * np.trapezoid(error * np.exp(-(t**2) / 2), t)


def variance_and_covariance(x):
    c = np.cov(x.T)
    std = np.sqrt(np.diag(c) + 1e-4)
    return np.maximum(0, 1 - std).mean() / 2 + 0.04 * (c**2 - np.diag(np.diag(c)) ** 2).sum() / D


def infonce(p, t):
    logits = unit(p) @ unit(t).T / 0.1
    return np.mean([np.log(np.exp(row - row[i]).sum()) for i, row in enumerate(logits)])


def barlow(p, t):
    c = np.corrcoef(p.T, t.T)[:D, D:]
    weights = np.where(np.eye(D), 1, 0.005)
    return (weights * (np.eye(D) - c) ** 2).sum() / D


def smooth_l1(p, t):
    e = abs(p - t)
    return np.where(e < 1, e**2 / 2, e - 0.5).mean()


def sigreg(p, t):
    points, a = np.linspace(-5, 5, 17), directions()
    sketch = np.mean([epps_pulley(x @ a[:, k], points) for x in (p, t) for k in range(64)])
    return 0.95 * ((p - t) ** 2).mean() + 0.05 * sketch


FORMULAS = {
    "cosine": lambda p, t: 1 - (unit(p) * unit(t)).sum(-1).mean(),
    "smooth-l1": smooth_l1,
    "mse": lambda p, t: ((unit(p) - unit(t)) ** 2).sum(-1).mean(),
    "infonce": infonce,
    "vicreg": lambda p, t: (
        ((p - t) ** 2).mean() + variance_and_covariance(p) + variance_and_covariance(t)
    ),
    "barlow": barlow,
    "sigreg": sigreg,
}


def loss(name, p, t, seed=0):
    p, t = (torch.as_tensor(x, dtype=torch.float32).view(4, 2, -1, D) for x in (p, t))
    a = torch.as_tensor(directions(seed), dtype=torch.float32)
    return latent_loss(name, p, t, a).item()


def test_the_registries_are_what_a_recipe_takes():
    assert tuple(LATENT_LOSSES) == recipes.LATENT_LOSSES and set(FORMULAS) == set(LATENT_LOSSES)
    assert tuple(TARGETS) == recipes.TARGETS and tuple(BALANCES) == recipes.BALANCES


@pytest.mark.parametrize("name", LATENT_LOSSES)
def test_a_latent_loss_is_its_formula(name):
    p, t = normal(N, D, seed=1), 0.5 * normal(N, D, seed=2) + 0.3
    assert loss(name, p, t) == pytest.approx(FORMULAS[name](p, t), rel=2e-3)
    assert loss(name, t, p) == pytest.approx(FORMULAS[name](t, p), rel=2e-3)


@pytest.mark.parametrize("name", LATENT_LOSSES)
def test_the_gradient_of_a_latent_loss(name, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    p, t = (torch.as_tensor(normal(8, D, seed=s)).requires_grad_() for s in (1, 2))
    a = torch.as_tensor(directions())
    assert torch.autograd.gradcheck(lambda p, t: latent_loss(name, p, t, a), (p, t))


def test_equal_orthogonal_and_opposite_vectors():
    x = unit(normal(N, D, seed=3))
    across = np.roll(np.eye(D)[np.arange(N) % D], 1, axis=1)
    along = np.eye(D)[np.arange(N) % D]
    answers = {"cosine": (0, 1, 2), "mse": (0, 2, 4), "smooth-l1": (0, 1 / D, None)}
    for name, (equal, orthogonal, opposite) in answers.items():
        assert loss(name, x, x) == pytest.approx(equal, abs=1e-6)
        assert loss(name, along, across) == pytest.approx(orthogonal, abs=1e-6)
        if opposite is not None:
            assert loss(name, x, -x) == pytest.approx(opposite, abs=1e-6)
    assert loss("mse", x, along) == pytest.approx(2 * loss("cosine", x, along), rel=1e-5)


def test_what_a_collapsed_batch_costs():
    """Cosine and L1 are at their best, contrastive losses at chance, regularisers at the worst."""
    point = np.ones((N, D))
    assert loss("cosine", point, point) == pytest.approx(0, abs=1e-6)
    assert loss("smooth-l1", point, point) == 0
    assert loss("infonce", point, point) == pytest.approx(np.log(N), rel=1e-5)
    assert loss("vicreg", point, point) == pytest.approx(0.99, abs=0.01)  # both hinges are open
    assert loss("barlow", point, point) == pytest.approx(1, rel=1e-4)
    spread = normal(N, D, seed=4)
    assert loss("sigreg", point, point) > 5 * loss("sigreg", spread, spread)


def test_a_whitened_batch_pays_nothing_to_the_regularisers():
    x = normal(N, D, seed=5)
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    assert loss("vicreg", x, x) == pytest.approx(0, abs=1e-3)
    assert loss("barlow", x, x) == pytest.approx(0, abs=1e-3)


def test_the_statistic_of_sigreg_is_near_its_expectation_for_normal_samples_of_any_size():
    expected = np.sqrt(2 * np.pi) - np.sqrt(2 * np.pi / 3)
    for n in (20, 200, 2000):
        x = torch.as_tensor(normal(n, 400, seed=n))
        assert objectives.epps_pulley(x).mean().item() == pytest.approx(expected, rel=0.1)
    assert objectives.epps_pulley(torch.ones(2000, 3)).min() > 100 * expected
    assert objectives.epps_pulley(3 * x).mean() > 10 * expected, "of another width"


@pytest.mark.parametrize("name", objectives.OVER_BATCH)
def test_losses_that_compare_positions_need_two(name):
    x = torch.ones(1, 1, 1, D)
    with pytest.raises(ValueError, match="at least 2"):
        latent_loss(name, x, x, torch.ones(D, 2))
    assert np.isfinite(loss(name, normal(8, D), normal(8, D)))
    with pytest.raises(ValueError, match="differ"):
        latent_loss(name, torch.ones(3, D), torch.ones(2, D), torch.ones(D, 2))


def build(**choice) -> tuple[PredictReconstruct, dict]:
    config = PredictReconstructConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=3, num_attention_heads=2,
        predictor_size=32, predictor_layers=1, predictor_heads=2, max_position_embeddings=48,
        **choice,
    )  # fmt: skip
    model, generator = PredictReconstruct.build(config, 0), torch.Generator().manual_seed(0)
    ids = torch.randint(5, 100, (4, 48), generator=generator)
    masked, labels = token_masks(
        ids, mask_token_id=4, vocab_size=100, special_ids=range(5), generator=generator
    )
    masks = block_masks(4, 48, min_context=8, generator=generator)
    named = dict(input_ids=ids, masked_ids=masked, labels=labels)
    return model, named | dict(context=masks.context, targets=masks.targets)


@pytest.mark.parametrize("target", TARGETS)
def test_where_a_target_comes_from(target):
    model, batch = build(target=target)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    moving = target in ("ema", "ema-raw", "top-k")
    assert hasattr(model, "target") == moving
    encoder = (model.target if moving else model.encoder).eval()
    h = model.target_vectors(batch["input_ids"], batch["targets"])
    assert h.requires_grad == (target == "live")
    out = encoder(batch["input_ids"], output_hidden_states=True)
    layers = out.hidden_states[-2:] if target == "top-k" else [out.last_hidden_state]
    norm = (lambda x: x) if target == "ema-raw" else lambda x: torch.layer_norm(x, x.shape[-1:])
    whole = torch.stack([norm(x) for x in layers]).mean(0)
    whole = norm(whole)
    for i, block in [(0, 0), (3, 1)]:
        expected = whole[i, batch["targets"][i, block]]
        torch.testing.assert_close(h[i, block], expected, rtol=0, atol=1e-4)
    before = [p.clone() for p in model.parameters()]
    model.update_target(0.5)
    changed = any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert changed == moving


@pytest.mark.parametrize("balance", BALANCES)
def test_a_balance_weighs_the_losses_as_it_says(balance):
    model, batch = build(balance=balance)
    out = model(**batch, progress=0.25, measure=True)
    jepa, mlm, lam = out.jepa_loss.item(), out.mlm_loss.item(), out.lam.item()
    g = out.gradients.tolist()
    if balance == "uncertainty":
        assert (lam, out.loss.item()) == pytest.approx((0.5, jepa + mlm))
        model.balance.w.data[:] = torch.tensor([0.3, -0.2])
        out = model(**batch)
        expected = np.exp(-0.3) * jepa + np.exp(0.2) * mlm + 0.05
        assert out.loss.item() == pytest.approx(expected, rel=1e-5)
        assert out.lam.item() == pytest.approx(np.exp(-0.3) / (np.exp(-0.3) + np.exp(0.2)))
        return
    norms = [0.9 + 0.1 * g[0], 0.9 + 0.1 * g[1]]  # moving averages, from 1 on
    expected = {
        "learned": 0.5,
        "scheduled": (1 + np.cos(np.pi / 4)) / 4,
        "equal-gradients": norms[1] / sum(norms),
    }
    assert lam == pytest.approx(expected[balance], rel=1e-5)
    assert out.loss.item() == pytest.approx(lam * jepa + (1 - lam) * mlm, rel=1e-5)


def test_equal_gradients_end_with_equal_pulls():
    balance = Balance(kind="equal-gradients")
    pulls = torch.tensor([0.02, 0.5, 0.0])
    for _ in range(100):
        _, lam = balance.weigh(torch.tensor(1.0), torch.tensor(2.0), gradients=pulls)
    assert (lam * 0.02).item() == pytest.approx(((1 - lam) * 0.5).item(), rel=0.01)


def test_shared_gradients_are_those_of_two_backward_passes():
    model, batch = build()
    measured = model(**batch, measure=True).gradients
    weight, vectors = model.encoder.blocks[-1].down.weight, []
    for name in ("jepa_loss", "mlm_loss"):
        model.zero_grad()
        model(**batch)[name].backward()
        vectors.append(weight.grad.flatten().double().clone())
    a, b = vectors
    expected = [a.norm(), b.norm(), a @ b / a.norm() / b.norm()]
    assert measured.tolist() == pytest.approx([x.item() for x in expected], rel=1e-3, abs=1e-5)
    assert model(**batch).gradients is None, "computed only if asked for"
    loss = model(**batch)
    again = shared_gradients(loss.jepa_loss, loss.mlm_loss, weight)
    torch.testing.assert_close(measured, again)


def test_measuring_changes_no_gradient():
    grads = []
    for measure in (False, True):
        model, batch = build()
        model(**batch, measure=measure).loss.backward()
        grads.append([p.grad for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        (dict(latent_loss="cosinus"), "one of cosine, smooth-l1"),
        (dict(target="momentum"), "one of ema"),
        (dict(balance="gradnorm"), "one of learned"),
        (dict(mask="lines"), "one of block, random"),
        (dict(mask="spans", leak=True), "mask='block'"),
        (dict(balance="scheduled", lam=0.3), "lam=none"),
        (dict(balance="equal-gradients", lam_lr=0.1), "lam_lr=none"),
    ],
)
def test_unknown_and_incompatible_choices_are_refused(fields, named):
    with pytest.raises(ValueError, match=named):
        Recipe("smoke", **fields)


def test_the_mlm_arm_has_no_objective_to_choose():
    recipe = Recipe("smoke", arm="mlm", latent_loss="infonce", target="live", mask="spans")
    assert recipe == Recipe("smoke", arm="mlm")
