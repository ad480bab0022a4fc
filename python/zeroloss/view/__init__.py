"""Pages that show a run or a sweep in the browser: one HTML file each, without access to the network."""

from .output import serve, view, view_run
from .page import run_page

__all__ = ["run_page", "serve", "view", "view_run"]
