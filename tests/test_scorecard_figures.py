"""The figures of the scorecard: every mark is where its number is, in every shape of panel."""

from __future__ import annotations

import math
import re
import statistics
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from reproductions import NETWORK, OPTIMIZERS, PAPER, WEIGHT_DECAYS, reproduction, three

from weightdecay.lab.report.drawn import KINDS
from weightdecay.lab.report.drawn.scatter import late
from weightdecay.lab.report.drawn.view import PLACES, views
from weightdecay.lab.report.scorecard import markdown, rows
from weightdecay.lab.report.scorecard.lines import lines


@pytest.fixture(scope="module")
def told():
    return three()


def view(kind, **changes):
    (found,) = views(reproduction(figures=(kind,), **changes))
    return found


def drawn(kind, **changes):
    """Return the view and the picture of one kind."""
    shown = view(kind, **changes)
    return shown, KINDS[kind](shown)


def line_of(axes, shown, curve):
    """Return x and y of the labelled line of a curve."""
    title = shown.title(curve)
    (found,) = [line for line in axes.lines if line.get_label() == title or line.get_label().startswith(f"{title}, λ")]
    return np.asarray(found.get_xdata()), np.asarray(found.get_ydata())


def test_error_against_decay_is_drawn_as_measured():
    shown, picture = drawn("decay")
    (axes,) = picture.figure.axes
    for curve in shown.curves:
        x, y = line_of(axes, shown, curve)
        cells = [cell for cell in shown.answer.of(curve) if cell.point.weight_decay > 0]
        assert x.tolist() == [cell.point.weight_decay for cell in cells]
        assert y == pytest.approx([statistics.fmean(cell.best_epoch_errors) for cell in cells])
        best = shown.best(curve)
        rings = [line for line in axes.lines if line.get_marker() == "o" and line.get_markersize() == 13]
        mean = statistics.fmean(best.best_epoch_errors)
        assert any(
            ring.get_xdata()[0] == best.point.weight_decay and ring.get_ydata()[0] == pytest.approx(mean)
            for ring in rings
        )
        squares = [line.get_xdata()[0] for line in axes.lines if line.get_markersize() == 17]
        assert squares == [shown.answer.question.fixed[curve].weight_decay] * 3


def test_the_curves_are_means_over_seeds_at_the_best_λ():
    shown, picture = drawn("curves")
    upper, lower = picture.figure.axes
    assert lower.get_yscale() == "log"
    for curve in shown.curves:
        best = shown.best(curve)
        x, y = line_of(upper, shown, curve)
        assert x.tolist() == list(range(1, 11))
        by_epoch = zip(*(result.epochs for result in best.results), strict=True)
        assert y == pytest.approx([statistics.fmean(epoch.test for epoch in epochs) for epochs in by_epoch])
        x, y = line_of(lower, shown, curve)
        assert y[-1] == pytest.approx(statistics.fmean(result.epochs[-1].train_loss for result in best.results))


def test_a_map_has_a_colour_and_a_number_for_every_cell_on_one_scale():
    shown, picture = drawn("heat", lrs=(1e-4, 1e-3, 1e-2))
    maps = [axes for axes in picture.figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in maps] == [shown.title(curve) for curve in shown.curves]
    faces = {}
    for axes, curve in zip(maps, shown.curves, strict=True):
        cells = shown.answer.of(curve)
        assert [text.get_text() for text in axes.texts] == [
            shown.say.exact(statistics.fmean(c.best_epoch_errors)) for c in cells
        ]
        bold = [text.get_text() for text in axes.texts if text.get_fontweight() == "bold"]
        assert bold == [shown.say.exact(statistics.fmean(shown.best(curve).best_epoch_errors))]
        painted = [patch for patch in axes.patches if patch.get_fill()]
        for patch, cell in zip(painted, cells, strict=True):
            lightness = sum(patch.get_facecolor()[:3])
            faces[lightness] = statistics.fmean(cell.best_epoch_errors)
    by_lightness = [faces[lightness] for lightness in sorted(faces)]
    assert by_lightness == sorted(by_lightness)  # dark is low


