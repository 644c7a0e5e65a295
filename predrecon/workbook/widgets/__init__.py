"""ipywidgets for the notebooks: one function call each. They choose data, `figures` draws it.

Without a front end every explorer leaves a static figure in its place, so a notebook that ran
headless keeps the content and loses only the controls.
"""

from predrecon.workbook.widgets.geometry import geometry_explorer
from predrecon.workbook.widgets.lab import lab_explorer
from predrecon.workbook.widgets.maps import map_explorer
from predrecon.workbook.widgets.masks import masking_explorer
from predrecon.workbook.widgets.probing import probing_explorer
from predrecon.workbook.widgets.training import LiveCurves, training_explorer
