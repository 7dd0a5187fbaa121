"""The paper as experiments: what is run at each scale, and that verdicts follow from numbers."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from weightdecay.lab import paper
from weightdecay.lab.paper import arms, claims, numbers, optima, ordering
from weightdecay.lab.paper.experiment import Claim, Experiment, panel_of
from weightdecay.lab.paper.experiments import large_batch
from weightdecay.lab.paper.judge import judge
from weightdecay.lab.paper.measure import BEST, LAST, MEASURES, SELECTED
from weightdecay.lab.run import Epoch, Result, Run
from weightdecay.lab.run.settings import SettingsError
from weightdecay.lab.study.answer import Answer, Cell
from weightdecay.lab.study.difference import paired, seeds_for
from weightdecay.lab.study.question import Point
from weightdecay.lab.training.train import check

SMALL = paper.scale("small")


# ---------------------------------------------------------------- statistics


@pytest.mark.parametrize(("shift", "verdict"), [(-5.0, "holds"), (5.0, "refuted"), (0.0, "undecided")])
def test_a_difference_is_scipys_paired_t_test(shift, verdict):
    draw = np.random.default_rng(3)
    a, b = draw.normal(size=6) + shift, draw.normal(size=6)
    found = paired(a.tolist(), b.tolist())
    test = stats.ttest_rel(a, b)
    interval = test.confidence_interval(0.95)
    assert found.p == pytest.approx(test.pvalue, rel=1e-9)
    assert found.interval == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.verdict == verdict


def test_what_rounding_leaves_of_nothing_is_nothing():
    one = paired([4.3, 0.1 + 0.2, 0.3], [0.3, 4.3, 0.1 + 0.2])
    assert 0 < abs(one.mean) < 1e-15
    assert str(one).startswith("+0 [−")
    assert str(paired([1.0, 2.0], [math.inf, math.inf])) == "−inf [−inf, −inf]"


def test_the_number_of_seeds_has_the_power_it_promises():
    """Simulated: at the number found the test sees the difference in 80 % of draws, at one seed fewer in less."""
    draw = np.random.default_rng(0)
    mean, spread = 1.0, 1.3
    count = seeds_for(mean, spread)
    power = {
        n: (stats.ttest_1samp(draw.normal(mean, spread, size=(20_000, n)), 0, axis=1).pvalue < 0.05).mean()
        for n in (count - 1, count)
    }
    error = 4 * math.sqrt(0.8 * 0.2 / 20_000)
    assert power[count] > 0.8 - error
    assert power[count - 1] < 0.8 + error
    assert seeds_for(0.0, 1.0) is None
    assert seeds_for(1e-9, 1.0) is None


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [
        ([1.0, 2.0], [math.inf, math.inf], "holds"),
        ([math.inf, math.inf], [1.0, 2.0], "refuted"),
        ([1.0, math.inf], [3.0, 4.0], "undecided"),
        ([math.inf] * 2, [math.inf] * 2, "undecided"),
        ([1.0], [2.0], "undecided"),
        ([1.0, 2.0], [2.0, 3.0], "holds"),  # the same difference with both seeds
    ],
)
def test_runs_that_diverged_and_single_seeds_decide_only_what_is_beyond_doubt(a, b, verdict):
    assert paired(a, b).verdict == verdict


def test_a_claim_about_several_holds_if_all_do_and_is_refuted_by_one_after_correction():
    low, high = paired([0.0, 0.1, 0.2], [5, 5.2, 5.1]), paired([5, 5.2, 5.1], [0.0, 0.1, 0.2])
    open_ = paired([1.0, 2.0, 3.0], [2.5, 1.5, 2.5])
    assert ordering.all_of([low, low]) == ("holds", None)
    assert ordering.all_of([low, high])[0] == "refuted"
    verdict, seeds = ordering.all_of([low, open_])
    assert (verdict, seeds) == ("undecided", open_.seeds)
    # p = 0.04 refutes alone, and not as the worst of ten.
    barely = replace(high, p=0.04)
    assert ordering.all_of([barely])[0] == "refuted"
    assert ordering.all_of([barely] + [low] * 9)[0] == "undecided"


def test_a_bootstrap_takes_every_resample_of_few_seeds():
    assert ordering.bootstrap(3, lambda seeds: True) == ("holds", 1.0)
    assert ordering.bootstrap(3, lambda seeds: 0 in seeds) == ("undecided", pytest.approx(19 / 27))
    assert ordering.bootstrap(3, lambda seeds: False) == ("refuted", 0.0)
    assert ordering.bootstrap(1, lambda seeds: True)[0] == "undecided"
    assert ordering.bootstrap(9, lambda seeds: 0 in seeds)[1] == pytest.approx(1 - (8 / 9) ** 9, abs=0.03)


# ---------------------------------------------------------------- claims, on numbers made for them


def result(run, errors, losses=None, validation=None):
    losses, validation = losses or [1.0] * len(errors), validation or [None] * len(errors)
    epochs = tuple(
        Epoch(i, 0.1, loss, 1.0, error, None if held is None else 1.0, held)
        for i, (error, loss, held) in enumerate(zip(errors, losses, validation, strict=True), 1)
    )
    return Result(run, "finished", epochs, 1.0)


def answer(table, losses=None):
    """A panel of (optimizer, place) → last-epoch errors by seed; the first place of an optimizer is the paper's."""
    points, drawn, fixed, cells = {}, {}, {}, {}
    for (name, place), errors in table.items():
        point = Point(name, 0.1, place)
        runs = tuple(Run(name, 0.1, place, seed) for seed in range(len(errors)))
        points[point], drawn[point] = runs, place
        fixed.setdefault(name, point)
        loss = (losses or {}).get(name, 1.0)
        cells[point] = Cell(point, tuple(result(run, [error], [loss]) for run, error in zip(runs, errors, strict=True)))
    asked = panel_of(SMALL.setting("ResNet18, CIFAR-10"), points, drawn, fixed=fixed)
    return Answer(asked, tuple(cells.values()))


