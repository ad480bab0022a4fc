"""Settings of the documentation site, which ``make docs`` builds into ``build/docs``."""

import inspect
import os
import re
import sys
from pathlib import Path

from sphinx.ext import autosummary

import zeroloss

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tools"))
import notebooks  # noqa: E402 — of tools/

project = "zeroloss"
author = "The zeroloss developers"
project_copyright = "The zeroloss developers"
release = version = zeroloss.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_nb",
    "sphinx_copybutton",
    "sphinx_design",
]
templates_path = ["_templates"]

# Pages are Markdown. Their code cells run when the site is built, each page in a temporary directory. Output
# on standard error, such as a warning, makes the build fail. Progress bars depend on the speed of the machine, so they
# are not shown.
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 120
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_output_stderr = "error"

os.environ["IPYTHONDIR"] = str(ROOT / "build" / "docs-ipython")
startup = ROOT / "build" / "docs-ipython" / "profile_default" / "startup" / "cells.py"
startup.parent.mkdir(parents=True, exist_ok=True)
startup.write_text(
    "import zeroloss._progress\nzeroloss._progress.in_notebook = lambda: False\ndel zeroloss\n", encoding="utf-8"
)

# The reference: numpydoc docstrings, one page for each public name. Signatures have no types, because the sections
# "Parameters" and "Returns" describe them in words. A single backquoted name is a link if it can be imported.
autosummary_generate = True
autosummary.WELL_KNOWN_ABBREVIATIONS += ("Eq.", "Eqs.", "Sec.", "Fig.", "Figs.")  # no end of a first sentence
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
default_role = "autolink"
nitpick_ignore_regex = [("py:class", r"collections\.abc\..*")]
#: Modules without a page, in the docstring of NormFlow.
nitpick_ignore = [("py:obj", f"zeroloss.dynamics.{name}") for name in ("proximal", "softened")]

html_theme = "pydata_sphinx_theme"
html_title = "zeroloss"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "article_header_end": ["notebook"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {"index": [], "quick-start": [], "questions": [], "gallery": [], "performance": []}


def group_public_names(module):
    """Return the names in ``__all__`` of a module, by the headings of its page."""
    groups = {"Functions": [], "Classes": [], "Exceptions": [], "Constants": []}
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value):
            groups["Exceptions" if issubclass(value, BaseException) else "Classes"].append(name)
        elif not inspect.ismodule(value):
            groups["Functions" if callable(value) else "Constants"].append(name)
    return groups


modules = {f"zeroloss.{name}": getattr(zeroloss, name) for name in zeroloss.__all__}
modules = {"zeroloss": zeroloss} | {name: module for name, module in modules.items() if inspect.ismodule(module)}
autosummary_context = {"public_names": {name: group_public_names(module) for name, module in modules.items()}}
sys.modules.update(modules)  # zeroloss.learning_rate is a module of zeroloss.dynamics: autodoc imports by name


def join_thousands(app, docname, source):
    """Replace the space within a number such as 40 000 by one at which lines do not break, outside of code."""
    parts = re.split(r"(^```.*?^```$)", source[0], flags=re.MULTILINE | re.DOTALL)
    parts[::2] = [re.sub(r"(?<=\d) (?=\d{3}\b)", "\N{NO-BREAK SPACE}", part) for part in parts[::2]]
    source[0] = "".join(parts)


def shorten_class_signature(app, what, name, value, options, signature, returns):
    """Return the signature of a class as callers see it, without types; none for a protocol, which nobody calls."""
    if what != "class" or signature is None:
        return None
    if getattr(value, "_is_protocol", False):
        return "", returns
    parameters = inspect.signature(value).parameters.values()
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters]
    return str(inspect.Signature(bare)), returns


def write_notebooks(app):
    """Write the notebooks that the pages with cells offer for download."""
    app.config.html_context["notebooks"] = {
        page: f"notebooks/{notebooks.name_notebook(page)}"
        for page in notebooks.write_notebooks(Path(app.outdir) / "notebooks")
    }


def setup(app):
    """Connect the functions above to the build."""
    app.connect("builder-inited", write_notebooks)
    app.connect("autodoc-process-signature", shorten_class_signature)
    app.connect("source-read", join_thousands)
