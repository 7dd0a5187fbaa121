"""Sphinx: formulas as MathML, which browsers draw themselves: no script, no font, no network.

Every browser since 2023 knows MathML Core. latex2mathml translates the 218 formulas of these pages in half a second; a
command that it does not know would be shown as text, and stops the build instead.
"""

import re

from docutils import nodes
from sphinx.errors import SphinxError

LEFT = re.compile(r"\\[A-Za-z]+|&(?!#?\w+;)|&amp;")


def mathml(latex, block):
    """Return a formula as a MathML element. Raises: SphinxError, for a command that is not translated."""
    from latex2mathml.converter import convert

    lines = re.split(r"\n\s*\n", latex.strip())  # Sphinx: a blank line begins another formula
    if block and (len(lines) > 1 or r"\\" in latex or "&" in latex) and r"\begin" not in latex:
        latex = r"\begin{split}" + r" \\ ".join(lines) + r"\end{split}"
    text = convert(latex, display="block" if block else "inline")
    if left := LEFT.search(re.sub("<[^>]+>", "", text)):
        raise SphinxError(f"latex2mathml does not know {left[0]} in {latex!r}. Write the formula without it.")
    return text


def inline(translator, node):
    """Write a formula within a line."""
    translator.body.append(f'<span class="math">{mathml(node.astext(), False)}</span>')
    raise nodes.SkipNode


def block(translator, node):
    """Write a formula that stands alone; a wide one scrolls."""
    if node.get("number"):
        raise SphinxError(f"formulas are not numbered here: {node.astext()!r}.")
    translator.body.append(f'<div class="math">{mathml(node.astext(), True)}</div>')
    raise nodes.SkipNode


def setup(app):
    """Register the renderer, which ``html_math_renderer`` names."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
