"""The architecture as a transformers configuration, saved as config.json beside the weights."""

from transformers import PretrainedConfig

ARMS = ("hybrid", "mlm")
TOKEN_SCALES = ("none", "sqrt_dim")


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
