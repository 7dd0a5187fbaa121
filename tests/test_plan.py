"""A sweep file: what it says is what is run, and what is wrong with it is said."""

import dataclasses
from dataclasses import dataclass, replace

import pytest
from lab import small

import weightdecay
from weightdecay.lab.run import Place, Run, options
from weightdecay.lab.run.settings import SettingsError
from weightdecay.lab.study.asked import questions
from weightdecay.lab.sweeps.cost import kind, rehearse
from weightdecay.lab.sweeps.plan import plan, read

FILE = """
title = "AdamW against AdamS"
data = "cifar10"
network = "resnet20"
epochs = 100
seeds = 2
milestones = [0.5, 0.75]
network_options = { width = [8, 16] }

[[grid]]
optimizer = "SGDS"
lr = [0.1, 1]
weight_decay = [0, 5e-4]
optimizer_options = { momentum = 0.9, nesterov = true }

[[grid]]
optimizer = ["adamw", "adams"]
weight_decay = { from = 1e-4, to = 1e-2, count = 3 }
seed = 7
seeds = 1

[executor]
name = "gpus"
per_gpu = 4

[place]
workers = 4
data = "sets"
"""


def test_a_file_is_every_combination_of_its_lists(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(FILE.replace("seed = 7\nseeds = 1\n", "seeds = 1\n"))
    found = read(path)
    assert found.title == "AdamW against AdamS"
    assert found.executor == {"name": "gpus", "per_gpu": 4}
    assert (found.place.workers, str(found.place.data), found.place.device) == (4, "sets", "auto")
    assert str(found.out) == "sweep-runs"
    sgds = [run for run in found.runs if run.optimizer == "sgds"]
    others = [run for run in found.runs if run.optimizer != "sgds"]
    assert len(sgds) == 2 * 2 * 2 * 2
    assert len(others) == 2 * 3 * 2
    assert len(set(found.runs)) == len(found.runs)
    assert {(run.lr, run.weight_decay, run.seed) for run in sgds} == {
        (lr, weight_decay, seed) for lr in (0.1, 1.0) for weight_decay in (0.0, 5e-4) for seed in (0, 1)
    }
    assert {run.weight_decay for run in others} == {1e-4, 1e-3, 1e-2}
    assert {run.lr for run in others} == {1e-3}  # the optimizer's own
    assert {run.network_options for run in found.runs} == {options(width=8), options(width=16)}
    assert {run.optimizer_options for run in sgds} == {options(momentum=0.9, nesterov=True)}
    assert {(run.epochs, run.milestones, type(run.lr)) for run in found.runs} == {(100, (0.5, 0.75), float)}


STARTED = {
    "optimizer": ["adam", "adamw"], "weight_decay": [0.0, 0.1], "lr": 1e-2, "seeds": 2, "decay": "toward(start)",
    "classes": "5-9", "train_size": 100, "epochs": 3, "network_options": {"width": 4}, "batch_size": 20,
    "start": {"optimizer": "sgd", "lr": 0.5, "weight_decay": 0.0, "classes": "0-4", "train_size": 200},
}  # fmt: skip


def test_a_start_is_the_run_but_for_its_table_and_for_all_of_the_optimizer():
    runs = plan(STARTED).runs
    assert len(runs) == 2 * 2 * 2
    for run in runs:
        start = run.start
        assert (start.optimizer, start.lr, start.weight_decay, start.optimizer_options) == ("sgd", 0.5, 0.0, ())
        assert (start.classes, start.train_size, start.seed, start.start) == ("0-4", 200, run.seed, None)
        assert (start.epochs, start.batch_size, start.network_options) == (3, 20, run.network_options)
    assert len({run.start for run in runs}) == 2  # of each seed one, whatever is compared
    given = plan({**STARTED, "start": {**STARTED["start"], "seed": 5}}).runs
    assert {run.start.seed for run in given} == {5}


def test_starts_of_their_own_seeds_do_not_tear_a_point_apart():
    (question,) = questions(plan(STARTED).runs, "").values()
    assert {len(runs) for runs in question.points.values()} == {2}
    other = {**STARTED, "start": {**STARTED["start"], "epochs": 9}}
    (both,) = questions([*plan(STARTED).runs, *plan(other).runs], "").values()
    assert {len(runs) for runs in both.points.values()} == {2}
    assert len(both.points) == 2 * len(question.points)


def test_without_a_grid_the_file_is_one():
    found = plan({"optimizer": "adams", "weight_decay": [1e-4, 1e-3]})
    assert found.runs == (Run("adams", 1e-3, 1e-4, 0), Run("adams", 1e-3, 1e-3, 0))
    assert found.executor == {"name": "local"}


def test_several_milestones_are_a_list_of_lists():
    found = plan({"optimizer": "sgd", "weight_decay": 0, "milestones": [[0.4, 0.8], [0.5]]})
    assert [run.milestones for run in found.runs] == [(0.4, 0.8), (0.5,)]


def test_a_range_of_whole_numbers_has_whole_numbers_and_a_pair_is_one_value():
    runs = plan({**GOOD, "epochs": {"from": 1, "to": 100, "count": 3}}).runs
    assert [run.epochs for run in runs] == [1, 10, 100]
    content = {"optimizer": "adams", "weight_decay": 0.1, "optimizer_options": {"betas": [[0.9, 0.95], [0.9, 0.999]]}}
    assert [dict(run.optimizer_options)["betas"] for run in plan(content).runs] == [(0.9, 0.95), (0.9, 0.999)]


def test_ranges_are_even_in_their_logarithm_and_have_both_ends():
    def of(**table):
        return [run.weight_decay for run in plan({"optimizer": "sgd", "weight_decay": table}).runs]

    assert of(**{"from": 1e-6, "to": 1e-2, "count": 5}) == [1e-6, 1e-5, 1e-4, 1e-3, 1e-2]
    assert of(**{"from": 1, "to": 2, "count": 3}) == [1, 1.41, 2]
    assert of(**{"from": 0, "to": 1, "count": 5, "scale": "linear"}) == [0, 0.25, 0.5, 0.75, 1]


GOOD = {"optimizer": "sgd", "weight_decay": 0.1}

WRONG = [
    ({"optimizer": "sgd"}, "the sweep has no weight_decay. Set it"),
    ({"weight_decay": 1}, "the sweep has no optimizer"),
    ({**GOOD, "epoch": 3}, "a sweep: no setting is called 'epoch'. Did you mean 'epochs'"),
    ({**GOOD, "processes": 2}, "no setting is called 'processes'"),
    ({**GOOD, "grid": [{"epoch": 3}]}, "grid 1: no setting is called 'epoch'"),
    ({**GOOD, "grid": 3}, r"grid must be tables, each headed \[\[grid\]\]"),
    ({**GOOD, "seeds": 0}, "seeds=0: must be an integer of at least 1. It is the number of seeds"),
    ({**GOOD, "seeds": 3, "seed": 1}, "seed and seeds are both set"),
    ({**GOOD, "epochs": "many"}, r"epochs = 'many' must be a whole number. The default is 25"),
    ({**GOOD, "epochs": 2.5}, r"epochs = 2.5 must be a whole number"),
    ({**GOOD, "compile": 1}, r"compile = 1 must be true or false"),
    ({**GOOD, "lr": [0.1, "1e-3"]}, r"lr = '1e-3' must be a number"),
    ({**GOOD, "lr": []}, r"lr = \[\]: an empty list makes no run"),
    ({**GOOD, "milestones": 0.5}, r"milestones = 0.5 must be fractions"),
    ({**GOOD, "network_options": 3}, "network_options must be a table"),
    ({**GOOD, "executor": "local"}, r"executor must be a table, headed \[executor\]"),
    ({**GOOD, "place": {"worker": 3}}, r"the table \[place\]: no setting is called 'worker'. Did you mean 'workers'"),
    ({**GOOD, "place": {"workers": "3"}}, r"place.workers = '3' must be a whole number"),
    ({**GOOD, "lr": {"from": 1, "to": 2}}, "the range of lr has no count. Write"),
    ({**GOOD, "lr": {"from": 0, "to": 2, "count": 3}}, "goes from 0 to 2, and a logarithm has no 0"),
    ({**GOOD, "lr": {"from": 1, "to": 2, "count": 1}}, "count = 1. Two are the least"),
    ({**GOOD, "lr": {"from": 1, "to": 2, "count": 3, "scale": "lin"}}, "scale = 'lin'. Use"),
    ({**GOOD, "lr": {"from": 1, "to": 2, "count": 10**8}}, "100,000,000 values, and 1,000,000 runs are the most"),
    ({**GOOD, "seeds": 10**8}, "makes 100,000,000 runs, and 1,000,000 are the most"),
    ({**GOOD, "decay": "stabel"}, "decay='stabel': no decay is called 'stabel'. Did you mean 'stable'"),
    ({**GOOD, "decay": 3}, "decay = 3 must be a text in quotes"),
    ({**GOOD, "decay": "l2", "optimizer_options": {"decay": "l2"}}, "optimizer_options has a decay too. Give it once"),
    ({**GOOD, "decay": "nowhere:Mine"}, "the module 'nowhere' of this decay cannot be imported"),
    ({**GOOD, "start": 3}, r"start must be a table, headed \[start\]"),
    ({**GOOD, "start": {"optimizer": "adam"}}, r"the table \[start\] has no weight_decay"),
    ({**GOOD, "start": {**GOOD, "clases": "0-4"}}, r"the table \[start\]: no setting is called 'clases'"),
    ({**GOOD, "start": {**GOOD, "lr": [0.1, 1.0]}}, r"the table \[start\] makes 2 runs, and a run starts from one"),
    ({**GOOD, "lr": {"from": 1, "too": 2, "count": 3}}, "no setting is called 'too'. Did you mean 'to'"),
]


@pytest.mark.parametrize(("content", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_what_is_wrong_with_a_file_is_said(content, message):
    with pytest.raises(SettingsError, match=message):
        plan(content)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"nothing.toml cannot be read: No such file"):
        read(tmp_path / "nothing.toml")
    (tmp_path / "bad.toml").write_text("epochs = = 3")
    with pytest.raises(SettingsError, match=r"bad.toml is not TOML: .*line 1"):
        read(tmp_path / "bad.toml")
    (tmp_path / "short.toml").write_text("optimizer = 'sgd'")
    with pytest.raises(SettingsError, match=r"short.toml: the sweep has no weight_decay"):
        read(tmp_path / "short.toml")


# ---------------------------------------------------------------- questions


def test_runs_that_differ_by_seed_are_a_point_and_what_else_differs_names_the_curve():
    runs = [
        small(optimizer=optimizer, batch_size=batch, weight_decay=weight_decay, seed=seed)
        for optimizer in ("adamw", "adams")
        for batch in (64, 128)
        for weight_decay in (0.1, 0.2)
        for seed in (1, 0)
    ]
    (question,) = questions(runs, "weightdecay sweep x.toml").values()
    assert len(question.points) == 8
    assert all([run.seed for run in members] == [0, 1] for members in question.points.values())
    assert {point.curve for point in question.points} == {
        f"{optimizer}, batch_size={batch}" for optimizer in ("adamw", "adams") for batch in (64, 128)
    }
    assert set(question.runs) == set(runs)
    assert [run.seed for run in question.runs] == [0] * 8 + [1] * 8


def test_decays_are_an_axis_of_a_grid_and_name_the_curve():
    asked = {"optimizer": "adam", "weight_decay": 0.1, "decay": ["stable", "vanilla", f"{__name__}:Mine(2.0)"]}
    runs = plan(asked).runs
    decays = [dict(run.optimizer_options)["decay"] for run in runs]
    assert decays == ["stable", "vanilla", f"{__name__}:Mine(part=2.0)"]
    assert [bool(run.optimizer_digest) for run in runs] == [False, False, True]
    (question,) = questions(runs, "").values()
    assert [point.variant for point in question.points] == ["decay=stable", "decay=vanilla", "decay=Mine(part=2.0)"]
    again = replace(runs[2], optimizer_digest="another")  # the code has changed, and nothing else
    (question,) = questions([*runs, again], "").values()
    assert [point.variant.partition("code=")[2] for point in question.points][2:] == [
        runs[2].optimizer_digest[:8],
        "another",
    ]


@dataclass(frozen=True)
class Mine(weightdecay.Decay):
    part: float = 1.0

    def pull(self, step):
        return self.part * step.lr * step.strength


def test_what_an_optimizer_always_has_does_not_name_its_curve():
    runs = [small(optimizer="sgd", optimizer_options=options(momentum=0.9)), small(optimizer="adams")]
    (question,) = questions(runs, "").values()
    assert {point.curve for point in question.points} == {"sgd", "adams"}


def test_different_data_are_different_questions():
    runs = [
        small(data=data, network=network) for data in ("digits", "images:a/b") for network in ("resnet8", "resnet20")
    ]
    assert set(questions(runs, "")) == {"digits-resnet8", "digits-resnet20", "b-resnet8", "b-resnet20"}


def test_the_same_data_with_other_content_or_code_is_another_question():
    a, b = "a" * 64, "b" * 64
    runs = [small(data="text:x", data_digest=digest, seed=seed) for digest in (a, b) for seed in (0, 1)]
    assert [(name, one.setting) for name, one in questions(runs[:2], "").items()] == [
        ("text-x-resnet8", "text-x with resnet8")
    ]
    found = questions([*runs, small()], "")
    assert {name: question.runs for name, question in found.items()} == {
        "text-x-resnet8-aaaaaaaa": tuple(runs[:2]),
        "text-x-resnet8-bbbbbbbb": tuple(runs[2:]),
        "digits-resnet8": (small(),),
    }
    changed = found["text-x-resnet8-bbbbbbbb"]
    assert changed.setting == "text-x (version bbbbbbbb) with resnet8"
    assert dict(changed.rows)["Data"] == "text:x (version bbbbbbbb)"


NAMES = [
    ("../../../evil", "evil-..-..-..-evil"),
    ("a/b", "b-a-b"),
    ("..", "-.."),
    ("Größe, 2 × λ_0", "Größe-2-λ_0-Größe-2-λ_0"),
    ("x" * 300, "x" * 80),
    ("\N{OLD ITALIC LETTER A}" * 300, "\N{OLD ITALIC LETTER A}" * 60),
]


@pytest.mark.parametrize(("name", "folder"), NAMES, ids=["up", "below", "dots", "words", "letters", "bytes"])
def test_the_name_of_a_question_is_the_name_of_a_folder(name, folder, tmp_path):
    (made,) = questions([small(data=name, network=name)], "")
    assert made == folder
    (tmp_path / made).mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [made]


def test_two_questions_never_have_one_folder():
    datas = ("images:a/x", "images:b/x", "images:c/x", "images:a/X-2")
    found = questions([small(data=data) for data in datas], "")
    assert list(found) == ["x-resnet8", "x-resnet8-2", "x-resnet8-3", "X-2-resnet8"]
    assert [question.runs[0].data for question in found.values()] == list(datas)


# ---------------------------------------------------------------- cost


def test_runs_of_one_kind_cost_the_same():
    assert kind(small()) == kind(small(optimizer="sgd", lr=1.0, weight_decay=0.3, seed=5, epochs=9, label_noise=0.1))
    for field, value in (("batch_size", 3), ("network", "resnet20"), ("dtype", "float64"), ("train_size", 7)):
        assert kind(small(**{field: value})) != kind(small())


def test_a_rehearsal_is_of_the_run_and_keeps_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cost = rehearse(kind(small()), Place())
    assert cost.steps == 2
    assert min(cost.start, cost.step, cost.judging) > 0
    assert cost.epoch == pytest.approx(2 * cost.step + cost.judging)
    assert cost.of(small(epochs=10)) == pytest.approx(cost.start + 10 * cost.epoch)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="Did you mean 'resnet8'"):
        rehearse(dataclasses.replace(kind(small()), network="resnet9"), Place())
