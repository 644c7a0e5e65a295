"""Encoder, predictor, token regressor, and the model that trains them together.

One file to read in one sitting; `PredictReconstruct.forward` near its end is Eq. 1 to 7. Shapes:
B samples, L tokens, C context tokens, K target blocks of T tokens, M masked tokens, D encoder
width, V vocabulary. Source: paper, Section 3, Eq. 1-4, 8 and 9.

Two architectures with the same objectives and the same names. `published`: what the paper's text
leaves open (pre-norm, sine-cosine positions, initialisation) follows the author's public
configuration; 34.8 M encoder values at D = 512, positions included. `modern`: the computation of
transformers' ModernBertModel (Warner et al. 2024): rotary positions, a norm on the embedding and
none before the first attention, GeGLU, no biases; the token regressor is its prediction head with a
decoder tied to the token embeddings. All layers are global, unless the weights come from a
ModernBERT with local ones (`modernbert`).
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
from predrecon.objectives import Balance, latent_loss, mlm_loss, shared_gradients
from predrecon.recipes import ARCHITECTURES, ARMS, TOKEN_SCALES, check_architecture


class PredictReconstructConfig(PretrainedConfig):
    """Architecture of both arms. Defaults are the paper's.

    Args:
        vocab_size: V.
        architecture: `"published"` or `"modern"`.
        hidden_size: D.
        num_hidden_layers, num_attention_heads, mlp_ratio: the encoder's; the MLPs are `mlp_ratio` D
            wide (modern: in the gate and in the value), rounded.
        max_position_embeddings: longest input, in tokens.
        predictor_size, predictor_layers, predictor_heads: the predictor's.
        arm: `"hybrid"` (both losses) or `"mlm"` (no predictor, no target encoder).
        token_scale: what token embeddings are multiplied by before positions are added: `"none"`
            (1, the paper: positions of amplitude 1 drown tokens of std 0.02) or `"sqrt_dim"`
            (the square root of D, Vaswani et al. 2017). Published architecture only.
        rope_theta: base of the rotary frequencies. Modern architecture only.
        layer_types: `"full_attention"` or `"sliding_attention"` for each of the encoder's layers.
            With the latter, a token attends to tokens at most `local_attention // 2` positions
            away, and the base is `local_rope_theta`. None: all full. Modern architecture only.
        lam: fixed lambda; None: learned, starting at 0.5.
        latent_loss, balance: entries of `objectives.LATENT_LOSSES` and `BALANCES`.
        target: an entry of `TARGETS`.
        initializer_range: std of the truncated normal initialisation.
        layer_norm_eps: of all norms except the token regressor's, which has `regressor_norm_eps`,
            by default the same (1e-5 in the public code).

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
        mlp_ratio: int | float = 4,
        max_position_embeddings: int = 512,
        predictor_size: int = 512,
        predictor_layers: int = 6,
        predictor_heads: int = 8,
        arm: str = "hybrid",
        token_scale: str = "none",
        architecture: str = "published",
        rope_theta: float = 10_000.0,
        layer_types: list[str] | None = None,
        local_attention: int = 128,
        local_rope_theta: float = 10_000.0,
        lam: float | None = None,
        latent_loss: str = "cosine",
        target: str = "ema",
        balance: str = "learned",
        initializer_range: float = 0.02,
        layer_norm_eps: float = 1e-6,
        regressor_norm_eps: float | None = None,
        pad_token_id: int = 0,
        **kwargs,
    ):
        if arm not in ARMS:
            raise ValueError(f"arm={arm!r}: expected one of {', '.join(ARMS)}.")
        if token_scale not in TOKEN_SCALES:
            raise ValueError(f"token_scale={token_scale!r}: expected one of {TOKEN_SCALES}.")
        if architecture not in ARCHITECTURES:
            raise ValueError(f"architecture={architecture!r}: expected one of {ARCHITECTURES}.")
        check_architecture(
            architecture,
            token_scale,
            hidden_size=(hidden_size, num_attention_heads),
            predictor_size=(predictor_size, predictor_heads),
        )
        if layer_types is not None and (
            architecture != "modern"
            or len(layer_types) != num_hidden_layers
            or not set(layer_types) <= {"full_attention", "sliding_attention"}
        ):
            raise ValueError(
                f"layer_types={layer_types}: expected 'full_attention' or 'sliding_attention' for "
                f"each of {num_hidden_layers} layers, with the modern architecture."
            )
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
        self.architecture = architecture
        self.rope_theta = rope_theta
        self.layer_types = layer_types
        self.local_attention = local_attention
        self.local_rope_theta = local_rope_theta
        self.lam = lam
        self.latent_loss = latent_loss
        self.target = target
        self.balance = balance
        self.initializer_range = initializer_range
        self.layer_norm_eps = layer_norm_eps
        self.regressor_norm_eps = regressor_norm_eps
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


