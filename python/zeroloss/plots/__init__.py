"""Pictures of runs, networks and sweeps with Matplotlib.

Every ``plot_`` function makes a figure, or draws into axes that you give, and returns the figure. The method
``savefig`` of the figure writes PNG, SVG or PDF. No function needs a display or shows a window. Notebooks show the
figure that a cell returns. The colours can be distinguished with every kind of colour vision.
"""

from .curves import add_colour_bar as add_colour_bar
from .curves import add_time_axis as add_time_axis
from .curves import draw_matrix as draw_matrix
from .curves import draw_runs as draw_runs
from .curves import shade_span as shade_span
from .embedding import draw_circle as draw_circle
from .embedding import find_strongest as find_strongest
from .embedding import plot_circles, plot_phases
from .figures import make_figure
from .history import Curves as Curves
from .history import draw_panels as draw_panels
from .history import height_of as height_of
from .history import plot_history
from .pictures import COLOURS, save, style
from .pictures import FORMS as FORMS
from .pictures import add_legend as add_legend
from .pictures import add_title as add_title
from .pictures import format_numbers as format_numbers
from .pictures import is_ours as is_ours
from .pictures import mark_quick as mark_quick
from .pictures import write_label as write_label
from .pictures import write_literally as write_literally
from .plane import ZERO_LOSS as ZERO_LOSS
from .plane import add_time_legend as add_time_legend
from .plane import draw_angle as draw_angle
from .plane import draw_arrow as draw_arrow
from .plane import draw_trajectory as draw_trajectory
from .plane import make_grid as make_grid
from .plane import mark_times as mark_times
from .plane import shade_landscape as shade_landscape
from .predictions import plot_predictions
from .sweep_map import choose_keys as choose_keys
from .sweep_map import draw_squares as draw_squares
from .sweep_map import find_delays as find_delays
from .sweep_map import format_values as format_values
from .sweep_map import plot_sweep

__all__ = [
    "COLOURS",
    "make_figure",
    "plot_circles",
    "plot_history",
    "plot_phases",
    "plot_predictions",
    "plot_sweep",
    "save",
    "style",
]
