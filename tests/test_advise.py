"""The answers behind ``weightdecay advise``: what each rule says, keeps, doubts and refuses."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from weightdecay.transfer import (
    MissingError,
    Setting,
    Wanted,
    advise,
    batch_weight_decay,
    independent_width,
    length_weight_decay,
    linear_lr,
    power_lines_weight_decay,
    square_root,
    square_root_width,
    timescale_epochs,
    timescale_weight_decay,
)

ADAMW = Setting("adamw", lr=1e-3, weight_decay=0.1, batch_size=128, epochs=90, samples=1_281_167)
SGD = Setting("sgd", lr=0.1, weight_decay=5e-4, batch_size=128, epochs=200, samples=50_000, momentum=0.9)
ADAMS = Setting("adams", lr=1e-3, weight_decay=5e-4, batch_size=128, epochs=200, samples=50_000, mean_square=1e-5)
PADAM = Setting("padam", lr=0.1, weight_decay=5e-4, batch_size=128, epochs=200, samples=50_000)
LION = Setting("lion", lr=1e-4, weight_decay=1.0, batch_size=128, epochs=90, samples=50_000)
MUON = Setting("muon", lr=0.02, weight_decay=0.1, batch_size=128, epochs=90, samples=50_000)
NADAM = replace(ADAMW, optimizer="nadam", decay="decoupled")
WORDS = replace(ADAMW, lr=6e-3, batch_size=2**19, epochs=1, samples=2.2e9, parameters=111e6)

BATCH, LINEAR, ROOT = "batch × k ⇒ λ × k", "linear lr scaling", "square-root lr scaling"
LENGTH, MEMORY, LINES = "λ ∝ 1/length", "τ in epochs stays", "Power Lines"
NORMALIZED = "λ ∝ 1/√steps"


def numbers(old, **wanted):
    return {each.name: (each.lr, each.weight_decay) for each in advise(old, Wanted(**wanted)).recommendations}


CHANGES = [
    {"batch_size": 1024},
    {"epochs": 30},
    {"samples": 10_000_000.0},
    {"width": 4.0},
    {"batch_size": 512, "epochs": 45, "samples": 2_000_000.0, "width": 2.0},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
@pytest.mark.parametrize(
    "old",
    [ADAMW, SGD, ADAMS, PADAM, LION, MUON, NADAM, WORDS, replace(ADAMW, decay="independent")],
    ids=lambda s: s.name,
)
def test_every_rule_keeps_what_it_says_it_keeps(old, change):
    if old is WORDS and "batch_size" in change:
        change = {**change, "batch_size": 2.0**20, "samples": 4e9, "parameters": 300e6}
    advice = advise(old, Wanted(**change))
    assert advice.recommendations
    for each in advice.recommendations:
        assert each.kept
        for kept in each.kept:
            if "from nothing" not in each.name:
                assert kept.after == pytest.approx(kept.before, rel=1e-12), (each.name, kept.name)
        low, middle, high = each.grid
        assert middle == each.weight_decay
        assert high / middle == pytest.approx(middle / low)


def test_batch_times_k_in_every_rule():
    found = numbers(ADAMW, batch_size=1024)
    assert found[BATCH] == pytest.approx((1e-3, 0.8))
    assert found[LINEAR] == pytest.approx((8e-3, 0.1))  # as Goyal: λ stays
    assert found[ROOT] == pytest.approx((1e-3 * 8**0.5, 0.1 * 8**0.5))
    assert found[MEMORY] == pytest.approx((1e-3, 0.8))


def test_length_times_k_in_every_rule():
    found = numbers(replace(ADAMW, parameters=1e9), epochs=900)
    assert found[LENGTH] == pytest.approx((1e-3, 0.01))
    assert found[MEMORY] == pytest.approx((1e-3, 0.1))
    assert found[LINES] == pytest.approx((1e-3, 0.1 * 10**-0.473))
    assert LINEAR not in found
    assert ROOT not in found


def test_where_batch_and_length_change_each_has_its_rule_and_its_source():
    """λ ∝ 1/length is the paper's, whichever rule moves the lr; the row says so."""
    old = replace(ADAMW, samples=50_000)
    found = {each.rules: each for each in advise(old, Wanted(batch_size=384, epochs=270)).recommendations}
    linear = found[LINEAR, LENGTH]
    assert (linear.lr, linear.weight_decay) == pytest.approx((3e-3, 0.1 / 3))
    assert linear.sources == ("arXiv:1706.02677", "arXiv:2011.11152")
    assert "λ ∝ 1/epochs was measured for SGD" in linear.warnings
    assert any("is the paper's (arXiv:2011.11152)" in warning for warning in linear.warnings)
    assert [kept.name for kept in linear.kept] == ["lr / batch", "pull × steps"]
    assert found[BATCH, LENGTH].weight_decay == pytest.approx(0.1)
    assert (ROOT, LENGTH) in found