class RotaryPositions(nn.Module):
    """Cosines and sines `[2, L_max, d/2]` of rotary positions (Su et al. 2021), as ModernBERT's."""

    def __init__(self, length: int, head_dim: int, theta: float):
        super().__init__()
        self.theta = theta
        self.register_buffer("table", torch.empty(2, length, head_dim // 2))
        self.fill()

    @torch.no_grad()
    def fill(self):
        _, length, half = self.table.shape
        frequency = 1.0 / self.theta ** (torch.arange(half, dtype=torch.float) / half)
        angle = torch.arange(length, dtype=torch.float)[:, None] * frequency  # (L, d/2)
        init.copy_(self.table, torch.stack([angle.cos(), angle.sin()]))

    def at(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines `[B, 1, n, d/2]` at `positions [B, n]`; one row serves all samples."""
        cos, sin = self.table[:, positions].unsqueeze(2)
        return cos, sin


def rotate(x: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """`x [B, heads, n, d]` with its pairs (i, i + d/2) turned by each position's angles."""
    (a, b), (cos, sin) = x.float().chunk(2, dim=-1), rotation
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1).to(x.dtype)


def within(reach: int, positions: torch.Tensor, key_mask=None) -> torch.Tensor:
    """Which keys `[B, 1, n, n]` the tokens at `positions [B, n]` see: those `reach` away at most.

    A token always sees itself, so that padding, which `key_mask` hides, has something to attend to.
    """
    distance = (positions[:, :, None] - positions[:, None, :]).abs()[:, None]
    seen = distance <= reach
    return seen if key_mask is None else seen & key_mask | (distance == 0)


def attend(q, k, v, key_mask: torch.Tensor | None = None) -> torch.Tensor:
    """softmax(q k' / sqrt(d)) v for `[B, heads, n, d]`; `key_mask` is False on padding.

    PyTorch's fused kernel, except in bf16 on a CPU without padding: there two matrix products are
    three to four times faster, forward and backward (`[8, 8, 128, 64]`: 6 against 28 ms).
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and key_mask is None:
        return ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(-1) @ v
    return F.scaled_dot_product_attention(q, k, v, attn_mask=key_mask)


class Block(nn.Module):
    """Pre-norm transformer block.

    Args:
        dim, heads, mlp_ratio, eps: its sizes.
        residual_scale: factor on the residual projections' initial standard deviation.
        modern: GeGLU instead of GELU, no biases.
        normed: False where the input is normalised already (the modern encoder's first block).
    """

    def __init__(
        self, dim, heads, mlp_ratio, eps, *, residual_scale: float, modern=False, normed=True
    ):
        super().__init__()
        self.heads, self.modern, bias, width = heads, modern, not modern, round(mlp_ratio * dim)
        self.norm1 = nn.LayerNorm(dim, eps=eps, bias=bias) if normed else nn.Identity()
        self.qkv = nn.Linear(dim, 3 * dim, bias=bias)
        self.proj = nn.Linear(dim, dim, bias=bias)
        self.norm2 = nn.LayerNorm(dim, eps=eps, bias=bias)
        self.up = nn.Linear(dim, 2 * width if modern else width, bias=bias)
        self.down = nn.Linear(width, dim, bias=bias)
        self.proj.residual_scale = self.down.residual_scale = residual_scale

    def forward(
        self, x: torch.Tensor, key_mask=None, at: torch.Tensor | None = None, rotation=None
    ):
        """`x [B, n, D]` to the same shape, or to `[P, D]`: the rows `at [P]` of `[B * n, D]`."""
        b, n, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        attended = attend(q, k, v, key_mask)  # (B, heads, n, d_h)
        attended = attended.transpose(1, 2).reshape(b, n, d)
        if at is not None:
            x, attended = (t.flatten(0, 1).index_select(0, at) for t in (x, attended))
        x = x + self.proj(attended)
        return x + self.down(self._activation(self.up(self.norm2(x))))

    def _activation(self, x: torch.Tensor) -> torch.Tensor:
        if not self.modern:
            return F.gelu(x)
        value, gate = x.chunk(2, dim=-1)
        return F.gelu(value) * gate


def _blocks(config: PredictReconstructConfig, dim: int, heads: int, layers: int, *, first_normed):
    """The blocks of an encoder or a predictor."""
    modern = config.architecture == "modern"
    return nn.ModuleList(
        Block(
            dim, heads, config.mlp_ratio, config.layer_norm_eps, modern=modern,
            residual_scale=1 / math.sqrt(2 * (layers if modern else layer)),
            normed=first_normed or layer > 1,
        )
        for layer in range(1, layers + 1)
    )  # fmt: skip


def take(x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """`x [B, L, D]` at `positions [B, P]`: `[B, P, D]`."""
    return x.gather(1, positions[..., None].expand(-1, -1, x.shape[-1]))


@dataclass
class PretrainingOutput(ModelOutput):
    """Scalars of one step. In the `mlm` arm `jepa_loss` is None and `lam` is 0.

    `gradients [3]`, if asked for: `objectives.shared_gradients`.
    """

    loss: torch.Tensor | None = None
    jepa_loss: torch.Tensor | None = None
    mlm_loss: torch.Tensor | None = None
    lam: torch.Tensor | None = None
    gradients: torch.Tensor | None = None


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
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, SineCosinePositions | RotaryPositions):
            module.fill()
        elif isinstance(module, Predictor):
            init.trunc_normal_(module.mask_token, std=std)
        elif isinstance(module, TokenRegressor) and module.bias is not None:
            init.zeros_(module.bias)
        elif isinstance(module, Balance):
            init.constant_(module.w, module.initial)
            if hasattr(module, "norms"):
                init.ones_(module.norms)


class Encoder(_Initialised):
    """f_theta: token ids to contextual vectors. What `AutoModel.from_pretrained(run)` returns."""

    base_model_prefix = "encoder"
    _keys_to_ignore_on_load_unexpected: ClassVar = [r"^(predictor|regressor|target|balance)\."]

    def __init__(self, config: PredictReconstructConfig):
        super().__init__(config)
        dim, heads, length = (
            config.hidden_size, config.num_attention_heads, config.max_position_embeddings
        )  # fmt: skip
        modern, eps = config.architecture == "modern", config.layer_norm_eps
        types = config.layer_types or ["full_attention"] * config.num_hidden_layers
        self.local = [kind == "sliding_attention" for kind in types]
        self.tokens = nn.Embedding(config.vocab_size, dim)
        if modern:
            self.positions = RotaryPositions(length, dim // heads, config.rope_theta)
            if any(self.local):
                self.local_positions = RotaryPositions(
                    length, dim // heads, config.local_rope_theta
                )
            self.embedding_norm = nn.LayerNorm(dim, eps=eps, bias=False)
        else:
            self.positions = SineCosinePositions(length, dim)
        self.blocks = _blocks(config, dim, heads, config.num_hidden_layers, first_normed=not modern)
        self.norm = nn.LayerNorm(dim, eps=eps, bias=not modern)
        self.scale = math.sqrt(dim) if config.token_scale == "sqrt_dim" else 1.0
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
        return self.transform(self.embed(input_ids), key_mask, keep=keep)

    def embed(self, input_ids) -> torch.Tensor:
        """Embeddings `[B, L, D]` of `[B, L]` ids, ready for the first block.

        Published: tokens plus positions. Modern: normalised tokens; `transform` adds the rotation.
        """
        length = input_ids.shape[1]
        if length > self.config.max_position_embeddings:
            raise ValueError(
                f"{length} tokens, but this encoder was built for at most "
                f"{self.config.max_position_embeddings}: truncate the input."
            )
        x = self.tokens(input_ids) * self.scale
        if self.config.architecture == "modern":
            return self.embedding_norm(x)
        return x + self.positions.table[:length]

    def transform(
        self, x: torch.Tensor, key_mask=None, at=None, *, keep=None, states: list | None = None
    ) -> torch.Tensor:
        """`encode` from embeddings `[B, L, D]` on: the blocks and the final norm.

        With `at [P]`, positions in the flattened `[B * L]`, the result is `[P, D]`: the last block
        computes only these. `states`, if given, collects the input of each block.
        """
        rotation, length = None, x.shape[1]
        if self.config.architecture == "modern":
            positions = torch.arange(length, device=x.device)[None] if keep is None else keep
            rotation = self.positions.at(positions)
        views = [(key_mask, rotation)] * len(self.blocks)
        if any(self.local):
            reach = self.config.local_attention // 2
            mask = key_mask if length <= reach + 1 else within(reach, positions, key_mask)
            view = mask, self.local_positions.at(positions)
            views = [view if local else views[0] for local in self.local]
        x = x if keep is None else take(x, keep)
        *most, last = zip(self.blocks, views, strict=True)
        for block, (mask, rotation) in most:
            if states is not None:
                states.append(x)
            x = block(x, mask, rotation=rotation)
        if states is not None:
            states.append(x)
        block, (mask, rotation) = last
        return self.norm(block(x, mask, at, rotation))

    def forward(
        self,
        input_ids,
        attention_mask=None,
        return_dict=None,
        output_hidden_states=False,
        **kwargs,
    ):
        """Encode a padded batch, as transformers' models do (`encode` is for unpadded ones).

        Args:
            input_ids: `[B, L]`.
            attention_mask: `[B, L]`, 1 on real tokens. Default: wherever the id is not padding.
                Positions count from the first real one, so that padding may be on either side.

        Returns:
            `BaseModelOutput` with `last_hidden_state [B, L, D]`: no token attends to padding, and
            padding is zero in the output. With `output_hidden_states` also `hidden_states`: the
            embeddings, then the output of each block, the last after the final norm, as in
            transformers' pre-norm models.
        """
        if attention_mask is None:
            attention_mask = input_ids != self.config.pad_token_id
        real = attention_mask.bool()  # (B, L)
        start, length = real.int().argmax(dim=1, keepdim=True), real.shape[1]
        places = torch.arange(length, device=real.device)
        ahead, back = (places + start) % length, (places - start) % length
        input_ids, real = input_ids.gather(1, ahead), real.gather(1, ahead)
        states = [] if output_hidden_states else None
        x = self.transform(self.embed(input_ids), real[:, None, None, :], states=states)
        kept = tuple(take(y * real[..., None].to(y.dtype), back) for y in [*(states or []), x])
        if return_dict is False:
            return (kept[-1], kept) if output_hidden_states else kept
        every = kept if output_hidden_states else None
        return BaseModelOutput(last_hidden_state=kept[-1], hidden_states=every)


class Predictor(nn.Module):
    """g_phi: context vectors and target positions to predicted target vectors (Eq. 2)."""

    def __init__(self, config: PredictReconstructConfig):
        super().__init__()
        dim, heads, length = (
            config.predictor_size, config.predictor_heads, config.max_position_embeddings
        )  # fmt: skip
        self.modern = config.architecture == "modern"
        self.enter = nn.Linear(config.hidden_size, dim)
        self.mask_token = nn.Parameter(torch.zeros(dim))
        if self.modern:
            self.positions = RotaryPositions(length, dim // heads, config.rope_theta)
        else:
            self.positions = SineCosinePositions(length, dim)
        self.blocks = _blocks(config, dim, heads, config.predictor_layers, first_normed=True)
        self.norm = nn.LayerNorm(dim, eps=config.layer_norm_eps, bias=not self.modern)
        self.leave = nn.Linear(dim, config.hidden_size)

    def forward(self, z, context, targets) -> torch.Tensor:
        """`z [B, C, D]`, `context [B, C]`, `targets [B, K, T]` to `[B, K, T, D]`.

        As in I-JEPA, each target block is predicted on its own: the blocks of a sample do not see
        each other.
        """
        b, k, t = targets.shape
        visible, queries = self.enter(z), self.mask_token.expand(b * k, t, -1)
        rotation, targets = None, targets.reshape(b * k, t)
        if self.modern:
            positions = torch.cat([context.repeat_interleave(k, dim=0), targets], dim=1)
            rotation = self.positions.at(positions)
        else:
            visible = visible + self.positions.table[context]  # (B, C, d)
            queries = queries + self.positions.table[targets]  # (B*K, T, d)
        x = torch.cat([visible.repeat_interleave(k, dim=0), queries], dim=1)  # (B*K, C+T, d)
        *most, last = self.blocks
        for block in most:
            x = block(x, rotation=rotation)
        rows = torch.arange(x.shape[0] * x.shape[1], device=x.device).view(x.shape[:2])
        x = last(x, at=rows[:, -t:].flatten(), rotation=rotation)  # (B*K*T, d)
        return self.leave(self.norm(x)).view(b, k, t, -1)


class TokenRegressor(nn.Module):
    """h_psi(z) = W2 LN(GELU(W1 z)): vectors `[..., D]` to vocabulary logits `[..., V]` (Eq. 9).

    Modern: W1 and the norm have no bias, and W2 is the encoder's token embedding, with a bias.
    """

    def __init__(self, config: PredictReconstructConfig):
        super().__init__()
        dim, modern = config.hidden_size, config.architecture == "modern"
        self.w1 = nn.Linear(dim, dim, bias=not modern)
        eps = config.regressor_norm_eps or config.layer_norm_eps
        self.norm = nn.LayerNorm(dim, eps=eps, bias=not modern)
        self.w2 = None if modern else nn.Linear(dim, config.vocab_size)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size)) if modern else None

    def forward(self, z: torch.Tensor, tokens: nn.Embedding) -> torch.Tensor:
        """Logits of `z`; `tokens` is the encoder's embedding, the modern architecture's decoder."""
        z = self.norm(F.gelu(self.w1(z)))
        return F.linear(z, tokens.weight, self.bias) if self.w2 is None else self.w2(z)


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
            if config.target in EMA_TARGETS:
                self.target = Encoder(config).requires_grad_(False)
            self.balance = Balance(config.lam, config.balance)
        self.post_init()

    @classmethod
    def build(cls, config: PredictReconstructConfig, seed: int) -> "PredictReconstruct":
        """A freshly initialised model that depends on `config` and `seed` alone.

        The encoder's weights are the same in both arms, and the target encoder starts as its copy.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = cls(config)
        model.reset_target()
        return model

    def reset_target(self):
        """The target encoder, where there is one, becomes a copy of the encoder."""
        if hasattr(self, "target"):
            self.target.load_state_dict(self.encoder.state_dict())

    def forward(
        self,
        input_ids,
        masked_ids,
        labels,
        context=None,
        targets=None,
        *,
        directions=None,
        masked_at=None,
        count=None,
        progress: float = 0.0,
        measure: bool = False,
    ):
        """One pre-training pass: target, context, prediction, two losses, balance (Eq. 1-7).

        After `loss.backward()` and the optimiser's step, `update_target` ends the training step.

        Args:
            input_ids: `[B, L]` original tokens x.
            masked_ids: `[B, L]` corrupted tokens.
            labels: `[B, L]` original ids at masked positions, -100 elsewhere.
            context: `[B, C]`, targets: `[B, K, T]`: block masks, needed by the hybrid arm only.
            directions: `[D, S]` unit vectors, needed by `sigreg` only.
            masked_at: `[M]` positions of the labels in the flattened `[B * L]`. Default: looked
                up, which makes the host wait for a GPU.
            count: scalar that the MLM loss is divided by; default M.
            progress: share of the training steps already done, for a scheduled balance.
            measure: whether to compute `gradients`, which costs part of a backward pass.

        Returns:
            `PretrainingOutput`.
        """
        if masked_at is None:
            masked_at = (labels.flatten() != IGNORE).nonzero().squeeze(1)
        x = self.encoder.embed(masked_ids)  # (B, L, D), looked up once for both passes
        z_full = self.encoder.transform(x, at=masked_at)  # (M, D), Eq. 4
        mlm = mlm_loss(self.logits(z_full), labels.flatten()[masked_at], count=count)  # Eq. 6, 9
        if self.config.arm == "mlm":
            return PretrainingOutput(loss=mlm, mlm_loss=mlm, lam=torch.zeros_like(mlm))
        h = self.target_vectors(input_ids, targets)  # (B, K, T, D), Eq. 3
        z = self.encoder.transform(x, keep=context)  # (B, C, D), Eq. 1
        predicted = self.predictor(z, context, targets)  # (B, K, T, D), Eq. 2
        kind, gather = self.config.latent_loss, self.training
        jepa = latent_loss(kind, predicted, h, directions, gather=gather)  # Eq. 5
        gradients = None
        if torch.is_grad_enabled() and (measure or self.config.balance == "equal-gradients"):
            gradients = shared_gradients(jepa, mlm, self.encoder.blocks[-1].down.weight)
        loss, lam = self.balance.weigh(jepa, mlm, progress=progress, gradients=gradients)  # Eq. 7
        return PretrainingOutput(
            loss=loss, jepa_loss=jepa, mlm_loss=mlm, lam=lam, gradients=gradients
        )

    def logits(self, z: torch.Tensor) -> torch.Tensor:
        """Vocabulary logits `[..., V]` of the encoder's vectors `[..., D]` (Eq. 9)."""
        return self.regressor(z, self.encoder.tokens)

    def target_vectors(self, input_ids, targets) -> torch.Tensor:
        """h `[B, K, T, D]` (Eq. 3): by default the EMA encoder on the unmasked tokens, no gradient.

        Layer-normalised without affine, as in I-JEPA and the public code. See `TARGETS`.
        """
        b, length = input_ids.shape
        rows = torch.arange(b, device=targets.device)[:, None, None] * length + targets  # (B, K, T)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.target == "live"):
            encoder = self.target if self.config.target in EMA_TARGETS else self.encoder
            h = TARGETS[self.config.target](encoder, input_ids, rows.flatten())
        return h.view(*targets.shape, -1)

    @torch.no_grad()
    def update_target(self, momentum: float):
        """theta_bar <- m theta_bar + (1 - m) theta (Eq. 8), one fused call for all tensors.

        Does nothing if the encoder is its own target.
        """
        if not hasattr(self, "target"):
            return
        averaged, current = list(self.target.parameters()), list(self.encoder.parameters())
        torch._foreach_lerp_(averaged, current, 1 - momentum)

    def compile_blocks(self):
        """torch.compile every transformer block, in place; the first call of each shape is slow.

        Blocks instead of the whole model: one compilation serves all blocks, and parameter names do
        not change. Full-length passes keep their static shape; context and predictor passes, whose
        lengths change from step to step, get one graph for all lengths.
        """
        torch._functorch.config.donated_buffer = False  # `shared_gradients` runs backward twice
        torch._dynamo.config.recompile_limit = 64  # three kinds of pass, with and without gradient
        for module in self.modules():
            if isinstance(module, Block):
                module.compile()


def final_layer(encoder: Encoder, input_ids, rows) -> torch.Tensor:
    """The encoder's output at `rows [P]` of the flattened `[B * L]`, layer-normalised: `[P, D]`."""
    h = encoder.transform(encoder.embed(input_ids), at=rows).float()
    return F.layer_norm(h, h.shape[-1:])


def unnormalised(encoder: Encoder, input_ids, rows) -> torch.Tensor:
    """`final_layer` without the extra layer norm: the output of the encoder's own last norm."""
    return encoder.transform(encoder.embed(input_ids), at=rows).float()


def top_layers(encoder: Encoder, input_ids, rows) -> torch.Tensor:
    """Mean of the upper half of the layers, each layer-normalised (data2vec, Baevski et al. 2022).

    A layer's output is the next block's input; with two layers, both are averaged.
    """
    states: list[torch.Tensor] = []
    last = encoder.transform(encoder.embed(input_ids), states=states)
    layers = [*states[1:], last][-max(2, len(states) // 2) :]
    layers = [x.flatten(0, 1).index_select(0, rows).float() for x in layers]
    h = torch.stack([F.layer_norm(x, x.shape[-1:]) for x in layers]).mean(0)
    return F.layer_norm(h, h.shape[-1:])


TARGETS = {
    "ema": final_layer,  # the paper's: the moving average of the encoder
    "ema-raw": unnormalised,
    "top-k": top_layers,
    "stopgrad": final_layer,  # the encoder itself, as it is, without gradient (SimSiam)
    "live": final_layer,  # the encoder itself, with gradient: collapses unless the loss prevents it
}
"""`{name: (encoder, ids [B, L], rows [P]) -> vectors [P, D]}`."""

EMA_TARGETS = ("ema", "ema-raw", "top-k")
"""Targets that a second encoder computes, the moving average of the first."""


def untrained(model: PreTrainedModel, seed: int) -> Encoder:
    """A freshly initialised encoder of the same architecture, the baseline of every comparison."""
    config = copy.deepcopy(model.config)
    config.arm = "mlm"
    return PredictReconstruct.build(config, seed).encoder.eval()


AutoConfig.register(PredictReconstructConfig.model_type, PredictReconstructConfig)
AutoModel.register(PredictReconstructConfig, Encoder)
