"""One way from a question to its answer: what comes after what, and what is kept whatever happens."""

from contextlib import contextmanager

import pytest
from lab import small

from weightdecay.lab.executors import executor
from weightdecay.lab.run import Place
from weightdecay.lab.run.settings import SettingsError
from weightdecay.lab.run.store import Store
from weightdecay.lab.study.asked import questions, together
from weightdecay.lab.study.conduct import Audience, Study, conduct
from weightdecay.lab.study.statistics import compare_all
from weightdecay.lab.sweeps.sweep import RunError

TINY = {"epochs": 1, "train_size": 64}
RUNS = [small(weight_decay=strength, **TINY) for strength in (0.0, 0.1)]
EVERY = ["plan", "watch", "add", "add", "judge", "report"]


class Listening(Audience):
    """Writes down what it hears, in order."""

    def __init__(self, go_on=True):
        self.heard, self.go_on, self.planned = [], go_on, None

    def plan(self, planned):
        self.heard.append("plan")
        self.planned = planned
        return self.go_on

    @contextmanager
    def watch(self, everything, store):
        self.heard.append("watch")
        yield self

    def add(self, result, reused):
        self.heard.append("add")

    def fail(self, run, reason):
        self.heard.append(f"fail: {reason}")


def study(out, audience, runs=RUNS, **changes):
    asked = questions(runs, "")

    def judge(results):
        audience.heard.append("judge")
        return compare_all(asked, results)

    def report(verdicts):
        audience.heard.append("report")

    how = {"on": executor("here"), "place": Place(), **changes}
    return Study("Two of a kind", asked, out, judge, report, **how)


@pytest.mark.parametrize("estimate", [False, True])
def test_one_step_comes_after_the_other(estimate, tmp_path):
    audience = Listening()
    answered = conduct(study(tmp_path, audience, estimate=estimate), audience)
    assert audience.heard == EVERY
    assert bool(audience.planned.costs) is estimate
    assert audience.planned.missing == audience.planned.runs == tuple(RUNS)
    (comparison,) = answered.verdicts.values()
    assert {result.run for result in comparison.results} == set(RUNS)
    again = Listening()
    conduct(study(tmp_path, again), again)
    assert again.heard == EVERY
    assert again.planned.missing == ()


def test_after_a_plan_that_is_not_let_pass_nothing_is_trained(tmp_path):
    audience = Listening(go_on=False)
    assert conduct(study(tmp_path, audience), audience) is None
    assert audience.heard == ["plan"]
    assert Store(tmp_path).results() == []


@pytest.mark.parametrize("estimate", [False, True])
def test_a_run_that_cannot_be_computed_is_refused_before_the_others_are_trained(estimate, tmp_path):
    audience = Listening()
    runs = [*RUNS, small(network="resnet19", **TINY)]
    with pytest.raises(SettingsError, match="no network is called 'resnet19'"):
        conduct(study(tmp_path, audience, runs, estimate=estimate), audience)
    assert "watch" not in audience.heard
    assert Store(tmp_path).results() == []


def test_a_run_that_raises_is_told_and_the_others_answer_or_ends_it_where_nobody_watches(tmp_path, monkeypatch):
    from weightdecay.lab import models

    build = models.build

    def fragile(name, facts, seed, options=()):
        if seed == 1:
            raise RuntimeError("out of memory, say")
        return build(name, facts, seed, options)

    monkeypatch.setattr(models, "build", fragile)
    audience, runs = Listening(), [RUNS[0], small(seed=1, weight_decay=0.0, **TINY)]
    answered = conduct(study(tmp_path, audience, runs), audience)
    assert "fail: RuntimeError: out of memory, say" in audience.heard
    assert set(answered.failures) == {runs[1]}
    (comparison,) = answered.verdicts.values()
    assert [len(cell.results) for cell in comparison.cells] == [1]
    with pytest.raises(RunError, match="out of memory, say"):
        conduct(study(tmp_path, audience, runs))


def test_a_run_that_two_questions_share_is_asked_for_once():
    (one,) = questions(RUNS, "").values()
    (other,) = questions([RUNS[1], small(weight_decay=1.0, **TINY)], "").values()
    both = together({"first": one, "second": other})
    assert sorted(both.runs, key=lambda run: run.weight_decay) == [*RUNS, small(weight_decay=1.0, **TINY)]
    assert [point.variant for point in both.points] == ["first", "first", "second"]
    assert together({"first": one}) is one
