"""The documentation's formulas: what is written for a browser, and what stops the build."""

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest


@pytest.fixture
def mathml(monkeypatch):
    pytest.importorskip("latex2mathml", reason="latex2mathml comes with weightdecay[docs]")
    pytest.importorskip("sphinx", reason="sphinx comes with weightdecay[docs]")
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[1] / "docs"), *sys.path])
    from mathml import mathml

    return mathml


def count(text, tag):
    return len(list(ElementTree.fromstring(text).iter(f"{{http://www.w3.org/1998/Math/MathML}}{tag}")))


def test_lines_are_rows_and_signs_are_columns(mathml):
    assert count(mathml(r"m_t &= \frac{a}{b} \\ v_t &= \sqrt{c}", block=True), "mtr") == 2
    assert count(mathml("a = b\n\nc = d", block=True), "mtr") == 2
    one = mathml(r"\theta_t", block=False)
    assert (count(one, "mtr"), count(one, "msub")) == (0, 1)


@pytest.mark.parametrize("latex", [r"\big\langle a", r"a & b", r"\nosuchcommand x"])
def test_what_is_not_translated_stops_the_build(mathml, latex):
    from sphinx.errors import SphinxError

    with pytest.raises(SphinxError, match="latex2mathml does not know"):
        mathml(latex, block=False)
