"""ipywidgets for the notebooks: one function call each. Thin: they choose data, `figures` draws.

Without a front end every explorer leaves a static figure in its place, so that a notebook that ran
headless loses the choice and not the content.
"""

from predrecon.workbook.widgets.geometry import geometry_explorer
from predrecon.workbook.widgets.lab import lab_explorer
from predrecon.workbook.widgets.maps import map_explorer
from predrecon.workbook.widgets.masks import masking_explorer
from predrecon.workbook.widgets.probing import probing_explorer
from predrecon.workbook.widgets.training import LiveCurves, training_explorer