def test_the_scatter_is_the_last_fifth_of_the_epochs():
    shown, picture = drawn("scatter")
    (axes,) = picture.figure.axes
    clouds = [line for line in axes.lines if len(line.get_xdata()) > 1]
    for curve, cloud in zip(shown.curves, clouds, strict=True):
        results = shown.best(curve).results
        expected = [(e.train_loss, e.test) for result in results for e in result.epochs[-2:]]
        assert list(zip(cloud.get_xdata(), cloud.get_ydata(), strict=True)) == expected
        assert late(results[0]) == expected[:2]


def test_rules_for_a_batch_are_drawn_at_their_multiple():
    shown, picture = drawn("batch", weight_decays=(1.0, 4.0, 16.0))
    (axes,) = picture.figure.axes
    for curve in shown.curves:
        x, y = line_of(axes, shown, curve)
        assert x.tolist() == [1.0, 4.0, 16.0]
        assert y == pytest.approx([statistics.fmean(cell.best_epoch_errors) for cell in shown.answer.of(curve)])
    picture.figure.canvas.draw()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["× 1", "× 4", "× 16"]


def test_gradient_norm_and_v_are_drawn_for_the_methods_that_have_them():
    shown, picture = drawn("norms", optimizers=("adams", "adam"))
    upper, lower = picture.figure.axes
    for axes in (upper, lower):
        assert axes.get_yscale() == "log"
        assert len(axes.lines) == 2
    assert line_of(upper, shown, "adams")[1] == pytest.approx([3 * 0.9**epoch for epoch in range(1, 11)])
    # lr drops by ten at the fifth and the ninth epoch, the effective lr of these results does not
    dropped = [1.0] * 4 + [0.1] * 4 + [0.01] * 2
    assert line_of(lower, shown, "adams")[1] == pytest.approx(
        [(drop * 0.1 * 0.9**epoch) ** 2 for epoch, drop in enumerate(dropped, 1)]
    )


def test_without_gradient_norms_the_figure_says_so():
    def bare(result):
        return replace(result, epochs=tuple(replace(e, grad_norm=None, effective_lr=None) for e in result.epochs))

    _, picture = drawn("norms", change=bare)
    assert [text.get_text() for axes in picture.figure.axes for text in axes.texts] == ["not measured"] * 2


@pytest.mark.parametrize("kind", ["decay", "curves", "batch"])
def test_the_papers_numbers_are_drawn_only_where_the_data_are_the_papers(kind):
    for scale, count in (("paper", 1), ("small", 0), ("smoke", 0)):
        _, picture = drawn(kind, scale=scale, weight_decays=WEIGHT_DECAYS[1:])
        dashes = [line for axes in picture.figure.axes for line in axes.lines if line.get_linewidth() == 2.4]
        assert len(dashes) == count
        assert [line.get_ydata().tolist() for line in dashes] == [[PAPER.mean] * 2] * count
        assert sum("in the paper (table9): 6.96 ± 0.02 %" in spot.text for spot in picture.spots) == count


def test_other_data_than_the_scales_are_not_passed_off_as_its_own():
    other = replace(NETWORK, run={"data": "images:/a/long/path/cifar10-jpeg"})
    one = reproduction(figures=("decay",), scale="paper", setting=other)
    words = "a network on some data (read from cifar10-jpeg), scale paper"
    (shown,) = views(one)
    picture = KINDS["decay"](shown)
    assert words in picture.title
    assert "at the right: the paper’s, on its own data" in [text.get_text() for text in picture.figure.legends[0].texts]
    assert lines([one])[0].where == words
    assert rows([one])[0]["panel"] == "a network on some data (read from cifar10-jpeg)"
    text = markdown([one], "")
    assert words in re.sub(r"\\(.)", r"\1", text)
    assert "/a/long/path" not in text
    (own,) = views(reproduction(setting=replace(NETWORK, run={"data": "mnist"})))
    assert own.where == "a network on some data, scale small"


