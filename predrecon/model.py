"""Encoder, predictor, token regressor, and the model that trains them together.

One file to read in a sitting; `PredictReconstruct.forward` near its end is Eq. 1 to 7. Shapes:
B samples, L tokens, C context tokens, K target blocks of T tokens, M masked tokens, D encoder
width, V vocabulary. Source: paper, Section 3, Eq. 1-4, 8 and 9; what the text leaves open (pre-
norm, sine-cosine positions, initialisation) follows the author's public configuration: 34.8 M
encoder values at D = 512, positions included.
"""

import copy
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils import ModelOutput

from predrecon.masking import IGNORE
from predrecon.objectives import Balance, jepa_loss, mlm_loss
from predrecon.recipes import ARMS, TOKEN_SCALES


class PredictReconstructConfig(PretrainedConfig):
    """Architecture of both arms. Defaults are the paper's.

    Args:
        vocab_size: V.
        hidden_size: D.
        num_hidden_layers, num_attention_heads, mlp_ratio: the encoder's.
        max_position_embeddings: longest input, in tokens.
        predictor_size, predictor_layers, predictor_heads: the predictor's.
        arm: `"hybrid"` (both losses) or `"mlm"` (no predictor, no target encoder).
        token_scale: what token embeddings are multiplied by before positions are added: `"none"`
            (1, the paper: positions of amplitude 1 drown tokens of std 0.02) or `"sqrt_dim"`
            (the square root of D, Vaswani et al. 2017).
        lam: lambda, fixed; None: learned, from 0.5 on.
        initializer_range: std of the truncated normal initialisation.

    Raises:
        ValueError: a value outside what is listed here.
    """

    model_type = "predrecon"

    def __init__(
        self,
        vocab_size: int = 30522,
        hidden_size: int = 512,
        num_hidden_layers: int = 6,
        num_attention_heads: int = 8,
        mlp_ratio: int = 4,
        max_position_embeddings: int = 512,
        predictor_size: int = 512,
        predictor_layers: int = 6,
        predictor_heads: int = 8,
        arm: str = "hybrid",
        token_scale: str = "none",
        lam: float | None = None,
        initializer_range: float = 0.02,
        layer_norm_eps: float = 1e-6,
        pad_token_id: int = 0,
        **kwargs,
    ):
        if arm not in ARMS:
            raise ValueError(f"arm={arm!r}: expected one of {', '.join(ARMS)}.")
        if token_scale not in TOKEN_SCALES:
            raise ValueError(f"token_scale={token_scale!r}: expected one of {TOKEN_SCALES}.")
        widths = (hidden_size, num_attention_heads), (predictor_size, predictor_heads)
        for width, heads in widths:
            if width % heads or width % 2:
                raise ValueError(f"width {width} must be even and divide by its {heads} heads.")
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.mlp_ratio = mlp_ratio
        self.max_position_embeddings = max_position_embeddings
        self.predictor_size = predictor_size
        self.predictor_layers = predictor_layers
        self.predictor_heads = predictor_heads
        self.arm = arm
        self.token_scale = token_scale
        self.lam = lam
        self.initializer_range = initializer_range
        self.layer_norm_eps = layer_norm_eps
        super().__init__(pad_token_id=pad_token_id, **kwargs)


