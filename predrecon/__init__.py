"""predrecon: what does a JEPA objective do to a text encoder?

A flat core and four subpackages. Each imports only from the core and from subpackages above it.

| where              | what                                                                     |
|--------------------|--------------------------------------------------------------------------|
| `model`            | encoder, predictor, token regressor; `PredictReconstruct.forward`        |
| `masking`          | block masks (JEPA) and token masks (MLM)                                 |
| `objectives`       | both losses, the balance, the schedules                                  |
| `pooling`          | token vectors to sentence vectors                                        |
| `metrics`,`probes` | the six geometry metrics; linear heads, semantic and token probe         |
| `recipes`          | every setting of a run; the presets                                      |
| `seeding`          | randomness as a function of (seed, purpose, step)                        |
| `data/`            | text to packed token blocks, the embedded text, labelled tasks           |
| `training/`        | batches, the loop, checkpoints, run folders                              |
| `audit/`           | encoders measured and compared, the grid, the map of claims              |
| `workbook/`        | for the notebooks: tables, figures, widgets, pages; the command line     |

`import predrecon` registers the encoder with transformers, so `AutoModel.from_pretrained(run_dir)`
works. Modules that need accelerate, scikit-learn, plotly or umap are imported on first use.
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

EQUATIONS = {
    1: "model.Encoder.encode",
    2: "model.Predictor",
    3: "model.PredictReconstruct.target_vectors",
    4: "model.Encoder.encode",
    5: "objectives.jepa_loss",
    6: "objectives.mlm_loss",
    7: "objectives.Balance",
    8: "model.PredictReconstruct.update_target",
    9: "model.TokenRegressor",
    10: "pooling.pool",
    11: "metrics.spectral_entropy",
    12: "metrics.effective_rank",
    13: "metrics.stable_rank",
    14: "metrics.alignment",
    15: "metrics.uniformity",
    16: "metrics.probe_gap",
}
"""`{equation of the paper: what computes it}`, each name below `predrecon`."""

_LAZY = {
    "load_encoder": "predrecon.audit.encoders",
    "load_corpus": "predrecon.data.corpus",
    "load_task": "predrecon.data.tasks",
    "pretrain": "predrecon.training.loop",
}

__all__ = [
    "EQUATIONS",
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
