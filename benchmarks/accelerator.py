"""Everything that needs a GPU, in one go: lockstep, no waiting, graph capture, low precision, and the table.

    python benchmarks/accelerator.py                        the checks, then benchmarks/engines.py on the GPU
    python benchmarks/accelerator.py --checks               the checks only
    python benchmarks/accelerator.py --checks --device cpu  rehearse them: a CPU has no graphs and nothing to wait for

Prints one line per check and ends with the number that failed; exits with 1 if any did.
"""

import argparse
import contextlib
import copy
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
import engines as engines_table
from results import HEADER, machine
from shapes import NETWORKS, Shape, parameters

import weightdecay as wd

SHAPES: list[Shape] = [(64, 3, 3, 3), (64,), (128, 64), (128,), (1000, 128), (7,)]
ENGINES = ("fused", "foreach", "compiled")


@dataclass(frozen=True)
class Case:
    """An optimizer with its options, and the class of its box, which takes any decay."""

    cls: type[wd.Optimizer]
    box: type[wd.Optimizer]
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, params: list[torch.nn.Parameter], **options: Any) -> wd.Optimizer:
        return self.cls(params, **self.options, **options)


CASES = {
    "AdamS": Case(wd.AdamS, wd.Adam, {"lr": 1e-3}),
    "AdamW": Case(wd.AdamW, wd.Adam, {"lr": 1e-3}),
    "SGDS": Case(wd.SGDS, wd.SGD, {"lr": 1e-2, "momentum": 0.9}),
    "AMSGradS": Case(wd.AMSGradS, wd.AMSGrad, {"lr": 1e-3}),
    "AdaiS": Case(wd.AdaiS, wd.Adai, {"lr": 0.1}),
    "Yogi, stable": Case(wd.Yogi, wd.Yogi, {"weight_decay": 1e-3, "decay": wd.Stable()}),
    "RAdam, stable": Case(wd.RAdam, wd.RAdam, {"weight_decay": 1e-3, "decay": wd.Stable()}),
}


@dataclass(frozen=True)
class Trial:
    """One optimizer on one engine, with tensors of its own."""

    case: Case
    engine: str
    device: str
    shapes: Sequence[Shape]

    def params(self) -> list[torch.nn.Parameter]:
        """Return fresh tensors with gradients, always the same."""
        return parameters(list(self.shapes), self.device)

    def make(self, params: list[torch.nn.Parameter], **options: Any) -> wd.Optimizer:
        """Build the optimizer."""
        return self.case(params, **{"engine": self.engine, **options})

    def refused(self) -> bool:
        """Say whether this engine cannot move this optimizer, and says so."""
        try:
            self.make(self.params())
        except ValueError:
            return True
        return False

    @property
    def gpu(self) -> bool:
        """Say whether there is a device to wait for."""
        return self.device.startswith("cuda")


def gradients(params: list[torch.nn.Parameter], step: int, missing: range) -> None:
    """Set gradients that depend on the step; of the tensors in ``missing`` one is without, in turn."""
    for i, p in enumerate(params):
        generator = torch.Generator(p.device).manual_seed(1000 * step + i)
        absent = i in missing and step % 5 == i
        p.grad = None if absent else torch.randn(p.shape, generator=generator, device=p.device, dtype=p.dtype)


def distance(a: list[torch.Tensor], b: list[torch.Tensor]) -> float:
    return max(((x - y).abs().max() / y.abs().max()).item() for x, y in zip(a, b, strict=True))


def lockstep(trial: Trial) -> None:
    """Twenty steps beside the reference, with missing gradients and a norm that is clipped."""
    walks = []
    # To the compiled engine every set of tensors is a graph: two are enough there.
    missing = range(1) if trial.engine == "compiled" else range(5)
    for name in (trial.engine, "reference"):
        params = trial.params()
        optimizer = trial.make(params, engine=name, max_grad_norm=50.0)
        for step in range(20):
            gradients(params, step, missing)
            optimizer.param_groups[0]["lr"] *= 0.97
            optimizer.step()
        walks.append([p.detach() for p in params])
    off = distance(*walks)
    assert off < 1e-5, f"{off:.1e} away from the reference"


def no_waiting(trial: Trial) -> None:
    """A step in which torch forbids every synchronisation with the host."""
    params = trial.params()
    optimizer = trial.make(params, max_grad_norm=1.0)
    for _ in range(3):
        optimizer.step()
    with waiting_forbidden(trial.gpu):
        optimizer.step()


@contextlib.contextmanager
def waiting_forbidden(gpu: bool) -> Iterator[None]:
    """Make torch raise where the host waits for a GPU."""
    if gpu:
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if gpu:
            torch.cuda.set_sync_debug_mode("default")


def skipping(trial: Trial) -> None:
    """One NaN leaves weights and state as they were, and is counted, without the host knowing."""
    params = trial.params()
    optimizer = trial.make(params, max_grad_norm=1.0)
    for _ in range(3):
        optimizer.step()
    before = [p.detach().clone() for p in params]
    state = copy.deepcopy(optimizer.state_dict()["state"])
    params[0].grad[0] = float("nan")
    optimizer.step()
    assert all(torch.equal(p.detach(), b) for p, b in zip(params, before, strict=True)), "weights moved"
    after = optimizer.state_dict()["state"]
    assert all(torch.equal(after[i][k], v) for i, s in state.items() for k, v in s.items()), "state moved"
    assert optimizer.skipped_steps == 1, f"{optimizer.skipped_steps} counted"