CLEAR = answer({
    ("sgd", 0.1): (9.0, 9.1, 9.2), ("sgd", 1.0): (6.0, 6.1, 6.2), ("sgd", 10.0): (8.0, 8.1, 8.2),
    ("adams", 0.1): (5.0, 5.1, 5.2), ("adams", 1.0): (5.5, 5.5, 5.8), ("adams", 10.0): (9.0, 9.0, 9.0),
})  # fmt: skip


@pytest.mark.parametrize(
    ("predicate", "verdict"),
    [
        (claims.lowest("adams", ["sgd"]), "holds"),
        (claims.lowest("sgd", ["adams"]), "refuted"),
        (claims.lowest("sgd", ["adams"], claims.fixed), "refuted"),
        (claims.lower_everywhere("adams", ["sgd"]), "refuted"),  # not at 10
        (claims.lower_at(("adams", 1.0), ("sgd", 1.0)), "holds"),
        (claims.decreasing([("sgd", 0.1), ("sgd", 10.0), ("sgd", 1.0)]), "holds"),
        (claims.decreasing([("sgd", 1.0), ("sgd", 0.1)]), "refuted"),
        (optima.optimum_at("sgd", 1.0), "holds"),
        (optima.optimum_at("sgd", 10.0), "refuted"),
        (optima.optimum_at("sgd", 2.0), "holds"),  # within a step of half a decade
        (optima.same_optimum(["sgd", "adams"]), "refuted"),
        (optima.optimum_follows(["adams", "sgd"], [10.0]), "holds"),
        (optima.optimum_follows(["sgd", "adams"], [10.0]), "refuted"),
        (optima.wider("adams", ["sgd"]), "holds"),  # two cells within a tenth of 5.1, against none
    ],
)
def test_a_verdict_follows_from_the_numbers(predicate, verdict):
    found = predicate(CLEAR, BEST)
    assert found.verdict == verdict, found


def test_what_seeds_disagree_on_is_undecided_and_says_how_many_would_decide():
    noisy = answer({("adams", 1.0): (5.0, 7.0, 6.0), ("sgd", 1.0): (6.5, 6.0, 6.6)})
    found = claims.lowest("adams", ["sgd"])(noisy, BEST)
    assert found.verdict == "undecided"
    assert found.seeds == paired((5.0, 7.0, 6.0), (6.5, 6.0, 6.6)).seeds > 3
    assert "6 − SGD 6.367 = −0.367" in found.measured


COLLAPSED = {
    ("adams", 0.1): (5.0, 5.1, 5.2), ("adam", 0.1): (6.0, 6.1, 6.2), ("sgd", 0.1): (4.0, 4.1, 4.2),
    ("adamw", 100.0): (89.0, 89.1, 89.2), ("adamw", 10.0): (5.5, 5.6, 5.7),
}  # fmt: skip


