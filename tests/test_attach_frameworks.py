"""attach() in other people's training loops, against a loop of one's own."""

import warnings

import pytest
import torch

import weightdecay as wd
from weightdecay import attach
from weightdecay.attaching import Handle

STEPS = 5


class Net(torch.nn.Module):
    """Returns its loss, as the models of transformers do."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = torch.nn.Linear(3, 4)
        self.head = torch.nn.Linear(4, 1)

    def forward(self, x, labels=None):
        y = self.head(self.body(x).tanh()).squeeze(-1)
        return {"loss": (y - labels).square().mean(), "logits": y}


def rows():
    generator = torch.Generator().manual_seed(1)
    return [
        {"x": torch.randn(3, generator=generator), "labels": torch.randn((), generator=generator)}
        for _ in range(4 * STEPS)
    ]


def batches():
    data = rows()
    return [
        {key: torch.stack([row[key] for row in data[i : i + 4]]) for key in ("x", "labels")}
        for i in range(0, 4 * STEPS, 4)
    ]


def optimizer_of(model, decay):
    """λ is so large that a step without it is seen."""
    strength = 0.2 if decay == "stable" else 2.0
    return torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=strength)


def expected(decay):
    model = Net()
    optimizer = optimizer_of(model, decay)
    attach(optimizer, decay)
    for batch in batches():
        optimizer.zero_grad()
        model(**batch)["loss"].backward()
        optimizer.step()
    return weights_of(model)


def weights_of(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


DECAYS = ["decoupled", "cautious(decoupled)", "stable"]


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("when", ["before prepare", "after prepare"])
def test_accelerate(decay, when):
    accelerate = pytest.importorskip("accelerate", reason="accelerate comes with weightdecay[peers]")
    model = Net()
    optimizer = optimizer_of(model, decay)
    accelerator = accelerate.Accelerator(cpu=True)
    if when == "before prepare":
        attach(optimizer, decay)
    model, optimizer = accelerator.prepare(model, optimizer)
    if when == "after prepare":
        attach(optimizer, decay)
    for batch in batches():
        optimizer.zero_grad()
        accelerator.backward(model(**batch)["loss"])
        optimizer.step()
    assert torch.equal(weights_of(model), expected(decay))
    assert Handle.of(optimizer).pulls[0] > 0


@pytest.mark.parametrize("decay", DECAYS)
def test_lightning(decay, tmp_path):
    lightning = pytest.importorskip("lightning", reason="lightning comes with weightdecay[peers]")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = Net()

        def training_step(self, batch, index):
            return self.net(**batch)["loss"]

        def configure_optimizers(self):
            optimizer = optimizer_of(self, decay)
            attach(optimizer, decay)
            return optimizer

    module = Module()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few workers and of no logger
        trainer = lightning.Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        trainer.fit(module, torch.utils.data.DataLoader(rows(), batch_size=4))
    assert torch.equal(weights_of(module), expected(decay))


@pytest.mark.parametrize("decay", DECAYS)
def test_transformers(decay, tmp_path):
    """The Trainer clips at 1.0 unless it is told not to."""
    transformers = pytest.importorskip("transformers", reason="transformers comes with weightdecay[peers]")
    model = Net()
    optimizer = optimizer_of(model, decay)
    handle = attach(optimizer, decay)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments = transformers.TrainingArguments(
            str(tmp_path),
            max_steps=STEPS,
            per_device_train_batch_size=4,
            use_cpu=True,
            report_to=[],
            max_grad_norm=0,
            lr_scheduler_type="constant",
            save_strategy="no",
            disable_tqdm=True,
            logging_strategy="no",
        )
        trainer = transformers.Trainer(model, arguments, train_dataset=rows(), optimizers=(optimizer, None))
        trainer._get_train_sampler = lambda *_: torch.utils.data.SequentialSampler(trainer.train_dataset)
        trainer.train()
    assert torch.allclose(weights_of(model), expected(decay), rtol=1e-6, atol=1e-7)
    assert handle.pulls[0] > 0


# ---------------------------------------------------------------- torchao and heavyball


@pytest.fixture
def _eager():
    torch.compiler.set_stance("force_eager")  # both compile their steps
    yield
    torch.compiler.set_stance("default")


@pytest.mark.usefixtures("_eager")
def test_torchao_keeps_its_moments_in_few_bits_and_the_mean_is_right():
    """Σ v of the handle is in float64, whatever the optimizer keeps: 8 bits and 32 pull alike, as AdamS does."""
    torchao = pytest.importorskip("torchao.optim", reason="torchao comes with weightdecay[peers]")
    ends = []
    for kind in (torch.optim.AdamW, torchao.AdamW8bit):
        torch.manual_seed(0)
        weight = torch.nn.Parameter(torch.randn(64, 64))
        optimizer = kind([weight], lr=1e-3, weight_decay=0.1)
        handle = attach(optimizer, wd.Stable())
        for _ in range(3):
            weight.grad = torch.randn(64, 64)
            optimizer.step()
        ends.append((handle.mean_square, handle.pulls[0]))
    assert ends[0] == pytest.approx(ends[1], rel=1e-5)


def test_heavyball():
    heavyball = pytest.importorskip("heavyball", reason="heavyball comes with weightdecay[peers]")
    heavyball.utils.compile_mode = None
    weight = torch.nn.Parameter(torch.randn(8, 8))
    for name in ("SFAdamW", "HyperBallAdamW"):
        optimizer = getattr(heavyball, name)([weight], lr=0.1)
        attach(optimizer, "decoupled", weight_decay=0.1)
        weight.grad = torch.ones_like(weight)
        with pytest.raises(TypeError, match=f"{name} does not keep what attach"):
            optimizer.step()
