"""Sphinx: Markdown pages, docstrings as they stand in the code."""

import re
from importlib.metadata import version as installed

project, author, version = "weightdecay", "the weightdecay authors", installed("weightdecay")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "weightdecay"
autodoc_member_order = "bysource"
autodoc_typehints = "none"


def _fields(app, what, name, obj, options, lines):
    """`Units:  text` in a docstring is a field of the page; indented lines after it belong to it."""
    for i, line in enumerate(lines):
        lines[i] = re.sub(r"^(Shapes|Units|Raises|Source):\s+", r":\1: ", line)


def setup(app):
    app.connect("autodoc-process-docstring", _fields)