def test_the_rows_are_the_pure_functions():
    wanted = Wanted(batch_size=1024, epochs=45, samples=2e6, parameters=3e8)
    old = replace(ADAMW, parameters=1e9)
    rows = {each.rules: (each.lr, each.weight_decay) for each in advise(old, wanted).recommendations}
    k, length, lr, wd = 8.0, 45 / 90 * 2e6 / 1_281_167, 1e-3, 0.1
    assert rows[BATCH, LENGTH] == pytest.approx((lr, length_weight_decay(batch_weight_decay(wd, k), length)))
    assert rows[LINEAR, LENGTH] == pytest.approx((linear_lr(lr, k), length_weight_decay(wd, length)))
    scaled = square_root(lr, k, weight_decay=wd)
    assert rows[ROOT, LENGTH] == pytest.approx((scaled.lr, length_weight_decay(scaled.weight_decay, length)))
    tau = timescale_epochs(lr, wd, 128, 1_281_167)
    assert rows[(MEMORY,)] == pytest.approx((lr, timescale_weight_decay(tau, lr, 1024, 2e6)))
    best, new_best = (
        power_lines_weight_decay(lr, batch, tokens, count)
        for batch, tokens, count in ((128, 1_281_167 * 90, 1e9), (1024, 2e6 * 45, 3e8))
    )
    assert rows[(LINES,)] == pytest.approx((lr, wd * new_best / best))
    for name, rule in (("width: ηλ stays", independent_width), ("width: λ ∝ √width", square_root_width)):
        assert numbers(old, width=4.0)[name] == pytest.approx(rule(lr, wd, 4.0))


def test_where_rules_disagree_it_is_said_which_and_why():
    advice = advise(replace(ADAMW, parameters=1e9), Wanted(epochs=900))
    pairs = {(each.one, each.other): each.why for each in advice.disagreements}
    assert "number of epochs" in pairs[LENGTH, MEMORY]
    assert "D^−0.473" in pairs[LENGTH, LINES]
    of_batch = advise(ADAMW, Wanted(batch_size=1024)).disagreements
    assert (BATCH, MEMORY) not in {(each.one, each.other) for each in of_batch}
    assert not [each.why for each in of_batch if "epochs" in each.why or "length" in each.why]
    both = {(each.one, each.other) for each in advise(ADAMW, Wanted(batch_size=1024, epochs=900)).disagreements}
    assert {(BATCH, LINEAR), (LENGTH, MEMORY)} <= both


@pytest.mark.parametrize(("k", "part"), [(1.009, False), (1.011, True)])
def test_rules_disagree_from_one_percent_on_in_lambda_or_lr(k, part):
    pairs = {(each.one, each.other) for each in advise(ADAMW, Wanted(epochs=90 * k)).disagreements}
    assert ((LENGTH, MEMORY) in pairs) == part  # one lr, and λ parts by k
    independent = replace(ADAMW, decay="independent", weight_decay=1e-4)
    pairs = {(each.one, each.other) for each in advise(independent, Wanted(batch_size=128 * k)).disagreements}
    assert ((BATCH, LINEAR) in pairs) == part  # one λ, and the lr parts by k


OF_BATCH = [(BATCH, LINEAR), (BATCH, ROOT), (BATCH, NORMALIZED), (LINEAR, ROOT), (MEMORY, NORMALIZED)]


@pytest.mark.parametrize(
    ("wanted", "pairs"),
    [
        ({"batch_size": 1024}, OF_BATCH),
        # The amount of data is no reason for the paper's rule and the memory in epochs to differ, whatever the lr does.
        ({"batch_size": 1024, "samples": 2 * 1_281_167}, [*OF_BATCH[:3], (LENGTH, NORMALIZED), *OF_BATCH[3:]]),
        ({"batch_size": 1024, "samples": 8 * 1_281_167}, [(BATCH, LINEAR), (BATCH, ROOT), (LINEAR, ROOT)]),
        ({"batch_size": 1024, "width": 4.0}, [("width: ηλ stays", "width: λ ∝ √width"), *OF_BATCH]),
    ],
    ids=str,
)
def test_every_pair_that_disagrees_is_named_once_and_no_other(wanted, pairs):
    assert [(each.one, each.other) for each in advise(ADAMW, Wanted(**wanted)).disagreements] == pairs


