"""`read` and `watch` against naive float64 arithmetic, on our optimizers, attached ones and plain ones."""

import gc
import math
import weakref
from html.parser import HTMLParser

import pytest
import torch
from browser import browsing
from legible import assert_legible, needs_chromium

import weightdecay as wd
from weightdecay.monitor import chart, read, watch
from weightdecay.monitor import watch as watching_function
from weightdecay.monitor.group_decay import decays_of

LR, LAM, STEPS = 0.02, 0.3, 6


def network(dtype=torch.float64):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3)).to(dtype)


def attached(params, decay, **options):
    optimizer = torch.optim.AdamW(params, **options)
    wd.attach(optimizer, decay)
    return optimizer


MAKE = {
    "plain AdamW": (lambda p: torch.optim.AdamW(p, lr=LR, weight_decay=LAM), "decoupled"),
    "plain SGD": (lambda p: torch.optim.SGD(p, lr=LR, momentum=0.9, weight_decay=LAM), "l2"),
    "plain Adam": (lambda p: torch.optim.Adam(p, lr=LR, weight_decay=LAM), "l2"),
    "own decoupled": (lambda p: wd.AdamW(p, lr=LR, weight_decay=LAM), "decoupled"),
    "own stable": (lambda p: wd.AdamS(p, lr=LR, weight_decay=0.01), "stable"),
    "own cautious": (lambda p: wd.Adam(p, lr=LR, weight_decay=LAM, decay="cautious"), "cautious(decoupled)"),
    "attached stable": (lambda p: attached(p, wd.Stable(), lr=LR, weight_decay=0.01), "stable"),
    "attached cautious": (lambda p: attached(p, wd.Cautious(), lr=LR, weight_decay=LAM), "cautious(decoupled)"),
}


def steps(model, optimizer, count, before=None, after=None):
    """Step with gradients of a fixed seed; they do not depend on the optimizer."""
    draw = torch.Generator().manual_seed(1)
    for t in range(count):
        for p in model.parameters():
            p.grad = torch.randn(p.shape, generator=draw, dtype=p.dtype) + 0.1 * p.detach()
        for group in optimizer.param_groups:
            group["lr"] = LR / (1 + t)
        if before:
            before(t)
        optimizer.step()
        if after:
            after(t)


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def mean_square(optimizer):
    """v̄ from the optimizer's moments: Σ v/(1 − β₂ᵗ) / Σ n."""
    beta2 = optimizer.param_groups[0]["betas"][1]
    memories = list(optimizer.state.values())
    total = sum((m["exp_avg_sq"] / (1 - beta2 ** float(m["step"]))).sum().item() for m in memories)
    return total / sum(m["exp_avg_sq"].numel() for m in memories)


@pytest.mark.parametrize("name", MAKE)
def test_a_reading_is_what_naive_arithmetic_gives(name):
    make, kind = MAKE[name]
    model = network()
    optimizer = make(model.parameters())
    seen, weights, pulls = watch(optimizer, model, every=2, tensors=True), [flat(model)], []
    strength = optimizer.param_groups[0]["weight_decay"]

    def after(t):
        weights.append(flat(model))
        lr = optimizer.param_groups[0]["lr"]
        gain = 1 / math.sqrt(mean_square(optimizer)) if "betas" in optimizer.param_groups[0] else 10.0
        pull = {"stable": lr * strength * gain, "l2": math.nan if name == "plain Adam" else lr * strength * gain}
        pulls.append(pull.get(kind, lr * strength))
        if t % 2 == 0:
            return
        got, (old, new) = seen.groups[0], weights[-2:]
        delta = new - old
        angle = torch.atan2((new - old * (new @ old) / (old @ old)).norm(), (new @ old) / old.norm())
        close(got.kind, kind)
        close(got.norm, new.norm())
        close(got.relative_update, delta.norm() / old.norm())
        close(got.angle, angle)
        close(got.pull, pulls[-1])
        close(got.total_pull, sum(pulls))
        close(got.effective_lr, lr * gain)
        close(got.half_life, math.log(0.5) / math.log(1 - pulls[-1]))
        mask = torch.ones_like(old)
        if "cautious" in kind:  # the update without decay: Δ = −pull·θ·mask − ηu
            mask = torch.where((-delta - pulls[-1] * old) * old >= 0, 1.0, 0.0).double()
            close(got.mask_density, mask.mean())
        if kind != "l2":
            decay = pulls[-1] * old * mask
            close(got.decay_share, decay.norm() / (decay.norm() + (delta + decay).norm()))
        else:
            assert math.isnan(got.decay_share)
        one = seen.seen[0]
        first = next(iter(model.parameters()))
        close(one.norm, first.detach().norm())
        close(one.grad_norm, first.grad.norm())
        assert one.name == "0.weight"

    steps(model, optimizer, STEPS, after=after)
    assert [step for step, _, _ in seen.history] == [2, 4, 6]


