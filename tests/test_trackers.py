"""What a watch reads arrives in the trackers, each as it works without a network, and is read back from its files."""

import re

import pytest
import torch

from weightdecay.monitor import watch

pytestmark = pytest.mark.filterwarnings("ignore")  # of their own
STEP, HINT = 6, "comes with weightdecay[trackers]"


@pytest.fixture(scope="module")
def found():
    model = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Linear(4, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.3)
    seen = watch(optimizer, model, every=STEP, tensors=True)
    for _ in range(STEP):
        for p in model.parameters():
            p.grad = torch.randn_like(p)
        optimizer.step()
    readings = seen.readings()
    assert readings["weightdecay/group0/pull"] == pytest.approx(0.006)
    assert "weightdecay/0.weight/angle" in readings
    return readings


def test_tensorboard(found, tmp_path):
    pytest.importorskip("tensorboard", reason=f"tensorboard {HINT}")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        for name, value in found.items():
            writer.add_scalar(name, value, STEP)
    events = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0}).Reload()
    read = {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}
    assert read == {name: [(STEP, torch.tensor(value).item())] for name, value in found.items()}  # in float32


def test_wandb_offline(found, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason=f"wandb {HINT}")
    monkeypatch.chdir(tmp_path)
    settings = wandb.Settings(console="off", disable_git=True, x_disable_stats=True, x_disable_machine_info=True)
    with wandb.init(mode="offline", dir=tmp_path, settings=settings) as run:
        run.log(found, step=STEP)
    wandb.teardown()  # the process that writes ends, and its file is whole
    (file,) = tmp_path.rglob("run-*.wandb")
    written = file.read_bytes()  # records of protocol buffers: a name, two bytes of a tag, a length, the number as JSON
    rows = {n: re.search(re.escape(n.encode()) + rb"\x82\x01.([-+.e\d]+)", written, re.DOTALL) for n in found}
    assert {name: row and float(row[1]) for name, row in rows.items()} == found


def test_mlflow(found, tmp_path):
    mlflow = pytest.importorskip("mlflow", reason=f"mlflow {HINT}")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/runs.db")  # its directories of files are in maintenance mode
    with mlflow.start_run() as run:
        mlflow.log_metrics(found, step=STEP)
    client = mlflow.MlflowClient()
    assert client.get_run(run.info.run_id).data.metrics == found
    assert {metric.step for name in found for metric in client.get_metric_history(run.info.run_id, name)} == {STEP}


def test_trackio(found, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    trackio = pytest.importorskip("trackio", reason="trackio is installed by hand: it needs an older pillow")
    trackio.init(project="watched", name="run", embed=False, auto_log_gpu=False, auto_log_cpu=False)
    trackio.log(found, step=STEP)
    trackio.finish()
    (row,) = trackio.SQLiteStorage.get_logs("watched", "run")
    assert {name: row[name] for name in found} == found
    assert row["step"] == STEP
    assert list(tmp_path.rglob("*.db"))