@pytest.mark.parametrize(("measured", "gain"), [({"measured_gain": 300.0}, 300.0), ({"mean_square": 1e-6}, 1000.0)])
def test_a_measured_gain_counts_as_long_as_the_algorithm_stays(measured, gain):
    old = replace(ADAMS, **{"mean_square": None, **measured})
    assert numbers(old, decay="decoupled")["adams → adams decoupled, exact at one v̄"] == (1e-3, 5e-4 * gain)
    kept = [kept for each in advise(old, Wanted(batch_size=256)).recommendations for kept in each.kept]
    steps = 50_000 / 128 * 200
    assert ("pull × steps", pytest.approx(1e-3 * 5e-4 * gain * steps)) in [(each.name, each.before) for each in kept]
    other = advise(old, Wanted(optimizer="amsgrads", batch_size=256))
    assert (other.new.measured_gain, other.new.mean_square) == (None, None)
    names = {kept.name for each in other.recommendations for kept in each.kept}
    assert "lr·λ × steps" in names  # its gain is not known
    assert not [name for name in names if "pull" in name]


@pytest.mark.parametrize(
    ("name", "usual", "other"),
    [("momentum", 0.9, 0.8), ("lr", 0.1, 0.2), ("batch_size", 128, 256), ("samples", 50_000, 60_000)],
)
def test_the_papers_table_3_is_doubted_away_from_where_it_was_measured(name, usual, other):
    said = f"measured at {'batch' if name == 'batch_size' else name} {usual:g}"
    for value, doubted in ((usual, ()), (other, (said,))):
        old = replace(SGD, **{name: value})
        (row,) = (r for r in advise(old, Wanted(epochs=100)).recommendations if r.name == "0.1/epochs, from nothing")
        assert tuple(warning for warning in row.warnings if "measured at" in warning) == doubted


@pytest.mark.parametrize(
    ("memory", "said"),
    [
        (0.49, "τ = {tau:.3g} steps is well below an epoch ({epoch:.3g}): data is forgotten before it returns"),
        (0.51, None),
        (79.0, None),
        (81.0, "τ = {tau:.3g} steps exceeds the training ({steps:.3g}): the initial weights are never forgotten"),
    ],
)
@pytest.mark.parametrize(("old", "gain"), [(ADAMW, 1.0), (SGD, 10.0)], ids=["adamw", "sgd"])
def test_a_memory_too_short_or_too_long_is_reported_in_steps(old, gain, memory, said):
    epoch = old.samples / old.batch_size
    setting = replace(old, weight_decay=1 / (old.lr * gain * memory * epoch))
    (row,) = (each for each in advise(setting, Wanted(epochs=80)).recommendations if each.name == MEMORY)
    wanted = said and said.format(tau=memory * epoch, epoch=epoch, steps=80 * epoch)
    assert [warning for warning in row.warnings if warning.startswith("τ")] == ([wanted] if wanted else [])


def test_a_lambda_that_the_lr_does_not_multiply_follows_the_pull():
    independent = replace(ADAMW, decay="independent", weight_decay=1e-4)
    found, usual = numbers(independent, batch_size=1024), numbers(ADAMW, batch_size=1024)
    for rule, (lr, weight_decay) in usual.items():
        assert found[rule] == pytest.approx((lr, lr * weight_decay)), rule


