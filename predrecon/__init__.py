"""predrecon: what does a JEPA objective do to a text encoder?

Importing it registers the encoder with transformers, so that `AutoModel.from_pretrained(run_dir)`
works. What needs datasets, accelerate, scikit-learn, plotly or umap is imported when first used.
"""

import importlib

from predrecon.masking import BlockMasks, block_masks, token_masks
from predrecon.model import (
    Encoder,
    Predictor,
    PredictReconstruct,
    PredictReconstructConfig,
    TokenRegressor,
)
from predrecon.objectives import Balance, jepa_loss, mlm_loss
from predrecon.pooling import pool

__version__ = "0.1.0"

_LAZY = {
    "load_corpus": "predrecon.data.corpus",
    "load_task": "predrecon.data.tasks",
    "pretrain": "predrecon.training.pretraining",
}

__all__ = [
    "Balance",
    "BlockMasks",
    "Encoder",
    "PredictReconstruct",
    "PredictReconstructConfig",
    "Predictor",
    "TokenRegressor",
    "block_masks",
    "jepa_loss",
    "mlm_loss",
    "pool",
    "token_masks",
    *sorted(_LAZY),
]


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