def close(got, expected):
    if isinstance(expected, str):
        assert got == expected
    else:
        assert got == pytest.approx(float(expected), rel=1e-9, nan_ok=True)


@pytest.mark.parametrize("name", MAKE)
def test_watching_changes_nothing(name):
    make, _ = MAKE[name]
    ends = []
    for watched in (False, True):
        model = network(torch.float32)
        optimizer = make(model.parameters())
        if watched:
            watch(optimizer, model, every=1, tensors=True)
        steps(model, optimizer, STEPS)
        ends.append(flat(model))
    assert torch.equal(*ends)


@pytest.mark.parametrize("name", ["plain AdamW", "own stable", "attached cautious"])
def test_a_reading_reads_the_device_once_and_other_steps_not_at_all(name, monkeypatch):
    model = network()
    optimizer = MAKE[name][0](model.parameters())
    seen = watch(optimizer, model, every=3, tensors=True)
    counts, after = [], seen._after

    def counted(*args):
        calls = []
        with monkeypatch.context() as patch:
            for method in ("tolist", "item", "__float__", "__bool__", "__int__", "numpy", "cpu"):
                real = getattr(torch.Tensor, method)
                patch.setattr(
                    torch.Tensor, method, lambda self, *a, real=real, m=method: (calls.append(m), real(self, *a))[1]
                )
            after(*args)
        counts.append(calls)

    hooks = optimizer._optimizer_step_post_hooks
    hooks[seen._hooks[1].id] = counted
    steps(model, optimizer, STEPS)
    assert counts == [[], [], ["tolist"]] * 2


def test_weights_are_copied_only_through_a_step_that_is_read(monkeypatch):
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
    seen, copies = watch(optimizer, every=3), []

    def looked(t):
        assert seen._sample is None

    def spy(hooked, args, kwargs):
        copies.append(seen._sample is not None)

    optimizer.register_step_pre_hook(spy)
    steps(model, optimizer, STEPS, before=looked, after=looked)
    assert copies == [False, False, True] * 2


def test_the_watch_holds_no_optimizer_and_ends_when_closed():
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
    seen = watch(optimizer, every=1)
    steps(model, optimizer, 2)
    seen.close()
    steps(model, optimizer, 2)
    assert seen.steps == 2
    assert seen.readings()["weightdecay/group0/lr"] == LR / 2
    gone = weakref.ref(optimizer)
    del optimizer
    gc.collect()
    assert gone() is None


def test_a_decay_that_is_attached_and_a_group_that_is_added_later_are_followed():
    model = network()
    first, *others = model.parameters()
    optimizer = torch.optim.AdamW([first], lr=LR, weight_decay=LAM)
    seen = watch(optimizer, model, every=1, tensors=True)
    steps(model, optimizer, 1)
    wd.attach(optimizer, wd.Cautious(wd.Vanilla()), weight_decay=0.01)
    optimizer.add_param_group({"params": others, "weight_decay": 0.0})
    steps(model, optimizer, 2)
    assert [group.kind for group in seen.groups] == ["cautious(vanilla)"] * 2
    assert [group.pull for group in seen.groups] == pytest.approx([0.01, 0.0])
    assert 0 < seen.groups[0].mask_density < 1
    assert [one.name for one in seen.seen] == [name for name, _ in model.named_parameters()]


