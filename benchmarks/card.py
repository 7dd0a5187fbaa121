"""One script for a GPU: it checks, times and counts everything that only a GPU can show, within 8 minutes.

    python benchmarks/card.py --out results                   on a GPU; writes results/card.json and results/card.md
    python benchmarks/card.py --device cpu --quick            a rehearsal of every line, on a CPU

In this order: the checks of accelerator.py; the engines' table; the host's time of a step; kernel launches and waits of
the host per step; epochs of ResNet18 on CIFAR-10's shape; memory. Each section has a process and a time limit of its
own: one that fails, crashes or takes too long loses its own last rows and nothing else. Both files are written after
every section. Exits with 1 if a check or a section failed or was cut off; a goal that is missed is no failure.
"""

import argparse
import importlib
import json
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
import accelerator
import engines
import epoch
import host
from results import HEADER, Row, machine, table
from shapes import NETWORKS, Shape, parameters
from timing import Step, bandwidth, wait

import weightdecay as wd

MINUTES = 8.0
"""The whole, with the start of Python."""

RESERVE = 10.0
"""Seconds of it that no section may use: Python starts before the clock, and the files are written after it."""


@dataclass(frozen=True)
class Asked:
    """The device, and the size of the work."""

    device: str
    quick: bool

    @property
    def gpu(self) -> bool:
        """Say whether the device is a GPU."""
        return self.device.startswith("cuda")

    @property
    def shapes(self) -> list[Shape]:
        """Return the tensors of the sections that look at one step: ResNet18's, or a few small ones."""
        return [(8, 4, 3, 3), (8,), (16, 8), (16,)] if self.quick else NETWORKS["resnet18"]()

    def params(self) -> list[torch.nn.Parameter]:
        """Return fresh tensors with gradients."""
        return parameters(self.shapes, self.device)


def describe(asked: Asked) -> Iterator[Row]:
    """Yield what the other rows depend on; without the device there is nothing to do."""
    if asked.gpu and not torch.cuda.is_available():
        raise SystemExit(f"device={asked.device}: torch sees no GPU. --device cpu --quick rehearses on a CPU.")
    name = torch.cuda.get_device_name(asked.device) if asked.gpu else "CPU"
    speed = bandwidth(asked.device, 1 << 16 if asked.quick else 1 << 26)
    yield Row("machine", name, speed / 1e9, "GB/s", note=f"x += y; {machine()}")


def checks(asked: Asked) -> Iterator[Row]:
    """Yield one row per optimizer and engine: the number of its checks that failed, and why."""
    plans = [(tuple(accelerator.CASES), accelerator.ENGINES, accelerator.SHAPES, accelerator.CHECKS)]
    if asked.quick:  # every check once, and the compiler once
        plans = [
            (["AdamS"], ["foreach"], asked.shapes, accelerator.CHECKS),
            (["SGDS"], ["fused", "compiled"], asked.shapes[1:3], [accelerator.no_waiting]),
        ]
    for cases, names, shapes, chosen in plans:
        for engine in names:
            for case in cases:
                outcomes = []
                for outcome in accelerator.run(asked.device, [case], [engine], shapes, chosen):
                    print(outcome.line(), flush=True)
                    outcomes.append(outcome)
                if outcomes:
                    failures = [f"{o.check}: {o.failure}" for o in outcomes if o.failure]
                    unit, note = f"of {len(outcomes)} failed", "; ".join(failures)
                    yield Row("checks", f"{case}, {engine}", len(failures), unit, note=note, failed=bool(failures))


def engine_table(asked: Asked) -> Iterator[Row]:
    """Yield the rows of engines.py against torch's fused optimizers."""
    if asked.quick:
        shapes, names = asked.shapes, ("fused", "foreach")
        yield from engines.measure("small tensors", shapes, asked.device, 2, ["torch"], names, elements=1 << 16)
        return
    # What has to be compiled comes last: it may run out of time.
    for network, names in (("resnet18", ["fused", "foreach"]), ("gpt124m", ["fused"]), ("resnet18", ["compiled"])):
        yield from engines.measure(network, NETWORKS[network](), asked.device, 25, ["torch"], names)


def host_time(asked: Asked) -> Iterator[Row]:
    """Yield the rows of host.py, those against torch first."""
    if asked.quick:
        yield from host.measure(asked.device, [5], 2, groups=(2, 4), most=10)
        return
    yield from host.measure(asked.device, rounds=21)


