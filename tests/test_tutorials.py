"""The tutorials run as written, print what they show, draw their pictures, and are right in what they claim."""

import re
import warnings

import pytest
import torch
from PIL import Image
from test_docs import DOCS, FENCE, parts

NUMBER = re.compile(r"[−-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
MARGINS = {
    "adams": (5.0, 0.6),
    "find-your-lambda": (5.0, 0.0),
    "fine-tuning": (12.0, 0.3),
    "muon-language-model": (0.1, 0.15),
    "is-it-doing-anything": (0.02, 0.4),
    "your-own-decay": (0.02, 0.15),
    "quickstart": (0.0, 0.3),
}
"""By how much a number that a page shows may differ on another CPU: absolutely (percent points of an error, where there
are any), or relatively."""
BEST = {"adams": r"best λ +\S+", "find-your-lambda": " +← best"}
"""What a page shows that may be another one of two nearly equal numbers there."""
PRECISE = r"largest difference \S+"
"""Rounding: how much of it there is, a claim bounds."""


def page_of(name):
    return DOCS / ("quickstart.md" if name == "quickstart" else f"tutorials/{name}.md")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Each page once: its names, what each of its blocks printed, and the folder that it ran in."""
    done = {}

    def runs(name):
        if name not in done:
            folder, page = tmp_path_factory.mktemp(name), page_of(name)
            torch.default_generator.manual_seed(0)
            with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
                patch.chdir(folder)
                names, printed = {"__name__": name}, []
                patch.setattr("builtins.print", lambda *values: printed.append(" ".join(map(str, values))))
                for block in parts(page)[0]:
                    block.run(str(page), names)
            done[name] = names, printed, folder
        return done[name]

    yield runs
    done.clear()


def shown(page):
    """Return what the page says that its code prints."""
    fences = FENCE.finditer(page.read_text(encoding="utf-8"))
    return "".join(found["code"] for found in fences if found["tag"].strip() == "text")


def test_every_tutorial_is_tested():
    assert {page.stem for page in (DOCS / "tutorials").glob("*.md")} | {"quickstart"} == {*MARGINS, "index"}


@pytest.mark.parametrize("name", MARGINS)
def test_a_tutorial_prints_what_it_shows(run, name):
    _, printed, _ = run(name)
    loose = f"{BEST.get(name, PRECISE)}|{PRECISE}"
    texts = [re.sub(loose, "", text) for text in (shown(page_of(name)), "\n".join(printed) + "\n")]
    words = [[line.split() for line in NUMBER.sub("# ", text).splitlines()] for text in texts]
    assert words[0] == words[1]
    absolute, relative = MARGINS[name]
    here, there = ([float(each.replace(",", "").replace("−", "-")) for each in NUMBER.findall(text)] for text in texts)
    assert there == pytest.approx(here, abs=absolute, rel=relative)


@pytest.mark.parametrize("name", [name for name in MARGINS if name != "quickstart"])
def test_the_picture_of_a_tutorial_is_that_of_its_code(run, name):
    drawn, kept = run(name)[2] / f"{name}.png", DOCS / f"images/tutorials/{name}.png"
    assert f"images/tutorials/{name}.png)" in page_of(name).read_text(encoding="utf-8")
    with Image.open(drawn) as new, Image.open(kept) as old:
        assert new.size == old.size
        differs = [a != b for a, b in zip(new.convert("L").tobytes(), old.convert("L").tobytes(), strict=True)]
    assert sum(differs) < 0.1 * len(differs)


def test_sgds_and_adams_want_one_lambda_and_adamw_another(run):
    names, _, _ = run("adams")
    best = {name: min(curve, key=curve.get) for name, curve in names["curves"].items()}
    assert best["SGDS"] / 3.5 < best["AdamS"] < 3.5 * best["SGDS"]
    assert best["AdamW"] > 30 * best["AdamS"]
    for name, curve in names["curves"].items():
        assert curve[best[name]] < 0.8 * curve[0.0]
    assert names["same"] == pytest.approx(names["after"], abs=2)
    assert names["forgotten"] > 60


def test_a_search_by_factors_of_ten_and_three_finds_the_valley(run):
    found, short, ruled = (run("find-your-lambda")[0][name] for name in ("found", "short", "ruled"))
    assert run("find-your-lambda")[0]["best"] in (1.0, 3.0)
    assert min(found.values()) < 0.75 * found[0.0]
    assert min(found[0.1], found[10.0]) > 1.3 * min(found.values())
    assert short[0.0] < short[ruled] - 3


def test_an_anchor_keeps_the_old_task_and_learns_less_of_the_new_one(run):
    results = run("fine-tuning")[0]["results"]
    (old, new), anchor = results["decoupled", 3.0], "toward(start, decoupled)"
    assert old > results["decoupled", 0.0][0] + 15
    assert results[anchor, 3.0][0] < results["decoupled", 0.0][0] - 5
    assert new < results[anchor, 3.0][1] - 3
    shares = [float(each) for each in re.findall(r"\|W\| ([\d.]+)", "\n".join(run("fine-tuning")[1]))]
    assert shares == sorted(shares, reverse=True)
    assert shares[2] < 0.5 * shares[0]


def test_muon_and_adamw_train_and_lambda_shows_in_the_norm(run):
    runs = run("muon-language-model")[0]["runs"]
    held_out = [loss for _, _, loss in runs.values()]
    assert max(held_out) < 3
    assert max(held_out) - min(held_out) < 0.3
    weak, strong = runs["MuonAdamW, λ = 0.1"][1], runs["MuonAdamW, λ = 3"][1]
    assert weak[-1] > weak[0]
    assert strong[-1] < 0.5 * strong[0]


def test_a_decay_that_does_nothing_is_found_out(run):
    names, _, _ = run("is-it-doing-anything")
    assert names["readings"]["weightdecay/group0/total_pull"] == pytest.approx(3e-4)
    assert names["difference"] < 1e-3
    ends = {label: norms[-1] for label, norms in names["histories"].items()}
    none, little, much, more = ends.values()
    assert 0.5 * none < little < none
    assert much < 0.6 * none
    assert more < 0.35 * none


def test_a_decay_of_ones_own_is_its_formula_and_spares_large_weights(run):
    names, _, _ = run("your-own-decay")
    expected = torch.tensor(names["expected"], dtype=torch.float64)
    assert (names["p"] - expected).abs().max() < 2e-15
    largest = {name: weight.abs().max().item() for name, weight in names["runs"].items()}
    assert names["same"]
    assert largest["Decoupled()"] < 0.9 * largest["Huber(0.1)"]
