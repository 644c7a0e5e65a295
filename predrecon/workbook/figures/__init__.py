"""Tidy tables to plotly figures. Drawing only: nothing here trains, encodes or measures."""

from predrecon.workbook.figures.evidence import (
    answer,
    contrasts,
    differences,
    headline_differences,
    laboratory,
    lambdas,
    pair_differences,
    plateau,
    pulls,
    trajectories,
)
from predrecon.workbook.figures.findings import best_of, claim_statuses, power_curve, suspect
from predrecon.workbook.figures.gallery import (
    Gallery,
    bundle,
    figure_div,
    plotly_js,
    render,
    show,
    write_plotly_js,
)
from predrecon.workbook.figures.geometry import (
    alignment_uniformity,
    by_layer,
    clouds,
    eigenspectra,
    known_spectrum,
    length_control,
    metric_bars,
    pooling_ablation,
    probe_comparison,
    radar,
)
from predrecon.workbook.figures.maps import embedding_map
from predrecon.workbook.figures.masking import block_diagram, coverage, sentence_html, token_fates
from predrecon.workbook.figures.menus import switchable
from predrecon.workbook.figures.poolers import pooler_spread
from predrecon.workbook.figures.probes import probe_bars
from predrecon.workbook.figures.training import lambda_dynamics, training_curves
