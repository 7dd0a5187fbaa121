"""Sphinx: Markdown pages, docstrings as they stand in the code."""

import re
import sys
from importlib.metadata import version as installed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # of mathml.py and parameters.py
import parameters

project, author, version = "weightdecay", "the weightdecay authors", installed("weightdecay")
extensions = ["myst_parser", "sphinx.ext.autodoc", "mathml"]
html_math_renderer = "mathml"
html_css_files = ["math.css"]
html_static_path = ["static"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "weightdecay"
html_show_copyright = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
# The pages of weightdecay.integrations are built without the frameworks.
autodoc_mock_imports = ["transformers", "lightning", "pytorch_lightning", "timm"]


FIELD = re.compile(r"^(Shapes|Units|Range|Raises|Source):\s+")


def _fields(app, what, name, obj, options, lines):
    """`Units:  text` in a docstring is a field of the page, and the lines up to the next one or a gap belong to it.

    What the parameters mean comes after the text, where the docstring does not say it.
    """
    inside = False
    for i, line in enumerate(lines):
        if FIELD.match(line):
            lines[i], inside = FIELD.sub(r":\1: ", line), True
        elif not line.strip():
            inside = False
        elif inside:
            lines[i] = "    " + line.strip()
    if what in ("class", "function") and (said := parameters.fields(obj)):
        lines += ["", *said, ""]


def setup(app):
    app.add_config_value("meanings", sorted(map(str, parameters.WORDS.items())), "env")  # others: every page anew
    app.connect("autodoc-process-docstring", _fields)
