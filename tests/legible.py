"""What every page must be in a browser: quiet, legible in light and dark, whole on a phone and with the keyboard."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import MISSING, Page, program

needs_chromium = pytest.mark.skipif(program() is None, reason=MISSING)

FAINT = """
(() => {
  const rgba = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = (c) => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = rgba(getComputedStyle(e).backgroundColor);
      if (colour.length == 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some((node) => node.nodeType == 3 && node.textContent.trim());
    if (!own || !element.getClientRects().length || element.closest("script")) continue;
    const style = getComputedStyle(element);
    const ink = rgba(element instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [luminance(ink), luminance(behind(element))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) found.push(`${contrast.toFixed(2)}: ${element.textContent.trim().slice(0, 40)}`);
  }
  return found;
})()
"""
"""Texts whose contrast with what is behind them is less than the 4.5 that WCAG 2 asks for."""

INKED = """
[...document.querySelectorAll("svg *")].filter((part) => {
  const style = getComputedStyle(part);
  return style.fill == "rgb(27, 31, 36)" || style.stroke == "rgb(27, 31, 36)";
}).length
"""
"""Parts of figures in the light page's ink, which a dark page would hide."""

LOST = """
[...document.querySelectorAll("[href], [src]")].map((e) => e.getAttribute("href") || e.getAttribute("src")).filter(
  (to) => !to.startsWith("data:") && !(to.startsWith("#") && document.getElementById(decodeURIComponent(to.slice(1)))))
"""
"""References that lead nowhere, or away from the page."""

OUTSIDE = """
[...document.body.querySelectorAll("*")].filter((e) => {
  const box = e.getBoundingClientRect();
  return box.width && box.right > innerWidth + 1 && !e.closest(".wide") && !e.closest(".skip");
}).map((e) => e.outerHTML.slice(0, 80))
"""
"""What reaches over the right edge and is in no box that scrolls by itself."""


def assert_legible(tab: Page, path: Path) -> None:
    """Open the page on a desktop and on a phone, in light and dark, with everything unfolded."""
    for width in (1200, 360):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        tab.call("Emulation.setDeviceMetricsOverride", **size)
        for mode in ("light", "dark"):
            tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": mode}])
            tab.open(path.as_uri())
            tab.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            where = f"{path.name}, {width} pixels, {mode}"
            assert tab.run("document.scrollingElement.scrollWidth") <= width, (where, tab.run(OUTSIDE))
            assert tab.run(OUTSIDE) == [], where
            assert tab.run(FAINT) == [], where
            assert tab.run("matchMedia('(prefers-color-scheme: dark)').matches") == (mode == "dark")
            if mode == "dark":
                assert tab.run(INKED) == 0, where
            assert tab.run(LOST) == [], where
            assert tab.complaints() == [], where
            assert tab.requests() == [path.as_uri()], where
    # On paper a dark page is black on white, and nothing is cut off at the edge of a box.
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    tab.call("Emulation.setEmulatedMedia", media="print", features=dark)
    assert tab.run("getComputedStyle(document.body).color") == "rgb(27, 31, 36)"
    assert tab.run("[...document.querySelectorAll('.wide')].every((e) => getComputedStyle(e).overflowX == 'visible')")
    tab.call("Emulation.setEmulatedMedia", media="", features=[])
    # The first key leads past the summary, and what it leads to can be seen.
    tab.run("document.body.focus()")
    tab.press("Tab")
    assert tab.run("document.activeElement.className") == "skip"
    assert tab.run("document.activeElement.getBoundingClientRect().left") >= 0
    tab.call("Emulation.clearDeviceMetricsOverride")
