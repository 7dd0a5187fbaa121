"""Every link and picture of a page leads to a file of the repository, and to a heading that is there."""

import re
from urllib.parse import unquote

import pytest
from test_docs import FENCE, PAGES, ROOT, name_of

OTHERS = [ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")]
LINK = re.compile(r"\]\(([^()\s]+(?:\([^()\s]*\)[^()\s]*)?)\)")
ALL = [*PAGES, *OTHERS]


def slug(heading):
    """Return the anchor of a heading, as the hosting sites and MyST make it."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def text_of(page):
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page):
    text = text_of(page)
    return {slug(found) for found in re.findall(r"^#{1,6} +(.+)$", text, re.M)} | {
        *re.findall(r'(?:id|name)="(\w+)"', text)
    }


def broken(page, text):
    """Return the links of a text that lead nowhere, when it stands where a page is."""
    for link in LINK.findall(re.sub(r"`[^`\n]*`", "", text)):
        if re.match(r"https?://", link):
            continue
        file, _, anchor = unquote(link).partition("#")
        target = (page.parent / file).resolve() if file else page
        if (
            not target.exists()
            or ROOT not in target.parents
            or (anchor and (target.suffix != ".md" or anchor not in anchors(target)))
        ):
            yield link


@pytest.mark.parametrize("page", ALL, ids=name_of)
def test_no_link_of_a_page_is_broken(page):
    assert list(broken(page, text_of(page))) == []


def test_every_page_is_in_the_table_of_contents():
    """A page that no toctree names is built, and nobody finds it."""
    listed = set()
    for page in PAGES:
        for tree in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
            for line in tree.split("\n"):
                if line and not line.startswith(":"):
                    listed |= {found.resolve() for found in page.parent.glob(f"{line.strip()}.md")}
    docs = {page.resolve() for page in PAGES if page.parent != ROOT}
    assert docs - listed == {(ROOT / "docs/index.md").resolve()}


@pytest.mark.parametrize(
    ("link", "whole"),
    [
        ("quickstart.md", True),
        ("decays/stable.md#λ-is-sgds-not-adamws", True),
        ("quickstrat.md", False),
        ("quickstart.md#nowhere", False),
        ("../../outside.md", False),
        ("https://example.org/x", True),
    ],
)
def test_a_broken_link_is_found(link, whole):
    assert (list(broken(ROOT / "docs/index.md", f"[here]({link})")) == []) == whole


def test_no_page_names_a_path_of_a_machine():
    for page in ALL:
        assert not re.search(r"(?<![\w.])/(?:home|root|Users|work)/\w", text_of(page)), name_of(page)