class SineCosinePositions(nn.Module):
    """Fixed 1-D sine-cosine table `[L_max, D]`: sines in the first half, cosines in the second."""

    def __init__(self, length: int, dim: int):
        super().__init__()
        self.register_buffer("table", torch.empty(length, dim))
        self.fill()

    @torch.no_grad()
    def fill(self):
        length, dim = self.table.shape
        frequency = 10000.0 ** (-torch.arange(dim // 2, dtype=torch.float64) / (dim // 2))
        angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency  # (L, D/2)
        init.copy_(self.table, torch.cat([angle.sin(), angle.cos()], dim=1).float())


def attend(q, k, v, key_mask: torch.Tensor | None = None) -> torch.Tensor:
    """softmax(q k' / sqrt(d)) v for `[B, heads, n, d]`; `key_mask` is False on padding.

    PyTorch's fused kernel, except in bf16 on a CPU without padding: there two matrix products are
    three to four times faster, forward and backward (`[8, 8, 128, 64]`: 6 against 28 ms).
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and key_mask is None:
        return ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(-1) @ v
    return F.scaled_dot_product_attention(q, k, v, attn_mask=key_mask)


class Block(nn.Module):
    """Pre-norm transformer block; `layer` (from 1) scales its residual projections at the start."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int, eps: float, layer: int):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.up = nn.Linear(dim, mlp_ratio * dim)
        self.down = nn.Linear(mlp_ratio * dim, dim)
        self.proj.residual_scale = self.down.residual_scale = 1 / math.sqrt(2 * layer)

    def forward(self, x: torch.Tensor, key_mask=None, at: torch.Tensor | None = None):
        """`x [B, n, D]` to the same shape, or to `[P, D]`: the rows `at [P]` of `[B * n, D]`."""
        b, n, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = attend(q, k, v, key_mask)  # (B, heads, n, d_h)
        attended = attended.transpose(1, 2).reshape(b, n, d)
        if at is not None:
            x, attended = (t.flatten(0, 1).index_select(0, at) for t in (x, attended))
        x = x + self.proj(attended)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


def take(x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """`x [B, L, D]` at `positions [B, P]`: `[B, P, D]`."""
    return x.gather(1, positions[..., None].expand(-1, -1, x.shape[-1]))


@dataclass
class PretrainingOutput(ModelOutput):
    """Scalars of one step. In the `mlm` arm `jepa_loss` is None and `lam` is 0."""

    loss: torch.Tensor | None = None
    jepa_loss: torch.Tensor | None = None
    mlm_loss: torch.Tensor | None = None
    lam: torch.Tensor | None = None


class _Initialised(PreTrainedModel):
    config_class = PredictReconstructConfig

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        std = self.config.initializer_range
        if isinstance(module, nn.Linear):
            std = std * getattr(module, "residual_scale", 1.0)
            init.trunc_normal_(module.weight, std=std)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.trunc_normal_(module.weight, std=std)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, SineCosinePositions):
            module.fill()
        elif isinstance(module, Predictor):
            init.trunc_normal_(module.mask_token, std=std)
        elif isinstance(module, Balance):
            init.constant_(module.w, module.initial)


class Encoder(_Initialised):
    """f_theta: token ids to contextual vectors. What `AutoModel.from_pretrained(run)` returns."""

    base_model_prefix = "encoder"
    _keys_to_ignore_on_load_unexpected: ClassVar = [r"^(predictor|regressor|target|balance)\."]

    def __init__(self, config: PredictReconstructConfig):
        super().__init__(config)
        self.tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.positions = SineCosinePositions(config.max_position_embeddings, config.hidden_size)
        self.blocks = nn.ModuleList(
            Block(
                config.hidden_size,
                config.num_attention_heads,
                config.mlp_ratio,
                config.layer_norm_eps,
                layer,
            )
            for layer in range(1, config.num_hidden_layers + 1)
        )
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.scale = math.sqrt(config.hidden_size) if config.token_scale == "sqrt_dim" else 1.0
        self.post_init()

    def get_input_embeddings(self):
        return self.tokens

    def set_input_embeddings(self, value):
        self.tokens = value

    def encode(self, input_ids, keep=None, key_mask=None) -> torch.Tensor:
        """f_theta(x) `[B, L, D]` (Eq. 4), or f_theta(x, M_enc) `[B, C, D]` for `keep` (Eq. 1).

        Args:
            input_ids: `[B, L]`.
            keep: `[B, C]` positions that are encoded, with their own position embeddings. They do
                not see the others. Default: all.
            key_mask: broadcasts to `[B, heads, n, n]`; False on keys that no token attends to.
        """
        x = self.embed(input_ids)
        return self.transform(x if keep is None else take(x, keep), key_mask)

    def embed(self, input_ids) -> torch.Tensor:
        """Token and position embeddings `[B, L, D]` of `[B, L]` ids."""
        length = input_ids.shape[1]
        if length > self.config.max_position_embeddings:
            raise ValueError(
                f"{length} tokens, but this encoder was built for at most "
                f"{self.config.max_position_embeddings}: truncate the input."
            )
        return self.tokens(input_ids) * self.scale + self.positions.table[:length]

    def transform(self, x: torch.Tensor, key_mask=None, at=None) -> torch.Tensor:
        """`encode` from embeddings `[B, n, D]` on: the blocks and the final norm.

        With `at [P]`, positions in the flattened `[B * n]`, the result is `[P, D]`: the last block
        computes only these.
        """
        *most, last = self.blocks
        for block in most:
            x = block(x, key_mask)
        return self.norm(last(x, key_mask, at))

    def forward(self, input_ids, attention_mask=None, return_dict=None, **kwargs):
        """Encode a padded batch, as transformers' models do (`encode` is for unpadded ones).

        Args:
            input_ids: `[B, L]`.
            attention_mask: `[B, L]`, 1 on real tokens. Default: wherever the id is not padding.

        Returns:
            `BaseModelOutput` with `last_hidden_state [B, L, D]`: padding is attended to by no
            token and is zero in the output.
        """
        if attention_mask is None:
            attention_mask = input_ids != self.config.pad_token_id
        real = attention_mask.bool()  # (B, L)
        hidden = self.encode(input_ids, key_mask=real[:, None, None, :])
        hidden = hidden * real[..., None].to(hidden.dtype)
        if return_dict is False:
            return (hidden,)
        return BaseModelOutput(last_hidden_state=hidden)


class Predictor(nn.Module):
    """g_phi: context vectors and target positions to predicted target vectors (Eq. 2)."""

    def __init__(self, config: PredictReconstructConfig):
        super().__init__()
        dim = config.predictor_size
        self.enter = nn.Linear(config.hidden_size, dim)
        self.mask_token = nn.Parameter(torch.zeros(dim))
        self.positions = SineCosinePositions(config.max_position_embeddings, dim)
        self.blocks = nn.ModuleList(
            Block(dim, config.predictor_heads, config.mlp_ratio, config.layer_norm_eps, layer)
            for layer in range(1, config.predictor_layers + 1)
        )
        self.norm = nn.LayerNorm(dim, eps=config.layer_norm_eps)
        self.leave = nn.Linear(dim, config.hidden_size)

    def forward(self, z, context, targets) -> torch.Tensor:
        """`z [B, C, D]`, `context [B, C]`, `targets [B, K, T]` to `[B, K, T, D]`.

        As in I-JEPA, each target block is predicted on its own: the blocks of a sample do not see
        each other.
        """
        b, k, t = targets.shape
        visible = self.enter(z) + self.positions.table[context]  # (B, C, d)
        queries = self.mask_token + self.positions.table[targets.reshape(b * k, t)]  # (B*K, T, d)
        x = torch.cat([visible.repeat_interleave(k, dim=0), queries], dim=1)  # (B*K, C+T, d)
        *most, last = self.blocks
        for block in most:
            x = block(x)
        rows = torch.arange(x.shape[0] * x.shape[1], device=x.device).view(x.shape[:2])
        x = last(x, at=rows[:, -t:].flatten())  # (B*K*T, d)
        return self.leave(self.norm(x)).view(b, k, t, -1)


class TokenRegressor(nn.Module):
    """h_psi(z) = W2 LN(GELU(W1 z)): vectors `[..., D]` to vocabulary logits `[..., V]` (Eq. 9)."""

    def __init__(self, config: PredictReconstructConfig):
        super().__init__()
        self.w1 = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.w2 = nn.Linear(config.hidden_size, config.vocab_size)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.w2(self.norm(F.gelu(self.w1(z))))


class PredictReconstruct(_Initialised):
    """Everything that is trained: encoder, token regressor and, in the hybrid arm, the JEPA branch.

    `save_pretrained(dir)` writes one folder that `AutoModel.from_pretrained(dir)` opens as the
    encoder alone and `PredictReconstruct.from_pretrained(dir)` as a whole.
    """

    base_model_prefix = "encoder"

    def __init__(self, config: PredictReconstructConfig):
        super().__init__(config)
        self.encoder = Encoder(config)  # first, so that both arms start from the same weights
        self.regressor = TokenRegressor(config)
        if config.arm == "hybrid":
            self.predictor = Predictor(config)
            self.target = Encoder(config).requires_grad_(False)
            self.balance = Balance(config.lam)
        self.post_init()

    @classmethod
    def build(cls, config: PredictReconstructConfig, seed: int) -> "PredictReconstruct":
        """A freshly initialised model that depends on `config` and `seed` alone.

        The encoder's weights are the same in both arms, and the target encoder starts as its copy.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = cls(config)
        if config.arm == "hybrid":
            model.target.load_state_dict(model.encoder.state_dict())
        return model

    def forward(
        self,
        input_ids,
        masked_ids,
        labels,
        context=None,
        targets=None,
        *,
        masked_at=None,
        count=None,
    ):
        """One pre-training pass: target, context, prediction, two losses, balance (Eq. 1-7).

        After `loss.backward()` and the optimiser's step, `update_target` ends the training step.

        Args:
            input_ids: `[B, L]` original tokens x.
            masked_ids: `[B, L]` corrupted tokens.
            labels: `[B, L]` original ids at masked positions, -100 elsewhere.
            context: `[B, C]`, targets: `[B, K, T]`: block masks, needed by the hybrid arm only.
            masked_at: `[M]` positions of the labels in the flattened `[B * L]`. Default: looked
                up, which makes the host wait for a GPU.
            count: scalar that the MLM loss is divided by; default M.

        Returns:
            `PretrainingOutput`.
        """
        if masked_at is None:
            masked_at = (labels.flatten() != IGNORE).nonzero().squeeze(1)
        x = self.encoder.embed(masked_ids)  # (B, L, D), looked up once for both passes
        z_full = self.encoder.transform(x, at=masked_at)  # (M, D), Eq. 4
        mlm = mlm_loss(self.regressor(z_full), labels.flatten()[masked_at], count=count)  # Eq. 6, 9
        if self.config.arm == "mlm":
            return PretrainingOutput(loss=mlm, mlm_loss=mlm, lam=torch.zeros_like(mlm))
        h = self.target_vectors(input_ids, targets)  # (B, K, T, D), Eq. 3
        z = self.encoder.transform(take(x, context))  # (B, C, D), Eq. 1
        predicted = self.predictor(z, context, targets)  # (B, K, T, D), Eq. 2
        jepa = jepa_loss(predicted, h)  # Eq. 5
        loss = self.balance(jepa, mlm)  # Eq. 7
        return PretrainingOutput(loss=loss, jepa_loss=jepa, mlm_loss=mlm, lam=self.balance.lam)

    @torch.no_grad()
    def target_vectors(self, input_ids, targets) -> torch.Tensor:
        """h `[B, K, T, D]` (Eq. 3): the EMA encoder on the unmasked tokens, without gradient.

        Layer-normalised without affine, as in I-JEPA and the public code.
        """
        b, length = input_ids.shape
        rows = torch.arange(b, device=targets.device)[:, None, None] * length + targets  # (B, K, T)
        h = self.target.transform(self.target.embed(input_ids), at=rows.flatten()).float()
        return F.layer_norm(h, h.shape[-1:]).view(*targets.shape, -1)

    @torch.no_grad()
    def update_target(self, momentum: float):
        """theta_bar <- m theta_bar + (1 - m) theta (Eq. 8), one fused call for all tensors."""
        averaged, current = list(self.target.parameters()), list(self.encoder.parameters())
        torch._foreach_lerp_(averaged, current, 1 - momentum)

    def compile_blocks(self):
        """torch.compile every transformer block, in place; the first call of each shape is slow.

        Blocks, not the whole: they are alike, so one compilation serves all of them, and parameter
        names stay. The full-length passes keep their static shape; context and predictor passes,
        whose lengths change from step to step, get one graph for all lengths.
        """
        torch._dynamo.config.recompile_limit = 64  # three kinds of pass, with and without gradient
        for module in self.modules():
            if isinstance(module, Block):
                module.compile()


def untrained(model: PreTrainedModel, seed: int) -> Encoder:
    """A freshly initialised encoder of the same architecture, the baseline of every comparison."""
    config = copy.deepcopy(model.config)
    config.arm = "mlm"
    return PredictReconstruct.build(config, seed).encoder.eval()


AutoConfig.register(PredictReconstructConfig.model_type, PredictReconstructConfig)
AutoModel.register(PredictReconstructConfig, Encoder)