@pytest.mark.parametrize("kind", KINDS)
def test_titles_name_network_data_and_scale(kind):
    shown, picture = drawn(kind, weight_decays=WEIGHT_DECAYS[1:])
    assert picture.title.startswith("fig7: ")
    assert shown.where in picture.title
    texts = [axes.get_title(loc="left") for axes in picture.figure.axes] + [picture.figure.get_suptitle()]
    assert picture.title in texts


@pytest.mark.parametrize("kind", KINDS)
def test_what_diverged_has_no_place_and_stops_no_figure(kind, tmp_path):
    def some(result):
        return replace(result, status="diverged", epochs=(replace(result.epochs[0], test=None, train_loss=None),))

    def change(result):
        return some(result) if result.run.optimizer == "adam" or result.run.weight_decay == 0.3 else result

    shown, picture = drawn(kind, change=change, weight_decays=WEIGHT_DECAYS[1:])
    picture.save(tmp_path, kind)
    ElementTree.fromstring(re.sub("xlink:", "", picture.inline(kind)))
    assert shown.best("adams").point.weight_decay == 0.1
    if kind in ("decay", "batch"):
        (axes,) = picture.figure.axes
        assert sum(line.get_marker() == "x" for line in axes.lines) == 4 + 1 + 1


def level(point, seed):
    return 4.0 + abs(math.log10(point.weight_decay or 0.01)) + 0.1 * seed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "changes",
    [
        {"weight_decays": (0.1,), "optimizers": ("adams", "sgd"), "seeds": 1},
        {"weight_decays": (0.03, 0.1), "lrs": (1e-3, 1e-2)},
    ],
    ids=["one λ and one seed", "two lrs"],
)
def test_every_shape_of_panel_is_drawn(kind, changes):
    _, picture = drawn(kind, error=level, **changes)
    ElementTree.fromstring(picture.svg)
    assert picture.spots


def test_all_optimizers_and_λ_0_alone_are_drawn():
    for kind, changes in (("batch", {"optimizers": PLACES, "seeds": 1}), ("decay", {"weight_decays": (0.0,)})):
        shown, picture = drawn(kind, error=level, **{"weight_decays": (0.1, 0.3), **changes})
        ElementTree.fromstring(picture.svg)
        assert len(picture.spots) == len(shown.answer.cells)


def test_a_spot_lies_on_the_mark_it_speaks_of():
    shown, picture = drawn("decay")
    text = picture.inline("it")
    spots = re.findall(r'<circle class="spot" data-curve="(\d+)" cx="([\d.]+)" cy="([\d.]+)"', text)
    assert len(spots) == len(picture.spots) == len(shown.answer.cells)
    marks = [(float(x), float(y)) for x, y in re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"', text)]
    for _, x, y in spots:
        assert min(math.dist((float(x), float(y)), mark) for mark in marks) < 0.1


def test_an_optimizer_looks_the_same_in_every_experiment(told):
    for optimizer in OPTIMIZERS:
        assert len({str(shown.looks[optimizer]) for one in told for shown in views(one)}) == 1


def test_variants_of_several_optimizers_share_a_colour_and_those_of_one_do_not():
    from weightdecay.lab.report.drawn.view import _looks

    several = _looks({"adam": "adam", "adam, big": "adam", "adams": "adams", "adams, big": "adams"})
    assert several["adam"]["color"] == several["adam, big"]["color"] != several["adams"]["color"]
    assert several["adam"]["linestyle"] != several["adam, big"]["linestyle"]
    two = _looks({"sgd": "sgd", "tensorflowsgd": "tensorflowsgd"})  # whose own colours are the same
    assert two["sgd"]["color"] != two["tensorflowsgd"]["color"]
    one = _looks({f"sgd, {n}": "sgd" for n in range(5)})
    assert len({look["color"] for look in one.values()}) == 5
