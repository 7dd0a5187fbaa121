"""Lightning's Trainer with our optimizers, schedules and readings; nothing downloaded."""

import csv
import warnings

import pytest
import torch
from test_docs import run_block

import weightdecay as wd
from weightdecay.attaching import Handle
from weightdecay.schedule import parse

STEPS, STOP = 6, 3
SCHEDULE = "rise(0.5, 1) * follow(1)"


@pytest.fixture(scope="module", autouse=True)
def _packages():
    """Imported here and not above: every worker of the suite reads this file, and one of them runs it."""
    global lightning, ours, Module
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that it imports
        lightning = pytest.importorskip("lightning.pytorch", reason="lightning comes with weightdecay[peers]")
        from weightdecay.integrations import lightning as ours

    class Module(lightning.LightningModule):
        def __init__(self, manual=False, **options):
            super().__init__()
            torch.manual_seed(0)
            self.net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
            self.options, self.automatic_optimization, self.strengths = options, not manual, []

        def training_step(self, batch, index):
            loss = self.net(batch[0]).square().mean()
            if not self.automatic_optimization:
                optimizer = self.optimizers()
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
                for scheduler in self.lr_schedulers():
                    scheduler.step()
            return loss

        def on_train_batch_start(self, batch, index):
            self.strengths.append(self.optimizers().param_groups[0]["weight_decay"])

        def configure_optimizers(self):
            return ours.configure(self, lr=1e-2, weight_decay=0.1, **self.options)


def falling(optimizer):
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / STEPS)


CASES = {
    "adams": {},
    "cautious": {"optimizer": "adam", "decay": "cautious(stable)", "preset": "timm"},
    "attached": {"optimizer": torch.optim.AdamW, "decay": "stable"},
}


def fit(module, folder, steps=STEPS, resume=None, callbacks=(), logger=False):
    data = torch.utils.data.TensorDataset(torch.randn(4 * STOP, 3, generator=torch.Generator().manual_seed(1)))
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few workers, of no logger
        trainer = lightning.Trainer(
            max_epochs=STEPS // STOP, accelerator="cpu", logger=logger, log_every_n_steps=1,
            default_root_dir=folder, callbacks=[*callbacks, *([Stop(folder)] if steps < STEPS else [])], **quiet,
        )  # fmt: skip
        trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=4), ckpt_path=resume)
    return trainer


def Stop(folder):  # noqa: N802 - a callback
    def save(trainer, module, *_):
        if trainer.global_step == STOP:  # the end of an epoch: within one, Lightning would begin its data anew
            trainer.save_checkpoint(folder / "stopped.ckpt")
            trainer.should_stop = True

    return lightning.callbacks.LambdaCallback(on_train_epoch_end=save)


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("manual", [False, True], ids=["automatic", "manual"])
@pytest.mark.parametrize("case", CASES)
def test_a_run_that_is_stopped_goes_on_bit_for_bit(case, manual, tmp_path):
    make = lambda: Module(manual, **CASES[case], schedule=SCHEDULE, lr_scheduler=falling)  # noqa: E731
    whole, first, again = make(), make(), make()
    fit(whole, tmp_path)
    fit(first, tmp_path, STOP)
    assert not same(whole, first)
    fit(again, tmp_path, resume=str(tmp_path / "stopped.ckpt"))
    assert same(whole, again)
    lrs = [1 - step / STEPS for step in range(STEPS)]
    expected = [0.1 * f * lr for f, lr in zip(parse("rise(0.5, 1)").values(STEPS), lrs, strict=True)]
    assert whole.strengths == first.strengths + again.strengths
    assert whole.strengths == pytest.approx(expected, rel=1e-12)


def test_automatic_and_manual_optimization_and_a_loop_of_ones_own_end_alike(tmp_path):
    ends = []
    for manual in (False, True):
        module = Module(manual, schedule="cosine", lr_scheduler=falling)
        fit(module, tmp_path)
        ends.append(module)
    net = Module().net
    optimizer = wd.AdamS(wd.select(net, 0.1), lr=1e-2)
    lr, scheduler = falling(optimizer), wd.schedule.Scheduler(optimizer, "cosine", total_steps=STEPS)
    data = torch.randn(4 * STOP, 3, generator=torch.Generator().manual_seed(1)).repeat(2, 1)
    for step in range(STEPS):
        optimizer.zero_grad()
        net(data[4 * step : 4 * step + 4]).square().mean().backward()
        optimizer.step()
        lr.step()
        scheduler.step()
    assert same(ends[0].net, ends[1].net)
    assert same(ends[0].net, net)


def test_the_readings_arrive_in_a_logger_and_in_callback_metrics(tmp_path):
    module = Module(**CASES["attached"], schedule="cosine")
    logger = lightning.loggers.CSVLogger(tmp_path)
    monitors = [ours.WeightDecayMonitor(), lightning.callbacks.LearningRateMonitor(log_weight_decay=True)]
    trainer = fit(module, tmp_path, callbacks=monitors, logger=logger)
    logger.save()
    with open(f"{logger.log_dir}/metrics.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["weightdecay/group0/pull"]]
    assert len(rows) == STEPS
    handle = Handle.of(trainer.optimizers[0])
    assert float(rows[-1]["weightdecay/group0/pull"]) == pytest.approx(handle.pulls[0], rel=1e-6)
    assert trainer.callback_metrics["weightdecay/group0/pull"] == pytest.approx(handle.pulls[0], rel=1e-6)
    strengths = [float(row["weightdecay/group0/weight_decay"]) for row in rows]
    assert strengths == pytest.approx([0.1 * f for f in parse("cosine").values(STEPS)], rel=1e-6)


def test_two_optimizers_are_told_apart(tmp_path):
    class Two(Module):
        def __init__(self):
            super().__init__(manual=True)

        def training_step(self, batch, index):
            loss = self.net(batch[0]).square().mean()
            self.manual_backward(loss)
            for optimizer in self.optimizers():
                optimizer.step()
                optimizer.zero_grad()

        def on_train_batch_start(self, batch, index):
            pass

        def configure_optimizers(self):
            return [ours.configure(self.net[i], lr=1e-2, weight_decay=0.1 * (i + 1)) for i in (0, 2)]

    trainer = fit(Two(), tmp_path, callbacks=[ours.WeightDecayMonitor(every=2)])
    names = [f"weightdecay/optimizer{i}/group0/weight_decay" for i in (0, 1)]
    assert [trainer.callback_metrics[name].item() for name in names] == pytest.approx([0.1, 0.3])


def test_what_cannot_be_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Lightning hands none to it"):
        fit(Module(schedule="plateau(0.1)"), tmp_path)
    with pytest.raises(ValueError, match="Did you mean 'adams'"):
        ours.configure(Module(), "adms")


def test_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = run_block("docs/frameworks.md", "lightning.Trainer(")
    assert "weightdecay/group0/pull" in names["trainer"].callback_metrics
