"""The Trainer of transformers with our optimizers, schedules and readings: a small Llama, nothing downloaded."""

import importlib
import json
import sys
import types
import warnings

import pytest
import torch
from test_docs import run_block

import weightdecay as wd
from weightdecay.attaching import Handle
from weightdecay.schedule import parse

STEPS, STOP = 6, 3


@pytest.fixture(scope="module", autouse=True)
def _packages():
    """Imported here and not above: every worker of the suite reads this file, and one of them runs it."""
    global transformers, hf, Tracker
    transformers = pytest.importorskip("transformers", reason="transformers comes with weightdecay[peers]")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that it imports
        from weightdecay.integrations import huggingface as hf

        class Tracker(transformers.TrainerCallback):
            """Keeps what W&B's and TensorBoard's callbacks are given, in their place."""

            def __init__(self):
                self.rows = []

            def on_log(self, args, state, control, logs=None, **kwargs):
                self.rows.append(dict(logs))


def llama():
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "vocab_size": 32}
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=16)
    )


def texts():
    generator = torch.Generator().manual_seed(1)
    rows = torch.randint(0, 32, (4 * STEPS, 8), generator=generator)
    return [{"input_ids": row, "labels": row} for row in rows]


def arguments(folder, **options):
    usual = {"learning_rate": 1e-2, "weight_decay": 0.1, "max_steps": STEPS, "per_device_train_batch_size": 4}
    quiet = {"use_cpu": True, "report_to": [], "disable_tqdm": True, "logging_steps": 1, "save_steps": STOP}
    return transformers.TrainingArguments(str(folder), **{**usual, **quiet, **options})


@pytest.fixture(autouse=True)
def _quiet(capsys):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*pin_memory.*")
        yield


def trainer_of(args, make, schedule=None, **options):
    model = llama()
    tracker = Tracker()
    transformers.trainer.DEFAULT_CALLBACKS.append(tracker)  # before those of a user, as the trackers are
    try:
        trainer = transformers.Trainer(
            model, args, train_dataset=texts(), optimizer_cls_and_kwargs=make(args), **options
        )
    finally:
        transformers.trainer.DEFAULT_CALLBACKS.pop()
    callback = hf.WeightDecayCallback(schedule).add_to(trainer)
    return trainer, tracker, callback


MAKES = {
    "adams": lambda args: hf.optimizer_for(args),
    "cautious": lambda args: hf.optimizer_for(args, "adam", decay="cautious(stable)", roles={"norm": wd.Toward(1.0)}),
    "attached": lambda args: hf.optimizer_for(args, torch.optim.AdamW, decay="stable", preset=None, foreach=True),
}


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


SCHEDULE = "rise(0.5, 1) * follow(1)"


@pytest.mark.parametrize("make", MAKES)
def test_a_run_that_is_stopped_goes_on_bit_for_bit(make, tmp_path):
    make = MAKES[make]
    whole, tracked, _ = trainer_of(arguments(tmp_path), make, SCHEDULE)
    whole.train()
    again, tracked_again, callback = trainer_of(arguments(tmp_path / "again"), make, SCHEDULE)
    again.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{STOP}"))
    assert same(whole.model, again.model)
    group = "weightdecay/group0/weight_decay"
    strengths = [row[group] for row in tracked.rows if group in row]
    assert len(strengths) == STEPS
    assert strengths[STOP:] == [row[group] for row in tracked_again.rows if group in row]
    # Linear from 1e-2 to 0 is the Trainer's own schedule of the lr.
    lrs = [1 - step / STEPS for step in range(STEPS)]
    expected = [0.1 * f * lr for f, lr in zip(parse("rise(0.5, 1)").values(STEPS), lrs, strict=True)]
    assert strengths == pytest.approx(expected, rel=1e-12)
    assert callback.scheduler.last_epoch == STEPS


def test_the_pull_in_the_tracker_is_that_of_the_step_and_is_in_the_history(tmp_path):
    trainer, tracker, _ = trainer_of(arguments(tmp_path), MAKES["attached"])
    trainer.train()
    last = next(row for row in reversed(tracker.rows) if "loss" in row)
    handle = Handle.of(trainer.optimizer)
    assert last["weightdecay/group0/pull"] == pytest.approx(handle.pulls[0], rel=1e-6)
    history = [row for row in trainer.state.log_history if "loss" in row]
    assert history[-1]["weightdecay/group0/pull"] == last["weightdecay/group0/pull"]
    saved = json.loads((tmp_path / f"checkpoint-{STEPS}" / "trainer_state.json").read_text())
    assert saved["log_history"][0]["weightdecay/group0/pull"] == history[0]["weightdecay/group0/pull"]