@pytest.mark.parametrize(
    ("predicate", "verdict"),
    [
        (claims.lowest("adams", ["adamw"], claims.fixed), "not judged"),
        (claims.lowest("adams", ["adam", "adamw"], claims.fixed), "not judged"),
        (claims.lowest("adams", ["sgd", "adamw"], claims.fixed), "refuted"),  # by SGD, whatever AdamW is worth
        (claims.lowest("adams", ["adam"], claims.fixed), "holds"),
        (claims.lowest("adams", ["adamw"], claims.tuned), "holds"),  # at the λ that is best for AdamW
        (claims.lowest_training_loss("adams", ["adamw"]), "not judged"),
        (claims.lower_error_at_no_lower_loss("adams", ["adamw"]), "not judged"),
        (claims.lower_error_at_no_lower_loss("adams", ["adam", "adamw"]), "not judged"),
        (claims.lower_error_at_no_lower_loss("adams", ["sgd", "adamw"]), "refuted"),
    ],
)
def test_adamw_at_the_papers_lambda_is_judged_only_where_a_weight_can_live(predicate, verdict):
    """Pull × steps is kept in a shorter training, and 1/λ is then below the size that weights begin with."""
    found = predicate(answer(COLLAPSED, {"adamw": 2.3}), BEST)
    assert found.verdict == verdict, found
    if verdict == "not judged":
        assert "AdamW at λ 100 is not judged here: pull × steps is the paper’s" in found.measured
        assert "below 1/λ = 0.01" in found.measured
        assert found.seeds is None


def test_adamw_is_judged_in_the_papers_own_training_and_where_its_weights_have_room():
    claim = claims.lowest("adams", ["adamw"], claims.fixed)
    known = answer(COLLAPSED)
    whole = replace(known.question, task=paper.scale("paper").setting("ResNet18, CIFAR-10"))
    assert claim(replace(known, question=whole), BEST).verdict == "holds"
    roomy = {("adams", 0.1): (5.0, 5.1, 5.2), ("adamw", 8.0): (89.0, 89.1, 89.2)}
    assert claim(answer(roomy), BEST).verdict == "holds"


def test_no_more_seeds_decide_what_is_not_judged_but_they_decide_the_rest():
    open_ = {**COLLAPSED, ("adam", 0.1): (6.0, 4.9, 6.5)}
    found = claims.lowest("adams", ["adam", "adamw"], claims.fixed)(answer(open_), BEST)
    assert found.verdict == "undecided"
    assert found.seeds == claims.lowest("adams", ["adam"], claims.fixed)(answer(open_), BEST).seeds > 3


@pytest.mark.parametrize(("loss", "verdict"), [(1.0, "holds"), (2.0, "holds"), (0.5, "undecided")])
def test_a_lower_error_at_a_lower_loss_is_not_what_figure_5_claims(loss, verdict):
    found = claims.lower_error_at_no_lower_loss("adams", ["sgd"])(answer(
        {("adams", 1.0): (5.0, 5.1, 5.2), ("sgd", 1.0): (6.0, 6.1, 6.2)}, {"adams": loss}
    ), BEST)  # fmt: skip
    assert found.verdict == verdict


def test_three_measures_read_a_run_differently_and_each_chooses_by_itself():
    run = Run("sgd", 0.1, 0.0, 0)
    one = result(run, [7.0, 5.0, 6.0], validation=[9.0, 8.0, 7.0])
    assert [measure.of(one) for measure in (BEST, LAST, SELECTED)] == [5.0, 6.0, 6.0]
    assert [measure.chosen_by(one) for measure in (BEST, LAST, SELECTED)] == [5.0, 6.0, 7.0]
    assert math.isnan(SELECTED.of(result(run, [1.0])))


def test_a_measure_without_a_number_gives_no_verdict_and_smoke_gives_none_at_all():
    table = {("adams", 1.0): (5.0, 5.1), ("sgd", 1.0): (6.0, 6.1)}
    known = answer(table)
    experiment = Experiment(
        "figX", "", "", (), lambda scale: (known.question,),
        lambda scale: (Claim("lower", "", claims.lowest("adams", ["sgd"])),),
    )  # fmt: skip
    (row,) = judge(experiment, SMALL, known.results, MEASURES, "").rows
    assert {name: one.verdict for name, one in row.judged.items()} == {"best epoch": "holds", "last epoch": "holds"}
    assert row.agree
    (row,) = judge(experiment, paper.scale("smoke"), known.results, MEASURES, "").rows
    assert row.headline.verdict == "not judged"
    with pytest.raises(KeyError):
        judge(experiment, SMALL, known.results[1:], MEASURES, "")


