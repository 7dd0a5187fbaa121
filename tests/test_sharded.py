"""One mean over the whole model, wherever its elements are: 4, 2 and 1 processes against one that knows nothing of it.

``sharded_worker.py`` measures, in one start of all processes; the laws are here.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from toys import TOYS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the processes meet through the loopback of Linux"),
]

WORKER = Path(__file__).with_name("sharded_worker.py")
TIMEOUT = 500  # seconds for all scenarios; one that hangs gives up on its own
EXACT = 1e-13  # of float64 runs; sums in another order
TRAINED = 1e-11  # after a backward pass whose sums go over processes in another order

COUPLED = ("AdamS", "AMSGradS", "AdaiS", "Yogi-Stable", "AdaBound-Stable")
"""Those that read a mean over the model."""
ENGINES = ("reference", "foreach", "auto")
DEALT = (
    *(f"AdamS/{e}" for e in (*ENGINES, "foreach-clipped", "auto-clipped")),
    *(f"AMSGradS/{e}" for e in ("reference", "auto", "auto-clipped")),
    *("Yogi-Stable/auto", "Yogi-Stable/auto-clipped", "AdamS/groups", "AdamS/groups-clipped"),
)
RESUMED = (
    *("AdamS", "AMSGradS", "AdaiS", "SGDS", "Yogi-Stable", "AdaBound-Stable", "AdamW", "Adam-L2", "Adam-Elementwise"),
    *("Adam-Independent", "AdamS-clipped", "AdamS-flat", "AdamS-full"),
)


@pytest.fixture(scope="session")
def measured(tmp_path_factory):
    """measured[world][scenario]: what each process wrote. Measured once, whatever the number of pytest's processes."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    directory, log = shared / "sharded", shared / "sharded.log"
    with (shared / "sharded.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            directory.mkdir()
            measure(directory, log)
    results = defaultdict(lambda: defaultdict(list))
    for world in (4, 2, 1):
        for rank in range(world):
            file = directory / f"{world}-{rank}.jsonl"
            for line in file.read_text().splitlines() if file.exists() else ():
                values = json.loads(line)
                results[world][values.pop("scenario")].append(values)
    return {"log": log.read_text()[-2000:], **results}


def measure(directory, log):
    command = [sys.executable, str(WORKER), str(directory)]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            output.write(f"\nnot finished after {TIMEOUT} s\n")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(60)


@pytest.fixture
def law(measured):
    """A function of (world, scenario, …) that asserts what must hold in every process, and returns what they wrote."""

    def assert_it(world, scenario, tolerance=EXACT, **exactly):
        processes = measured.get(world, {}).get(scenario, [])
        errors = [p["error"] for p in processes if "error" in p]
        assert not errors, errors[0]
        assert len(processes) == world, f"{len(processes)} of {world} processes got here\n{measured['log']}"
        for process in processes:
            assert process["difference"] <= tolerance
            assert process.get("replicas", 0) == 0
            assert {name: process[name] for name in exactly} == exactly
        return processes

    return assert_it


def collectives(method, engine, clips=False):
    """One all-reduce per step; two in the reference, and where v̄ is known only after clipping."""
    if method not in COUPLED:
        return int(clips)
    linear = method in ("AdamS", "AdaiS", "AdaBound-Stable") and "groups" not in engine
    return 1 if engine != "reference" and (linear or not clips) else 2


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("method", ["AdamS", "AMSGradS", "AdaiS", "SGDS", "Yogi-Stable"])
def test_fsdp2(law, method, engine, world):
    """Uneven pieces, empty pieces, a late joiner, missing gradients: the weights are those of one process."""
    law(world, f"fsdp2/{method}/{engine}", collectives=collectives(method, engine))


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("method", ["AdaBound-Stable", "AdamW", "Adam-L2", "Adam-Elementwise", "Adam-Independent"])
def test_fsdp2_other_decays(law, method, world):
    law(world, f"fsdp2/{method}/auto", collectives=collectives(method, "auto"))


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize(
    ("method", "engine"),
    [*(("AdamS", e) for e in ENGINES), *((m, "auto") for m in ("AMSGradS", "AdaiS", "SGDS", "Yogi-Stable"))],
)
def test_plain_replicated_and_sharded_tensors_in_one_optimizer(law, method, engine, world):
    law(world, f"mixed/{method}/{engine}", collectives=collectives(method, engine))


@pytest.mark.parametrize(
    ("layout", "world"),
    [("ddp", 2), ("ddp", 4), ("fsdp2", 2), ("fsdp2", 4), ("tp", 2), ("tp", 4), ("fsdp2+tp", 4), ("hsdp", 4)],
)
@pytest.mark.parametrize("run", ["AdamS/auto", "AMSGradS/foreach", "AdamW/auto", "AdamS/clipped"])
def test_training(law, run, layout, world):
    """Forward and backward pass are torch's own; under DDP every process sees the whole model, and none is asked."""
    method = run.split("/")[0]
    law(world, f"train-{layout}/{run}", TRAINED, collectives=0 if layout == "ddp" else collectives(method, "auto"))


@pytest.mark.parametrize("world", [2, 4])
def test_training_fsdp1(law, world):
    law(world, "train-fsdp1", TRAINED, collectives=1)


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize(
    ("method", "engine"),
    [
        *((m, e) for m in ("AdamS", "AMSGradS", "SGDS", "AdamW") for e in ENGINES),
        *(("AdaiS", "auto"), ("AdaBound-Stable", "auto")),
    ],
)
def test_clipping_is_that_of_the_whole_model(law, method, engine, world):
    for process in law(world, f"clip/{method}/{engine}", collectives=collectives(method, engine, clips=True)):
        assert process["norm"] <= EXACT
        assert process["clips"] >= 5


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("run", ["AdamS/auto", "AdamS/foreach", "AdamS/reference", "AMSGradS/auto"])
def test_nan_in_one_process_is_skipped_by_all(law, run, world):
    processes = law(world, f"nan/{run}", skipped=1, untouched=0, collectives=collectives(*run.split("/")))
    assert all(p["raised"] for p in processes)
    assert [p["raised"] for p in processes].count(2) == 1, "only the process that has the tensor can name it"


@pytest.mark.parametrize("world", [2, 4])
def test_raising_without_a_mean_asks_all_processes(law, world):
    law(world, "raising-without-a-mean", raised=1, collectives=1)


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("run", DEALT)
@pytest.mark.parametrize("deal", ["in-turn", "late"])
def test_tensors_dealt_out_by_the_user(law, deal, run, world):
    """Also where a process has no gradient for a while, or no tensor at all."""
    method, engine = run.split("/")
    clips = engine.endswith("-clipped")
    law(world, f"own-{deal}/{run}", collectives=collectives(method, engine, clips))


@pytest.mark.parametrize("world", [2, 4])
def test_a_nan_in_a_tensor_of_ones_own_is_skipped_by_all(law, world):
    law(world, "own-nan", skipped=1)


@pytest.mark.parametrize("world", [2, 4])
def test_a_step_without_any_gradient(law, world):
    law(world, "own-nobody-has-a-gradient", collectives=1, states=0)


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("run", ["zero-with-group", "zero-with-group-clipped", "zero-without-group"])
def test_zero_redundancy(law, run, world):
    law(world, run, collectives=1)


@pytest.mark.parametrize("world", [2, 4])
def test_zero_redundancy_resumes(law, world):
    law(world, "zero-checkpoint")


@pytest.mark.parametrize("world", [2, 4])
def test_a_local_mean_would_be_seen(measured, world):
    """That these tests can fail: with the mean of what a process holds the weights are far away."""
    assert all(process["difference"] > 0.1 for process in measured[world]["local-means"])


@pytest.mark.parametrize("run", ["pipeline-of-fsdp2", "pipeline-of-ddp"])
def test_pipeline_stages(law, run):
    law(4, run, collectives=1)


@pytest.mark.parametrize("run", ["meshes-that-cross", "submesh-of-two-dimensions"])
def test_meshes_without_a_group_are_refused_until_it_is_named(law, run):
    law(4, run, collectives=1, refused=1)


@pytest.mark.parametrize("world", [2, 4])
def test_a_weight_that_is_a_summand_is_refused(law, world):
    law(world, "weights-that-are-summands", refused=1)


@pytest.mark.parametrize("world", [2, 4])
def test_a_gradient_that_is_a_summand_is_summed_first(law, world):
    law(world, "gradients-not-yet-summed", TRAINED, collectives=2)


@pytest.mark.parametrize("world", [2, 4])
def test_float32(law, world):
    law(world, "float32", 1e-6, collectives=1)


@pytest.mark.parametrize("world", [2, 4])
def test_complex_numbers(law, world):
    law(world, "complex-numbers", shape=[5, 6, 2])


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("engine", ["reference", "auto"])
@pytest.mark.parametrize("rounding", ["stochastic", "compensated", "moments"])
def test_bf16_follows_float64(law, rounding, engine, world):
    """Within the spacing of bf16 numbers a few times over."""
    law(world, f"bf16/{rounding}/{engine}", 0.03, collectives=collectives("AdamS", engine))


PORTS = [
    pytest.param(f"{cls}-{toy}", int("mean_gain" in toy.decay.needs), id=f"{cls}-{toy}")
    for toy in TOYS
    for cls in ("Adam", "Sign")
    if toy.elementwise and (cls == "Adam" or not {"mean_gain", "gain"} & toy.decay.needs)
]


@pytest.mark.parametrize("run", ["fsdp2/{}/reference", "fsdp2/{}/auto", "mixed/{}/auto"])
@pytest.mark.parametrize(("toy", "reductions"), PORTS)
def test_decays_of_ones_own(law, toy, reductions, run):
    """Mask, anchor, constraint and all facts are this process's pieces; v̄ alone is of the whole model."""
    law(2, f"ports-{run.format(toy)}", collectives=reductions * (2 if run.endswith("reference") else 1))


@pytest.mark.parametrize("world", [2, 4])
def test_bf16_with_compensation_is_that_of_one_process(law, world):
    law(world, "bf16-one-process", 2**-8)


@pytest.mark.parametrize("wrote", [*RESUMED, "AdamS-reference"])
def test_a_checkpoint_written_by_four_processes(law, wrote):
    """The run goes on undisturbed, and no number of one process's piece is in the states."""
    label, engine = ("AdamS", "reference") if wrote == "AdamS-reference" else (wrote, "auto")
    law(4, f"save/{label}/{engine}", v_sum=0)


@pytest.mark.parametrize("world", [2, 1])
@pytest.mark.parametrize("run", [*(f"{r}/auto-auto" for r in RESUMED), "AdamS/auto-reference", "AdamS/reference-auto"])
def test_a_checkpoint_of_four_processes_resumes_on_fewer(law, run, world):
    """As if the run had never stopped, also where another engine goes on."""
    law(world, f"load/{run}")


def test_a_checkpoint_of_fsdp2_with_tensor_parallelism(law):
    law(4, "save-of-two-dimensions", TRAINED)
    law(2, "load-of-two-dimensions", TRAINED)
    law(1, "load-of-two-dimensions", TRAINED)


@pytest.mark.parametrize("world", [4, 2, 1])
def test_every_scenario_was_finished_by_every_process(measured, world):
    assert measured.get(world), measured["log"]
    for scenario, processes in measured[world].items():
        assert len(processes) == world, f"{scenario}\n{measured['log']}"
        assert not any("error" in process for process in processes), scenario


@pytest.mark.parametrize(
    ("world", "run", "reductions"),
    [
        (2, "fsdp2/hyperball/reference", 4),  # two for each matrix
        (2, "fsdp2/hyperball/auto", 2),  # two for both, which move as one
        (2, "fsdp2/radialbrake/auto", 1),
        (2, "fsdp2/normtarget/auto", 3),  # one for each number of steps that some tensor has taken
        (2, "fsdp2/capped/auto", 3),
        (2, "mixed/hyperball/auto", 2),
        (4, "mixed/normtarget/auto", 2),
        (4, "fsdp2+tp/hyperball/auto", 4),  # two in each dimension of the mesh
        (4, "fsdp2+tp/capped/auto", 5),
        (4, "hsdp/radialbrake/auto", 1),
    ],
)
def test_norms_are_those_of_whole_tensors(law, run, world, reductions):
    """Uneven and empty pieces, missing gradients: as in one process, and no more all-reduces than said."""
    law(world, f"norms-{run}", collectives=reductions)


@pytest.mark.parametrize(
    ("world", "run", "reductions"),
    [
        *((2, f"fsdp2/{name}", 1) for name in ("AdamS", "cautious", "torch", "attached")),
        *((4, "mixed/torch", 1), (4, "hsdp/torch", 1), (4, "fsdp2+tp/torch", 2)),
    ],
)
def test_a_watch_reads_whole_tensors_and_says_how_many_all_reduces_that_takes(law, run, world, reductions):
    """One for each group of processes over which some tensor is cut, in a step that is read; else none."""
    for process in law(world, f"watch-{run}", collectives=[0, 0, 0, reductions] * 2, missing=[]):
        assert process["readings"] > 50


def test_given_anchors_are_cut_as_the_parameters_are(law):
    law(2, "given-anchors")
