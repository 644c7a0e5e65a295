"""Tidy tables to plotly figures. Drawing only: nothing here trains, encodes or measures."""

from predrecon.figures.evidence import (
    contrasts,
    differences,
    lambdas,
    plateau,
    trajectories,
)
from predrecon.figures.geometry import (
    eigenspectra,
    embedding_map,
    length_control,
    metric_bars,
    probe_bars,
)
from predrecon.figures.masking import block_diagram, coverage, sentence_html, token_fates
from predrecon.figures.menus import switchable
from predrecon.figures.pages import figure_div, write_gallery, write_plotly_js
from predrecon.figures.paper import (
    alignment_uniformity,
    pooling_ablation,
    probe_comparison,
    radar,
)
from predrecon.figures.poolers import pooler_spread
from predrecon.figures.style import COLORS, Gallery, bundle, live, show
from predrecon.figures.training import lambda_dynamics, training_curves

__all__ = [
    "COLORS",
    "Gallery",
    "alignment_uniformity",
    "block_diagram",
    "bundle",
    "contrasts",
    "coverage",
    "differences",
    "eigenspectra",
    "embedding_map",
    "figure_div",
    "lambda_dynamics",
    "lambdas",
    "length_control",
    "live",
    "metric_bars",
    "plateau",
    "pooler_spread",
    "pooling_ablation",
    "probe_bars",
    "probe_comparison",
    "radar",
    "sentence_html",
    "show",
    "switchable",
    "token_fates",
    "training_curves",
    "trajectories",
    "write_gallery",
    "write_plotly_js",
]
