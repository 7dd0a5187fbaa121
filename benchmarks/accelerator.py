"""Everything that needs a GPU, in one go: lockstep, no waiting, graph capture, low precision, and the table.

    python benchmarks/accelerator.py            the checks, then benchmarks/engines.py on the GPU
    python benchmarks/accelerator.py --checks   the checks only

Prints one line a check and ends with the number that failed; exits with 1 if any did.
"""

import argparse
import copy
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from shapes import parameters

import weightdecay as wd

SHAPES = [(64, 3, 3, 3), (64,), (128, 64), (128,), (1000, 128), (7,)]
CASES: dict[str, Callable[..., wd.Optimizer]] = {
    "AdamS": lambda p, **o: wd.AdamS(p, lr=1e-3, **o),
    "AdamW": lambda p, **o: wd.AdamW(p, lr=1e-3, **o),
    "SGDS": lambda p, **o: wd.SGDS(p, lr=1e-2, momentum=0.9, **o),
    "AMSGradS": lambda p, **o: wd.AMSGradS(p, lr=1e-3, **o),
    "AdaiS": lambda p, **o: wd.AdaiS(p, lr=0.1, **o),
    "Yogi, stable": lambda p, **o: wd.Yogi(p, weight_decay=1e-3, decay=wd.Stable(), **o),
    "RAdam, stable": lambda p, **o: wd.RAdam(p, weight_decay=1e-3, decay=wd.Stable(), **o),
}
ENGINES = ("fused", "foreach", "compiled")


def refused(make: Callable[..., wd.Optimizer], engine: str) -> bool:
    try:
        make(parameters(SHAPES, "cuda"), engine=engine)
    except ValueError:
        return True
    return False


def gradients(params: list[torch.nn.Parameter], step: int) -> None:
    for i, p in enumerate(params):
        generator = torch.Generator("cuda").manual_seed(1000 * step + i)
        p.grad = None if step % 5 == i else torch.randn(p.shape, generator=generator, device="cuda", dtype=p.dtype)


def distance(a: list[torch.Tensor], b: list[torch.Tensor]) -> float:
    return max(((x - y).abs().max() / y.abs().max()).item() for x, y in zip(a, b, strict=True))


def lockstep(make: Callable[..., wd.Optimizer], engine: str) -> None:
    """Twenty steps beside the reference, with missing gradients and a norm that is clipped."""
    walks = []
    for name in (engine, "reference"):
        params = parameters(SHAPES, "cuda")
        optimizer = make(params, engine=name, max_grad_norm=50.0)
        for step in range(20):
            gradients(params, step)
            optimizer.param_groups[0]["lr"] *= 0.97
            optimizer.step()
        walks.append([p.detach() for p in params])
    off = distance(*walks)
    assert off < 1e-5, f"{off:.1e} away from the reference"


def no_waiting(make: Callable[..., wd.Optimizer], engine: str) -> None:
    """A step in which torch forbids every synchronisation with the host."""
    params = parameters(SHAPES, "cuda")
    optimizer = make(params, engine=engine, max_grad_norm=1.0)
    for _ in range(3):
        optimizer.step()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        optimizer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def skipping(make: Callable[..., wd.Optimizer], engine: str) -> None:
    """One NaN leaves weights and state as they were, and is counted, without the host knowing."""
    params = parameters(SHAPES, "cuda")
    optimizer = make(params, engine=engine, max_grad_norm=1.0)
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


def capture(make: Callable[..., wd.Optimizer], engine: str) -> None:
    """Ten replays of a captured step, with a tensor lr that changes, are ten steps."""
    walks = []
    for captured in (True, False):
        params = parameters(SHAPES, "cuda")
        optimizer = make(params, engine=engine)
        rate = optimizer.param_groups[0]["lr"]
        lr = torch.tensor(rate, device="cuda")
        optimizer.param_groups[0]["lr"] = lr
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                optimizer.step()
        torch.cuda.current_stream().wait_stream(side)
        step = optimizer.step
        if captured:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                optimizer.step()
            step = graph.replay
        for i in range(10):
            lr.fill_(rate / (1 + i))
            step()
        walks.append([p.detach() for p in params])
        # A capture runs nothing: its step is the first replay.
    off = distance(*walks)
    assert off < 1e-5, f"{off:.1e} away from the steps that were not captured"


def zero_gradients(make: Callable[..., wd.Optimizer], engine: str) -> None:
    """bf16 weights of 1.0 with zero gradients, Decoupled decay of 1e-5 a step, stand near 0.990 after 1000 steps."""
    kind = type(make(parameters(SHAPES, "cuda")))
    for rounding in ("stochastic", "compensated"):
        p = torch.nn.Parameter(torch.ones(4096, dtype=torch.bfloat16, device="cuda"))
        base = next(c for c in kind.__mro__ if "decay" in c.__init__.__kwdefaults__)
        options = {"weight_decay": 1e-2, "decay": wd.Decoupled(), "rounding": rounding, "engine": engine}
        optimizer = base([p], lr=1e-3, **options)
        p.grad = torch.zeros_like(p)
        for _ in range(1000):
            optimizer.step()
        kept = optimizer.state[p].get("compensation", torch.zeros((), device="cuda"))
        mean = (p.detach().double() + kept.double()).mean().item()
        assert abs(mean - 0.99005) < 1e-3, f"{rounding}: {mean:.4f}"


def scaler(make: Callable[..., wd.Optimizer], engine: str) -> None:
    """GradScaler's scale and its finding of an inf are honoured, and p.grad is left as it is."""
    walks = []
    for scaled in (True, False):
        params = parameters(SHAPES, "cuda")
        optimizer = make(params, engine=engine)
        amp = torch.amp.GradScaler("cuda", init_scale=2.0**10, enabled=scaled)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checks", action="store_true", help="leave the table out")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no GPU is visible to torch: nothing to check. benchmarks/engines.py measures the CPU.")
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}")
    failed = 0
    for name, make in CASES.items():
        for engine in ENGINES:
            if refused(make, engine):
                continue
            for check in CHECKS:
                if check is zero_gradients and engine == "fused":
                    continue  # refuses 16-bit weights
                try:
                    check(make, engine)
                    print(f"ok      {check.__name__:15} {name:14} {engine}", flush=True)
                except Exception as error:
                    failed += 1
                    last = traceback.extract_tb(error.__traceback__)[-1]
                    place = f"{Path(last.filename).name}:{last.lineno}"
                    text = str(error).splitlines()[0] if str(error) else ""
                    print(
                        f"FAILED  {check.__name__:15} {name:14} {engine}: {type(error).__name__} at {place}: {text}",
                        flush=True,
                    )
    print(f"{failed} failed", flush=True)
    if not arguments.checks:
        table = Path(__file__).with_name("engines.py")
        subprocess.run([sys.executable, table, "--devices", "cuda", "--rows", "torch"], check=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