def test_the_optimizer_is_the_one_that_a_loop_of_ones_own_would_have(tmp_path):
    """The Trainer's split of the tensors, its lr schedule, ours of λ, and no clipping."""
    args = arguments(tmp_path, max_grad_norm=0, save_strategy="no", adam_beta2=0.95)
    trainer, _, _ = trainer_of(args, MAKES["adams"], "cosine")
    trainer._get_train_sampler = lambda *_: torch.utils.data.SequentialSampler(trainer.train_dataset)
    trainer.train()

    model = llama()
    decayed = set(trainer.get_decay_parameter_names(model))
    named = dict(model.named_parameters())
    kinds = [[named[n] for n in named if (n in decayed) is here] for here in (True, False)]
    groups = [{"params": ps, "weight_decay": strength} for ps, strength in zip(kinds, (0.1, 0.0), strict=True)]
    optimizer = wd.AdamS(groups, lr=1e-2, betas=(0.9, 0.95))
    lr = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / STEPS)
    scheduler = wd.schedule.Scheduler(optimizer, "cosine", total_steps=STEPS)
    rows = texts()
    for step in range(STEPS):
        batch = torch.stack([row["input_ids"] for row in rows[4 * step : 4 * step + 4]])
        optimizer.zero_grad()
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        lr.step()
        scheduler.step()
    for p, q in zip(model.parameters(), trainer.model.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=1e-5, atol=1e-7)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers, by peft
def test_of_a_lora_only_the_adapters_are_in_the_groups_and_both_factors_decay(tmp_path):
    peft = pytest.importorskip("peft", reason="peft comes with weightdecay[peers]")
    args = arguments(tmp_path, max_steps=1, save_strategy="no")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of peft's own call of transformers
        model = peft.get_peft_model(llama(), peft.LoraConfig(r=2, target_modules=["q_proj"]))
        for preset in ("transformers", None):
            choice = hf.optimizer_for(args, preset=preset)
            trainer = transformers.Trainer(model, args, train_dataset=texts(), optimizer_cls_and_kwargs=choice)
            groups = trainer.create_optimizer().param_groups
            decayed = {p: group["weight_decay"] for group in groups for p in group["params"]}
            assert decayed == {p: 0.1 for name, p in model.named_parameters() if "lora" in name}


def test_muon_deals_out_the_tensors_itself(tmp_path):
    args = arguments(tmp_path, max_steps=1, save_strategy="no")
    trainer, _, _ = trainer_of(args, lambda args: hf.optimizer_for(args, "muonadamw"))
    assert [group["method"] for group in trainer.create_optimizer().param_groups] == ["muon", "adam", "adam"]
    trainer, _, _ = trainer_of(args, lambda args: hf.optimizer_for(args, "muonadamw", roles={"norm": 0.1}))
    with pytest.raises(ValueError, match="MuonAdamW deals out the tensors of a model itself"):
        trainer.create_optimizer()


def test_the_default_of_training_arguments_is_said(tmp_path):
    args = arguments(tmp_path, weight_decay=0.0, max_steps=1, save_strategy="no")
    with pytest.warns(hf.NothingDecaysWarning, match="AdamS decays nothing"):
        hf.optimizer_for(args)
    plain = lambda _: (wd.AdamS, {"lr": 1e-3})  # noqa: E731 - the usual way, which the Trainer gives λ = 0.0
    trainer, _, _ = trainer_of(args, plain)
    with pytest.warns(hf.NothingDecaysWarning, match="default of TrainingArguments"):
        trainer.train()
    with warnings.catch_warnings():
        warnings.simplefilter("error", hf.NothingDecaysWarning)
        hf.optimizer_for(args, weight_decay=0.1)
        hf.optimizer_for(args, weight_decay=0.0)  # on purpose
        hf.optimizer_for(args, roles={"matrix": 0.1})