def test_a_step_with_a_closure_is_read_after_it():
    model = network()
    optimizer = attached(model.parameters(), wd.Decoupled(), lr=LR, weight_decay=LAM)
    seen = watch(optimizer, model, every=1)

    def closure():
        optimizer.zero_grad()
        loss = model(torch.ones(2, 5, dtype=torch.float64)).square().sum()
        loss.backward()
        return loss

    old = flat(model)
    optimizer.step(closure)
    assert seen.groups[0].pull == pytest.approx(LR * LAM)
    assert seen.groups[0].relative_update == pytest.approx(((flat(model) - old).norm() / old.norm()).item())


def test_of_weights_whose_norm_matters_nothing_is_said():
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=LAM)
    other = watch(optimizer, model, every=1, tensors=True)
    steps(model, optimizer, STEPS)
    assert not any(one.scale_invariant for one in other.seen)
    assert other.sentences() == []


# ---------------------------------------------------------------- other people's optimizers


@pytest.mark.parametrize(
    ("path", "options", "kind"),
    [
        ("torch.optim:RMSprop", {}, "l2"),
        ("torch.optim:Muon", {}, "decoupled"),
        ("lion_pytorch:Lion", {}, "decoupled"),
        ("timm.optim:SGDW", {"corrected_weight_decay": True, "momentum": 0.9}, "corrected"),
        ("pytorch_optimizer:AdamS", {}, "stable"),
    ],
)
def test_the_decay_of_any_optimizer_is_known_or_measured(path, options, kind):
    module, _, name = path.partition(":")
    weight = torch.nn.Parameter(torch.ones(3, 2))
    optimizer = getattr(pytest.importorskip(module), name)([weight], lr=LR, weight_decay=LAM, **options)
    assert [decay.kind for decay in decays_of(optimizer, None)] == [kind]
    assert [decay.kind for decay in decays_of(optimizer, "vanilla")] == ["vanilla"]


# ---------------------------------------------------------------- read


def test_read_of_an_attached_and_of_a_plain_optimizer_is_that_of_ours():
    found = {}
    for name in ("own stable", "attached stable"):
        model = network()
        optimizer = MAKE[name][0](model.parameters())
        steps(model, optimizer, STEPS)
        found[name] = read(optimizer)
    own, other = found["own stable"], found["attached stable"]
    assert [other.effective_lr, other.grad_norm, other.weight_norm] == pytest.approx(
        [own.effective_lr, own.grad_norm, own.weight_norm], rel=1e-10
    )
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
    steps(model, optimizer, STEPS)
    assert read(optimizer).effective_lr == pytest.approx(LR / STEPS / math.sqrt(mean_square(optimizer)))
    assert read(optimizer).weight_norm == pytest.approx(flat(model).norm().item())
    sgd = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9)
    assert read(sgd).effective_lr == pytest.approx(10 * LR)
    assert math.isnan(read(torch.optim.Rprop(model.parameters())).effective_lr)


LEFT_OUT = {"adabound", "adai", "adaiw", "amsgrad", "amsgradw", "nadam", "padam", "radam", "yogi"}
"""Whose gain under a decay that does not read it is more than one number of the step."""


@pytest.mark.parametrize("name", wd.available())
def test_the_effective_lr_of_a_watch_is_that_of_read_or_is_left_out(name):
    model = network()
    params = [p for p in model.parameters() if name != "muon" or p.ndim > 1]  # which takes no vectors
    optimizer = wd.create(name, params, lr=LR, weight_decay=0.01)
    seen = watch(optimizer, every=3)
    steps(model, optimizer, 3)
    expected = read(optimizer).effective_lr
    found = seen.readings().get("weightdecay/group0/effective_lr")
    if found is not None:
        assert found == pytest.approx(expected, rel=1e-9)
    else:
        assert math.isnan(expected) or name in LEFT_OUT