@pytest.mark.parametrize(
    ("old", "wanted", "words"),
    [
        (ADAMW, {"batch_size": 32768}, ["16384", "8192", "β falls below 0"]),
        (ADAMW, {"batch_size": 8}, ["from batch 128 to 16384"]),
        (replace(ADAMW, batch_size=64), {"batch_size": 128}, ["from batch 128 to 16384"]),
        (SGD, {"batch_size": 256}, ["with Adam, AdamW and AdamS"]),
        (replace(ADAMW, betas=(0.9, 0.8)), {"batch_size": 1024}, ["beyond k = 5 a β falls below 0"]),
        (PADAM, {"batch_size": 256}, ["Padam's is 1/4"]),
        (replace(PADAM, optimizer="yogi"), {"batch_size": 256}, ["derived for Adam, not for yogi"]),
        (LION, {"batch_size": 256}, ["nobody derived lr × k for lion", "derived for Adam, not for lion"]),
        (LION, {"width": 2.0}, ["measured for AdamW, not for lion"]),
        (MUON, {"batch_size": 256}, ["with an lr that grows as √batch", "nobody derived lr × k for muon"]),
        (MUON, {"samples": 100_000, "width": 2.0}, ["counts that twice"]),
        (replace(MUON, optimizer="muonadamw"), {"width": 2.0}, ["ask again with optimizer=adamw"]),
        (NADAM, {"batch_size": 256}, ["derived for Adam, not for nadam"]),
        (ADAMS, {"batch_size": 256}, ["v̄ falls as the batch grows"]),
        (ADAMS, {"width": 2.0}, ["which moves with width"]),
        (replace(ADAMW, weight_decay=0.3), {"batch_size": 256}, ["well below an epoch"]),
        (SGD, {"epochs": 5000}, ["50 to 2000 epochs"]),
        (WORDS, {"parameters": 70e9, "samples": 1e12}, ["1.11e+08 to 3.3e+09 parameters"]),
        (SGD, {"epochs": 100, "samples": 10_000}, ["measured at samples 50000"]),
        (replace(ADAMW, weight_decay=900.0), {"epochs": 80}, ["erases"]),
        (replace(ADAMW, weight_decay=1e-5), {"epochs": 80}, ["never forgotten"]),
        (SGD, {"batch_size": 64, "width": 2.0}, ["hidden matrices only"]),
    ],
)
def test_outside_its_range_a_rule_warns(old, wanted, words):
    said = " ".join(w for each in advise(old, Wanted(**wanted)).recommendations for w in each.warnings)
    for word in words:
        assert word in said


def test_muons_two_rules_for_width_stand_side_by_side():
    advice = advise(MUON, Wanted(width=2.0))
    assert [(r.name, r.lr, r.weight_decay) for r in advice.recommendations] == [
        ("Muon: λ ∝ 1/width²", 0.02, 0.025),
        ("Muon: width leaves λ", 0.02, 0.1),
    ]
    (parted,) = advice.disagreements
    assert "the one that replaced it" in parted.why


def test_muon_for_batch_and_data_is_its_own_rule_beside_the_others():
    found = numbers(MUON, batch_size=512, samples=200_000)
    assert found["Muon: λ ∝ √batch/data"] == pytest.approx((0.02, 0.05))
    assert found[MEMORY] == pytest.approx((0.02, 0.1))


def test_from_adamw_to_muon_the_pull_stays_and_the_lr_must_be_given():
    with pytest.raises(MissingError, match="no rule converts the lr of adamw into one of muon"):
        advise(ADAMW, Wanted(optimizer="muon"))
    assert numbers(ADAMW, optimizer="muon", lr=0.02) == {"adamw → muon, same pull": pytest.approx((0.02, 0.005))}
    with pytest.raises(ValueError, match="under an orthogonal matrix: the update multiplies no gradient"):
        advise(ADAMW, Wanted(optimizer="muon", decay="stable", lr=0.02))


def test_inside_its_range_the_papers_rule_does_not_warn():
    (paper,) = (r for r in advise(ADAMW, Wanted(batch_size=1024)).recommendations if r.name == BATCH)
    assert paper.warnings == ()


@pytest.mark.parametrize(
    ("old", "wanted", "quantity"),
    [
        (replace(ADAMW, samples=None), {"batch_size": 256}, "samples"),
        (replace(ADAMW, epochs=None), {"samples": 1e6}, "epochs"),
        (replace(ADAMW, batch_size=None), {"batch_size": 256}, "batch_size"),
        (SGD, {"optimizer": "adamw"}, "new_lr"),
        (ADAMW, {"optimizer": "sgd", "lr": 0.1}, "new_momentum"),
        (WORDS, {"parameters": 1e9}, ""),
    ],
)
def test_what_is_missing_is_named(old, wanted, quantity):
    if not quantity:
        assert numbers(old, **wanted)
        return
    with pytest.raises(MissingError, match=quantity) as caught:
        advise(old, Wanted(**wanted))
    assert caught.value.quantity == quantity


def test_sgd_without_momentum_is_asked_for_it():
    with pytest.raises(MissingError, match="momentum is missing"):
        replace(SGD, momentum=None)