# ---------------------------------------------------------------- what is run


@pytest.mark.parametrize("scale", paper.SCALES.values(), ids=lambda scale: scale.name)
@pytest.mark.parametrize("experiment", paper.EXPERIMENTS.values(), ids=lambda experiment: experiment.name)
def test_every_experiment_can_be_run_and_its_claims_are_about_what_is_run(experiment, scale):
    """Judged on made-up numbers: every claim finds the cells that it compares."""
    panels = experiment.panels(scale)
    runs = {run for panel in panels for several in panel.points.values() for run in several}
    for run in runs:
        check(run)
    assert all(len(several) == scale.seeds for panel in panels for several in panel.points.values())
    assert all(panel.points.keys() == panel.drawn.keys() for panel in panels)
    epochs = [Epoch(i, run_lr, 1.0 + i, 1.0, 5.0 + i, 1.0, 5.0, 0.2, 1.0, 1.0) for i, run_lr in ((1, 0.1), (2, 0.01))]
    results = [Result(run, "finished", tuple(epochs), 1.0) for run in runs]
    rows = judge(experiment, scale, results, MEASURES, "").rows
    assert rows
    assert all(set(row.judged) == {"best epoch", "last epoch", "validation"} for row in rows)
    assert all(row.headline.measured for row in rows)


def runs_of(name, scale, words=None):
    panels = paper.EXPERIMENTS[name].panels(paper.scale(scale))
    return {
        run
        for panel in panels
        if words in (None, f"{panel.task.network}, {panel.task.data}")
        for several in panel.points.values()
        for run in several
    }


def test_table_1_at_the_papers_scale_is_section_5():
    settings = {
        "sgd": (0.1, 5e-4), "adams": (1e-3, 5e-4), "adam": (1e-3, 5e-4), "amsgrad": (1e-3, 5e-4), "adamw": (1e-3, 0.5),
        "adabound": (1e-3, 5e-4), "padam": (1e-2, 5e-4), "yogi": (1e-3, 5e-4), "radam": (1e-3, 5e-4),
    }  # fmt: skip
    places = {"CIFAR-10": ("cifar10", (0.4, 0.8)), "CIFAR-100": ("cifar100", (0.5, 0.75))}
    for panel in paper.EXPERIMENTS["table1"].panels(paper.scale("paper")):
        data, milestones = places[panel.task.data]
        assert set(panel.fixed) == set(settings)
        for name, (lr, weight_decay) in settings.items():
            point = panel.fixed[name]
            assert (point.lr, point.weight_decay) == (lr, weight_decay)
            assert {run.seed for run in panel.points[point]} == {0, 1, 2}
            for run in panel.points[point]:
                assert (run.data, run.milestones, run.lr_factor) == (data, milestones, 0.1)
                assert (run.epochs, run.batch_size, run.augment, run.train_size, run.validation_size) == (
                    200, 128, True, 0, 0,
                )  # fmt: skip
                assert run.network.replace("-", "") == panel.task.network.lower()
            assert panel.paper[name][0].source == "table1"


def test_runs_that_two_figures_share_are_one():
    for part in ("fig4", "fig5", "fig6", "fig12", "fig13", "norms"):
        for scale in ("paper", "medium", "small"):
            assert runs_of(part, scale) <= runs_of("table1", scale) | runs_of("fig7", scale), part
    assert runs_of("fig22", "paper") <= runs_of("table4", "paper")
    assert runs_of("fig2", "small") == runs_of("table3", "small")


@pytest.mark.parametrize(("scale", "steps", "tolerance"), [("small", 384, 0.06), ("medium", 2000, 0.06)])
def test_a_lambda_is_the_papers_times_how_much_shorter_training_is(scale, steps, tolerance):
    """λ × steps is that of the paper to one digit: 5e-4 at 78,200 steps is 0.1 at 384 and 0.02 at 2,000."""
    setting = paper.scale(scale).setting("ResNet18, CIFAR-10")
    assert steps == setting.epochs * math.ceil(setting.run["train_size"] / setting.run["batch_size"])
    for place in arms.GRID:
        assert setting.at(place) * steps == pytest.approx(place * 200 * math.ceil(50_000 / 128), rel=tolerance)