# ---------------------------------------------------------------- what it says


def watched(tensors=True):
    model = network()
    groups = [{"params": [p for p in model.parameters() if p.ndim > 1]}]
    groups += [{"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LR, weight_decay=LAM)
    seen = watch(optimizer, model, every=2, tensors=tensors)
    steps(model, optimizer, STEPS)
    return seen


def test_readings_are_flat_floats():
    found = watched().readings()
    assert all(type(value) is float and not math.isnan(value) for value in found.values())
    assert found["weightdecay/group0/pull"] == pytest.approx(LR / STEPS * LAM)
    assert found["weightdecay/group1/pull"] == 0
    assert "weightdecay/2.weight/angle" in found
    assert not any("2.weight" in name for name in watched(tensors=False).readings())
    fresh = watch(torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1))
    assert fresh.readings() == {}
    assert "no reading yet after 0 steps; the first comes with step 100" in str(fresh)


def test_the_table_has_a_line_for_each_group_and_tensor():
    lines = str(watched()).splitlines()
    assert lines[0].split()[:4] == ["step", "6", "decay", "λ"]
    assert [line.split()[0] for line in lines[1:7]] == ["group", "0.weight", "2.weight", "group", "0.bias", "2.bias"]
    assert lines[-1] == "Group 1: λ is 0, nothing decays."


class Loads(HTMLParser):
    """Collects what a page would load, and the names of its elements."""

    def __init__(self):
        super().__init__()
        self.loads, self.tags = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [value for name, value in attributes if name in ("src", "href", "srcset", "data")]


def test_the_page_is_one_file_with_figures(tmp_path):
    path = watched().report(tmp_path / "page.html")
    text = path.read_text("utf-8")
    page = Loads()
    page.feed(text)
    assert page.loads == ["#main"]
    assert not {"link", "img", "iframe"} & set(page.tags)
    assert "url(" not in text
    assert "nan" not in text.lower().replace("names", "")
    assert page.tags.count("svg") >= 6
    assert page.tags.count("table") == 2
    assert "prefers-color-scheme: dark" in text
    with pytest.raises(ValueError, match="no reading yet after 0 steps"):
        watch(torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1)).report(tmp_path / "none.html")


@needs_chromium
def test_in_a_browser_the_page_is_legible(tmp_path):
    with browsing() as tab:
        assert_legible(tab, watched().report(tmp_path / "page.html"))


def test_a_chart_shows_every_point_and_escapes_names():
    lines = [chart.Line("<b>", [(1, 1.0), (2, math.nan), (3, 100.0)])]
    drawn = chart.chart(lines, "a < b")
    assert "&lt;b&gt;" in drawn
    assert "<b>" not in drawn
    points = drawn.split('points="')[1].split('"')[0].split()
    assert len(points) == 2
    assert chart.chart([chart.Line("x", [(1, -1.0)])], "none") == ""
    assert chart.ticks(0.0, 2.0, log=True) == [1.0, 10.0, 100.0]
    assert chart.ticks(0.0, 1.0, log=False)[:2] == [0.0, 0.5]


def flattened(param):
    param._fsdp_flattened = True  # as FSDP's first version marks a piece
    return param


@pytest.mark.parametrize(
    ("make", "options", "error", "words"),
    [
        (lambda p: object(), {}, TypeError, "object is not a torch optimizer"),
        (lambda p: torch.optim.SGD(p, lr=0.1), {"every": 0}, ValueError, "every=0: must be at least 1"),
        (lambda p: torch.optim.SGD(p, lr=0.1), {"every": 1.5}, TypeError, "every=1.5 in watch"),
        (lambda p: torch.optim.SGD(map(flattened, p), lr=0.1), {}, ValueError, "tensor0, .* is a flattened"),
    ],
)
def test_what_cannot_be_watched_is_refused(make, options, error, words):
    with pytest.raises(error, match=words):
        watching_function(make([torch.nn.Parameter(torch.ones(2))]), **options)