@pytest.mark.parametrize(
    ("old", "wanted", "message"),
    [
        (ADAMW, {}, "nothing changes"),
        (ADAMW, {"batch_size": 128}, "nothing changes"),
        (ADAMW, {"decay": "decoupled"}, "nothing changes"),
        (replace(ADAMW, weight_decay=0.0), {"epochs": 10}, "0 stays 0"),
        (ADAMW, {"optimizer": "adamz"}, "Did you mean 'adam'"),
        (ADAMW, {"decay": "stabel"}, "Did you mean 'stable'"),
        (ADAMW, {"batch_size": -1}, "^new_batch_size=-1:"),
        (ADAMW, {"batch_size": 2e6}, "^new_batch_size=2e.06 exceeds samples=1"),
        (ADAMW, {"samples": 100}, "batch_size=128 exceeds new_samples=100"),
        (ADAMW, {"epochs": 1e-310}, "^new_epochs=1e-310 .* less than a step"),
        (ADAMW, {"lr": 0.1, "optimizer": "adams"}, "from adamw to adams the algorithm stays.*another algorithm only"),
        (SGD, {"momentum": 0.5}, "another momentum"),
        (ADAMW, {"momentum": 1.5}, "^new_momentum=1.5 is outside"),
        (ADAMW, {"lr": -1}, "^new_lr=-1"),
        (ADAMW, {"width": 0.0}, "width=0"),
        (ADAMW, {"width": -2.0}, "width=-2"),
        (ADAMW, {"batch_size": 1e300, "samples": 1e301, "epochs": 1e300}, "ratio_of_examples=inf"),
        (replace(LION, decay="independent"), {"decay": "stable"}, "stable decay under a sign"),
        (replace(PADAM, parameters=1e8), {"parameters": 2e8}, "^new_parameters=2e.08: no rule"),
    ],
)
def test_what_makes_no_sense_is_refused(old, wanted, message):
    with pytest.raises(ValueError, match=message):
        advise(old, Wanted(**wanted))


def test_where_nothing_changes_all_that_can_is_listed():
    """But lr and momentum, which are for another algorithm only."""
    with pytest.raises(ValueError, match=r"^nothing changes") as caught:
        advise(ADAMW, Wanted())
    for field in fields(Wanted):
        assert (field.name in str(caught.value)) == (field.name not in ("lr", "momentum")), field.name


def test_what_is_no_setting_is_refused():
    with pytest.raises(ValueError, match=r"^old=None: .*Setting\('adamw', lr=1e-3"):
        advise(None, Wanted(epochs=3))
    with pytest.raises(ValueError, match=r"^wanted=\{'epochs': 3\}: .*Wanted\(batch_size=1024\)"):
        advise(ADAMW, {"epochs": 3})


@pytest.mark.parametrize(("lr", "weight_decay"), [(1e300, 1e300), (1e-300, 1e-300)])
def test_a_pull_beyond_the_floats_is_refused(lr, weight_decay):
    with pytest.raises(ValueError, match=r"^lr=1e.300 with weight_decay=1e.300: .* no float holds"):
        Setting("adamw", lr, weight_decay)


def test_l2_under_adam_has_no_pull():
    """Over widths only the lr follows μP, and what is kept over batches is not called a pull."""
    adam = replace(ADAMW, optimizer="adam", weight_decay=5e-4)
    (row,) = advise(adam, Wanted(width=4.0)).recommendations
    assert (row.lr, row.weight_decay) == (2.5e-4, 5e-4)
    assert any("no source says" in warning for warning in row.warnings)
    for each in advise(adam, Wanted(batch_size=256, epochs=180, width=2.0)).recommendations:
        assert not [kept for kept in each.kept if "pull" in kept.name]


def test_corrected_decay_is_known_and_logtime_names_the_way_out():
    have = Setting("adamw", lr=1e-3, weight_decay=0.1, batch_size=128, epochs=90, samples=50_000)
    (only,) = advise(have, Wanted(decay="corrected")).recommendations
    assert (only.weight_decay, only.lr) == (0.1, 1e-3)
    assert "4/3" in " ".join(only.warnings)
    kept = advise(replace(have, decay="corrected"), Wanted(batch_size=1024)).recommendations[0]
    assert kept.weight_decay == pytest.approx(advise(have, Wanted(batch_size=1024)).recommendations[0].weight_decay)
    with pytest.raises(ValueError, match=r"logtime.*convert_along"):
        Setting("adamw", lr=1e-3, weight_decay=0.1, decay="logtime")