def capture(trial: Trial) -> None:
    """Ten replays of a captured step, with a tensor lr that changes, are ten steps."""
    walks = []
    for captured in (True, False):
        params = trial.params()
        optimizer = trial.make(params)
        rate = optimizer.param_groups[0]["lr"]
        lr = torch.tensor(rate, device=trial.device)
        optimizer.param_groups[0]["lr"] = lr
        step = recorded(optimizer, trial.gpu, captured)
        for i in range(10):
            lr.fill_(rate / (1 + i))
            step()
        walks.append([p.detach() for p in params])
        # A capture runs nothing: its step is the first replay.
    off = distance(*walks)
    assert off < 1e-5, f"{off:.1e} away from the steps that were not captured"


def recorded(optimizer: wd.Optimizer, gpu: bool, captured: bool) -> Callable[[], object]:
    """Take three steps to warm up, and return the replay of a captured one, or the step itself."""
    if not gpu:
        for _ in range(3):
            optimizer.step()
        return optimizer.step
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            optimizer.step()
    torch.cuda.current_stream().wait_stream(side)
    if not captured:
        return optimizer.step
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    return graph.replay


def zero_gradients(trial: Trial) -> None:
    """bf16 weights of 1.0 with zero gradients, Decoupled decay of 1e-5 per step, stand near 0.990 after 1000 steps."""
    for rounding in ("stochastic", "compensated"):
        p = torch.nn.Parameter(torch.ones(4096, dtype=torch.bfloat16, device=trial.device))
        options = {"weight_decay": 1e-2, "decay": wd.Decoupled(), "rounding": rounding, "engine": trial.engine}
        optimizer = trial.case.box([p], lr=1e-3, **options)
        p.grad = torch.zeros_like(p)
        for _ in range(1000):
            optimizer.step()
        kept = optimizer.state[p].get("compensation", torch.zeros((), device=trial.device))
        mean = (p.detach().double() + kept.double()).mean().item()
        assert abs(mean - 0.99005) < 1e-3, f"{rounding}: {mean:.4f}"


def scaler(trial: Trial) -> None:
    """GradScaler's scale and its finding of an inf are honoured, and p.grad is left as it is."""
    walks = []
    for scaled in (True, False):
        params = trial.params()
        optimizer = trial.make(params)
        amp = torch.amp.GradScaler(trial.device.split(":")[0], init_scale=2.0**10, enabled=scaled)
        for step in range(6):
            optimizer.zero_grad()
            loss = sum((p**2).sum() for p in params)
            amp.scale(loss).backward()
            if step == 3:
                if not scaled:
                    continue
                params[0].grad[0] = float("inf")
            amp.step(optimizer)
            amp.update()
        walks.append([p.detach() for p in params])
    off = distance(*walks)
    assert off < 1e-5, f"{off:.1e} away from the run without a scaler"


CHECKS = (lockstep, no_waiting, skipping, capture, zero_gradients, scaler)


@dataclass(frozen=True)
class Outcome:
    """What a check found: nothing, or the reason why it failed."""

    case: str
    engine: str
    check: str
    seconds: float
    failure: str = ""

    def line(self) -> str:
        """Return the outcome as a line."""
        text = f"{self.check:15} {self.case:14} {self.engine:9} {self.seconds:5.1f} s"
        return f"FAILED  {text}: {self.failure}" if self.failure else f"ok      {text}"


def run(
    device: str,
    cases: Sequence[str] = tuple(CASES),
    engines: Sequence[str] = ENGINES,
    shapes: Sequence[Shape] = SHAPES,
    checks: Sequence[Callable[[Trial], None]] = CHECKS,
) -> Iterator[Outcome]:
    """Yield the outcome of every check, engine by engine: what has to be compiled comes last."""
    for engine in engines:
        for name in cases:
            trial = Trial(CASES[name], engine, device, shapes)
            if trial.refused():
                continue
            for check in checks:
                if check is zero_gradients and engine == "fused":
                    continue  # which refuses 16-bit weights
                start = time.perf_counter()
                failure = attempt(check, trial)
                yield Outcome(name, engine, check.__name__, time.perf_counter() - start, failure)


def attempt(check: Callable[[Trial], None], trial: Trial) -> str:
    """Return why the check failed, or nothing."""
    try:
        check(trial)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        text = str(error).splitlines()[0] if str(error) else ""
        return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}: {text}"
    return ""


def main() -> None:
    """Print one line per check, and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checks", action="store_true", help="leave the table out")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    arguments = parser.parse_args()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("no GPU is visible to torch: nothing to check. benchmarks/engines.py measures the CPU.")
    print(machine())
    failed = 0
    for outcome in run(arguments.device, engines=arguments.engines):
        failed += bool(outcome.failure)
        print(outcome.line(), flush=True)
    print(f"{failed} failed", flush=True)
    if not arguments.checks:
        print(HEADER)
        for network, shapes in NETWORKS.items():
            for row in engines_table.measure(network, shapes(), arguments.device, 25, ["torch"]):
                print(row.line(), flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