@pytest.mark.parametrize("words", paper.scale("paper").settings)
def test_medium_keeps_the_papers_shapes_and_names_its_data(words):
    """Milestones, clipping and batches of text are the paper's; every setting says what was trained on what."""
    own, here = paper.scale("paper").setting(words), paper.scale("medium").setting(words)
    assert paper.scale("medium").seeds >= 5
    assert here.epochs >= 8
    if "CIFAR" in words:
        assert here.run.get("milestones", (0.4, 0.8)) == own.run["milestones"]
        assert 10_000 <= here.run["train_size"] <= 50_000
        assert "CIFAR-10 (JPEG)" in here.name
        assert "CIFAR-10 (JPEG)" in here.words
    if "Treebank" in words:
        for name in ("milestones", "max_grad_norm", "batch_size", "sequence", "data", "network"):
            assert here.run[name] == own.run[name]
        steps = here.epochs * -(-(here.run["train_size"] // here.run["batch_size"]) // here.run["sequence"])
        assert here.stretch * steps == pytest.approx(own.epochs * 1327, rel=0.01)


@pytest.mark.parametrize("scale", ["paper", "medium", "small"])
def test_the_large_batch_is_128_times_the_usual_one(scale):
    setting = paper.scale(scale).setting("ResNet18, CIFAR-10")
    assert setting.large_batch == 128 * setting.reference_batch
    assert (setting.reference_batch == 128) == (scale == "paper")
    (panel,) = paper.EXPERIMENTS["fig3"].panels(paper.scale(scale))
    by_k = {(point.variant, panel.drawn[point]): runs[0] for point, runs in panel.points.items()}
    base = by_k["lr × k", 1.0]
    assert by_k["λ × k", 1.0] == base
    assert by_k["lr × k", 128.0] == replace(base, lr=0.128)
    assert by_k["λ × k", 128.0] == replace(base, weight_decay=128 * base.weight_decay)
    if scale == "paper":
        assert (base.batch_size, base.lr, base.weight_decay) == (16_384, 1e-3, 1e-4)
    usual, large = (
        {place for point, place in paper.EXPERIMENTS["fig9"].panels(paper.scale(scale))[0].drawn.items()
         if point.variant == f"batch {size}"}
        for size in (setting.reference_batch, setting.large_batch)
    )  # fmt: skip
    assert {128 * place for place in usual} <= large
    assert large_batch.TIMES == 128


def test_vanilla_decay_takes_what_coupled_decay_takes_at_the_first_lr():
    (panel,) = paper.EXPERIMENTS["fig1"].panels(SMALL)
    for point, runs in panel.points.items():
        if "η₀" in point.variant:
            assert runs[0].weight_decay == pytest.approx(point.weight_decay * point.lr)
            assert dict(runs[0].optimizer_options) == {"decay": "vanilla"}
        else:
            assert runs[0].weight_decay == point.weight_decay


def test_adamw_is_drawn_where_it_takes_what_l2_takes():
    (panel,) = paper.EXPERIMENTS["fig7"].panels(SMALL)
    for point, place in panel.drawn.items():
        assert place == pytest.approx(point.weight_decay * (point.lr if point.optimizer == "adamw" else 1.0))


def test_other_data_and_held_out_examples_are_put_in_place():
    scale = paper.scale("paper").with_data({"cifar10": "images:x"}).held_out(5000)
    (panel,) = paper.EXPERIMENTS["fig1"].panels(scale)
    runs = [run for several in panel.points.values() for run in several]
    assert {(run.data, run.validation_size) for run in runs} == {("images:x", 5000)}
    assert "images:x" in panel.task.words
    with pytest.raises(SettingsError, match=r"'cifar11' is not used at scale paper. Used: cifar10, cifar100, imagenet"):
        paper.scale("paper").with_data({"cifar11": "digits"})
    with pytest.raises(SettingsError, match=r"Did you mean 'small'\?"):
        paper.scale("smal")
    with pytest.raises(SettingsError, match=r"no experiment is called 'tabel1'. Did you mean 'table1'"):
        paper.experiments(("tabel1",))


def test_the_papers_numbers_are_those_it_printed():
    assert len(numbers.numbers()) == 129
    (one,) = numbers.of("table1", "DenseNet121", "AdamS")
    assert (one.mean, one.std, one.text, one.data) == (20.52, 0.26, "20.52 ± 0.26", "CIFAR-100")
    assert numbers.of("fig20", optimizer="SGDS")[0].text == "<=4.83"
    assert numbers.of("table9") == ()