def test_a_callback_behind_the_trackers_says_so_once(tmp_path):
    args = arguments(tmp_path, max_steps=2, save_strategy="no")
    args.report_to = ["wandb"]  # after the Trainer is built, as its callback would want the package
    trainer = transformers.Trainer(
        llama(), arguments(tmp_path, max_steps=2, save_strategy="no"), train_dataset=texts(),
        optimizer_cls_and_kwargs=hf.optimizer_for(args), callbacks=[hf.WeightDecayCallback()],
    )  # fmt: skip
    trainer.args.report_to = ["wandb"]
    with pytest.warns(UserWarning, match=r"wandb came before this callback.*add_to\(trainer\)") as said:
        trainer.train()
    assert len([each for each in said if "came before" in str(each.message)]) == 1


def test_what_cannot_be_is_refused(tmp_path):
    args = arguments(tmp_path, max_steps=1, save_strategy="no")
    with pytest.raises(ValueError, match="Did you mean 'adams'"):
        hf.optimizer_for(args, "adms")
    with pytest.raises(TypeError, match="is not an optimizer"):
        hf.optimizer_for(args, 3)
    trainer, _, _ = trainer_of(args, MAKES["adams"], "plateau(0.1)")
    with pytest.raises(ValueError, match="reads a metric"):
        trainer.train()
    nothing_reads = {"roles": {"norm": wd.Toward(1.0)}}
    trainer, _, _ = trainer_of(args, lambda args: hf.optimizer_for(args, torch.optim.AdamW, **nothing_reads))
    with pytest.raises(ValueError, match="a decay that nothing reads"):
        trainer.train()


def test_a_checkpoint_without_the_callback_is_taken_up(tmp_path):
    args = arguments(tmp_path, max_steps=STEPS)
    plain = transformers.Trainer(llama(), args, train_dataset=texts(), optimizer_cls_and_kwargs=hf.optimizer_for(args))
    plain.train()
    with_callback, _, _ = trainer_of(arguments(tmp_path / "b"), MAKES["adams"])
    with_callback.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{STOP}"))
    assert same(plain.model, with_callback.model)


def test_axolotls_plugin(tmp_path, monkeypatch):
    """Axolotl itself is not installed here: its base class is a stand-in, and its trainer hands over the arguments."""
    pytest.importorskip("pydantic", reason="pydantic comes with transformers' own packages")

    class Axolotl(transformers.Trainer):
        def create_optimizer(self, model=None):  # as axolotl.core.trainers.mixins.optimizer does with a factory
            factory, options = self.optimizer_cls_and_kwargs
            self.optimizer = self.optimizer or factory()(self.model, self.args, **options)
            return self.optimizer

    for name in ("axolotl", "axolotl.integrations"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    base = types.SimpleNamespace(BasePlugin=object)
    monkeypatch.setitem(sys.modules, "axolotl.integrations.base", base)
    plugin = importlib.import_module("weightdecay.integrations.axolotl")
    monkeypatch.delitem(sys.modules, "weightdecay.integrations.axolotl")

    args = arguments(tmp_path, max_steps=2, save_strategy="no")
    trainer = Axolotl(llama(), args, train_dataset=texts())
    table = plugin.Arguments(weightdecay={"optimizer": "sgds", "decay": "vanilla", "schedule": "cosine", "lr": 0.1})
    plugin.WeightDecayPlugin().post_trainer_create(table, trainer)
    trainer.train()
    group = trainer.optimizer.param_groups[0]
    assert (type(trainer.optimizer.optimizer), group["decay"]) == (wd.SGDS, wd.Vanilla())
    assert group["weight_decay"] == pytest.approx(0)  # the end of the cosine
    assert "weightdecay/group0/pull" in trainer.state.log_history[0]


def test_the_numbers_are_in_tensorboards_files(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard", reason="tensorboard comes with weightdecay[trackers]")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    args = arguments(tmp_path, max_steps=2, save_strategy="no", report_to=["tensorboard"])
    trainer, tracker, _ = trainer_of(args, MAKES["adams"], "cosine")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tensorboard's own imports
        trainer.train()
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(tmp_path / "events")).Reload()
    name = "weightdecay/group0/pull"
    logged = [(event.step, event.value) for event in events.Scalars(f"train/{name}")]
    assert logged == [(i + 1, pytest.approx(tracker.rows[i][name], rel=1e-6)) for i in range(2)]


def test_the_page_on_the_trainer(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run_block("docs/frameworks.md", "transformers.Trainer(", model=llama(), data=texts())
    rows = [row for row in names["trainer"].state.log_history if "weightdecay/group0/pull" in row]
    assert [row["step"] for row in rows] == [2, 4]