def launches(asked: Asked) -> Iterator[Row]:
    """Yield what one step launches, how often the host waits and reads, and the operators of torch that it calls."""
    subjects = {what: pair for what, (*pair, _) in host.AGAINST_TORCH.items()}
    subjects["AdamS, clipped"] = (clipped, "torch clip + fused AdamW", torch_clipped)
    subjects["AMSGradS"] = (wd.AMSGradS, "torch fused AdamW, amsgrad", fused_amsgrad)
    if not asked.quick:
        subjects["AdamS, compiled"] = (compiled, "torch fused AdamW", host.fused_adamw)
    for what, (ours, other, theirs) in subjects.items():
        mine, torchs = (count(build(asked.params()).step, asked.device) for build in (ours, theirs))
        for name, a in mine.items():
            goal = 0.0 if name == "waits" else None
            ratio = a / torchs[name] if torchs[name] and goal is None else None
            yield Row("one step", f"{what}: {name}", a, "", other, torchs[name], ratio, goal)


def compiled(params: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    return wd.AdamS(params, engine="compiled")


def fused_amsgrad(params: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(params, amsgrad=True, fused=True)


def clipped(params: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    return wd.AdamS(params, max_grad_norm=0.01)


def torch_clipped(params: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    optimizer = host.fused_adamw(params)
    optimizer.register_step_pre_hook(lambda *_: torch.nn.utils.clip_grad_norm_(params, 0.01) and None)
    return optimizer


def count(step: Step, device: str, steps: int = 4) -> dict[str, float]:
    """Return launches, waits, reads and operators per step, as torch's profiler sees them.

    A wait is a call of CUDA that returns when the device is done; a read brings a number to Python, and is a wait as
    well if the number lies on the device. On a CPU there are no launches and no waits.
    """
    from torch.profiler import ProfilerActivity, profile, record_function

    for _ in range(3):
        step()
    wait(device)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.startswith("cuda") else [])]
    with profile(activities=activities) as profiler:
        with record_function("the steps"):
            for _ in range(steps):
                step()
        wait(device)
    events = [event for event in profiler.events() if event.device_type == torch.autograd.DeviceType.CPU]
    (span,) = (event.time_range for event in events if event.name == "the steps")
    names = Counter(event.name for event in events if span.start <= event.time_range.start < span.end)
    kinds = {
        "launches": lambda name: name.startswith(("cudaLaunch", "cuLaunch", "cudaGraphLaunch")),
        "waits": lambda name: "Synchronize" in name,
        "reads": lambda name: name == "aten::_local_scalar_dense",
        "operators": lambda name: name.startswith("aten::"),
    }
    return {kind: sum(n for name, n in names.items() if of(name)) / steps for kind, of in kinds.items()}


def epochs(asked: Asked) -> Iterator[Row]:
    """Yield the rows of epoch.py: batch 128, bf16, channels-last, compiled."""
    if asked.quick:
        run = epoch.settings(network="smallcnn", batch=8, norm=False, width=8)  # few kernels to compile
        yield from epoch.measure(run, asked.device, 2, steps=1, size=8)
        return
    yield from epoch.measure(epoch.settings(), asked.device, 4)


def memory(asked: Asked) -> Iterator[Row]:
    """Yield the bytes of each optimizer's state, and on a GPU the peak of its steps, over weights and gradients."""
    # The account of v̄ is a number or two per tensor, which a network of this size does not notice.
    goal = None if asked.quick else 1.01
    for what, (ours, other, theirs, _) in host.AGAINST_TORCH.items():
        (state, peak), (their_state, their_peak) = (taken(build, asked) for build in (ours, theirs))
        for name, a, b in (("state", state, their_state), ("peak of a step", peak, their_peak)):
            if a is not None and b is not None:
                ratio = a / b if b else None
                yield Row("memory", f"{what}: {name}", a / 2**20, "MiB", other, b / 2**20, ratio, goal)


def taken(build: host.Build, asked: Asked) -> tuple[int, int | None]:
    """Return the bytes of the state, and of the peak if the device counts."""
    params = asked.params()
    if asked.gpu:
        wait(asked.device)
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if asked.gpu else 0
    optimizer = build(params)
    for _ in range(3):
        optimizer.step()
    wait(asked.device)
    values = [value for kept in optimizer.state.values() for value in kept.values()]
    state = sum(value.nbytes for value in values if isinstance(value, torch.Tensor))
    return state, torch.cuda.max_memory_allocated() - before if asked.gpu else None


@dataclass(frozen=True)
class Section:
    """A part of the work, and the seconds that it may take."""

    name: str
    rows: Callable[[Asked], Iterator[Row]]
    seconds: float


SECTIONS = [
    Section("machine", describe, 20),
    Section("checks", checks, 125),
    Section("engines", engine_table, 85),
    Section("host", host_time, 60),
    Section("one step", launches, 40),
    Section("epoch", epochs, 110),
    Section("memory", memory, 25),
]
"""In the order of the run. Together they leave RESERVE of MINUTES."""


@dataclass(frozen=True)
class Report:
    """How a section ended."""

    name: str
    seconds: float
    status: str  # "done", "failed", "cut off"
    message: str = ""

    def row(self) -> Row:
        """Return it as a row of the table."""
        failed = self.status != "done"
        note = ": ".join(part for part in (self.status, self.message) if part)
        return Row(self.name, "the whole section", self.seconds, "s", note=note, failed=failed)


def work(section: Section, asked: Asked, out: Connection) -> None:
    """Send the rows of a section and print them; the last message is the reason of a failure, or nothing."""
    os.setsid()  # so that what the compiler starts ends with this process
    try:
        for row in section.rows(asked):
            print(row.line(), flush=True)
            out.send(row)
    except BaseException as error:
        text = str(error).splitlines()[0] if str(error) else ""
        out.send(text if isinstance(error, SystemExit) else f"{type(error).__name__}: {text}")
    else:
        out.send("")
    out.close()


def supervise(section: Section, asked: Asked, seconds: float, start_by: str) -> tuple[list[Row], Report]:
    """Run a section in a process of its own, for so long at most; keep the rows that it sent."""
    context = multiprocessing.get_context(start_by)
    receiver, sender = context.Pipe(duplex=False)
    start = time.perf_counter()
    process = context.Process(target=work, args=(section, asked, sender))
    process.start()
    sender.close()
    rows: list[Row] = []
    status, message = "cut off", f"it had {seconds:.0f} s"
    while receiver.poll(max(0.0, start + seconds - time.perf_counter())):
        try:
            found = receiver.recv()
        except EOFError:
            process.join()
            status, message = "failed", f"its process ended with exit code {process.exitcode}"
            break
        if not isinstance(found, Row):
            status, message = ("failed", found) if found else ("done", "")
            break
        rows.append(found)
    end(process)
    return rows, Report(section.name, round(time.perf_counter() - start, 2), status, message)


def end(process: multiprocessing.Process) -> None:
    """End the process and what it started."""
    if process.is_alive():
        process.join(2)  # it has sent its last word, or is out of time
    for kill in (lambda: os.killpg(process.pid, signal.SIGKILL), process.kill):
        try:
            kill()
        except ProcessLookupError:
            continue
    process.join(5)


def write(folder: Path, asked: Asked, started: str, reports: Sequence[Report], rows: Sequence[Row]) -> None:
    """Write what is known so far, as JSON and as Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "started": started,
        "device": asked.device,
        "quick": asked.quick,
        "torch": torch.__version__,
        "weightdecay": wd.__version__,
        "sections": [asdict(report) for report in reports],
        "rows": [row.plain() for row in rows],
    }
    (folder / "card.json").write_text(
        json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8"
    )
    kind = ", a quick rehearsal, whose numbers mean nothing" if asked.quick else ""
    title = f"`benchmarks/card.py`, {asked.device}{kind}, {started}, {machine()}"
    (folder / "card.md").write_text(f"{title}\n\n{table(rows)}", "utf-8")


def run(asked: Asked, folder: Path, sections: Sequence[Section], minutes: float, start_by: str = "fork") -> int:
    """Run the sections in order, print their rows and at the end the table; return the exit status."""
    seconds, share = max(1.0, 60 * minutes - RESERVE), minutes / MINUTES
    if start_by == "fork" and not asked.gpu:
        # Every step needs this once. It may look for GPUs, after which no forked process could use one.
        importlib.import_module("torch._dynamo")
    started, deadline = time.strftime("%Y-%m-%d %H:%M:%S"), time.monotonic() + seconds
    print(HEADER, flush=True)
    reports: list[Report] = []
    rows: list[Row] = []
    for section in sections:
        limit = min(share * section.seconds, max(0.0, deadline - time.monotonic()))
        found, report = supervise(section, asked, limit, start_by)
        reports.append(report)
        rows += [*found, report.row()]
        print(report.row().line(), flush=True)
        write(folder, asked, started, reports, rows)
        if report.status != "done" and section.rows is describe:
            break  # nothing else can run
    print(f"\n{table(rows)}\nwritten to {folder / 'card.json'} and {folder / 'card.md'}", flush=True)
    failed = [row for row in rows if row.failed]
    print(f"{len(failed)} failed" + "".join(f"\n{row.line()}" for row in failed), flush=True)
    return 1 if failed else 0


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="small sizes: every line once")
    parser.add_argument("--out", type=Path, help="folder of card.json and card.md; by default $OUT, or this one")
    parser.add_argument("--sections", nargs="+", choices=[s.name for s in SECTIONS], help="only these")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for the whole; every section has its share")
    parser.add_argument("--start", choices=["fork", "spawn"], default="fork", help="spawn: import torch per section")
    arguments = parser.parse_args()
    folder = arguments.out or Path(os.environ.get("OUT") or ".")
    sections = [s for s in SECTIONS if arguments.sections is None or s.name in arguments.sections]
    asked = Asked(arguments.device, arguments.quick)
    sys.exit(run(asked, folder, sections, arguments.minutes, arguments.start))


if __name__ == "__main__":
    main()
