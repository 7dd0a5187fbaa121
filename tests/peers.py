"""Other people's optimizers: which there are, and what attach() does to a weight of each."""

import contextlib
import functools
import importlib
import importlib.metadata
import inspect
import io
import warnings

import torch

import weightdecay as wd

PACKAGES = {
    "torch.optim": "torch",
    "timm.optim": "timm",
    "pytorch_optimizer": "pytorch_optimizer",
    "optimi": "torch-optimi",
    "lion_pytorch": "lion-pytorch",
    "schedulefree": "schedulefree",
    "prodigyopt": "prodigyopt",
    "dadaptation": "dadaptation",
    "torchao.optim": "torchao",
}
"""Modules, and the packages they come in."""

PULL = 0.005
SPECIAL = {
    "SGDP": {"momentum": 0.9},
    "Adafactor": {"lr": 1e-3},
    "BSAM": {"num_data": 1},
    "Ranger21": {"num_iterations": 9},
}


def classes(module):
    """Return {class name: class} of a package that is installed."""
    there = importlib.import_module(module)
    kinds = {name: getattr(there, name) for name in dir(there)}
    if module == "pytorch_optimizer":
        loaded = [there.load_optimizer(name) for name in there.get_supported_optimizers()]
        kinds = {kind.__name__: kind for kind in loaded}
    base = torch.optim.Optimizer
    return {n: k for n, k in kinds.items() if isinstance(k, type) and issubclass(k, base) and k is not base}


def measure(kind):
    """Return (verdict, pull measured in a step against the same step without decay; None where there is none)."""
    with _quiet(kind):
        try:
            start, plain, _ = _step(kind, None)
        except Exception as error:
            return f"not built here: {type(error).__name__}", None
        try:
            _, decayed, _ = _step(kind, wd.Vanilla())
        except (TypeError, ValueError, RuntimeError) as error:
            return f"refused: {error}", None
    part = torch.dot((plain - decayed).flatten(), start.flatten()) / start.square().sum()
    return "attached", part.item()


def cells(kind, verdict, pull):
    """Return (pull of a uniform decay, what Stable reads, whether a masked decay moves what it should): text.

    None where the optimizer is not built here.
    """
    if pull is None:
        return None if verdict.startswith("not built") else ("refused", "refused", "refused")
    with _quiet(kind):
        for before in (0, 1, 11):  # some move nothing in their first steps
            start, plain, _ = _step(kind, None, before=before)
            allowed = (start - plain) * start >= 0
            if 0 < allowed.sum() < allowed.numel():
                break
        try:
            _, decayed, _ = _step(kind, wd.Cautious(wd.Vanilla()), before=before)
        except (TypeError, ValueError, RuntimeError):
            masked = "refused"
        else:
            right = torch.allclose(plain - decayed, PULL * allowed * start, rtol=0.02, atol=2e-6)
            masked = ("no" if not right else "yes") if 0 < allowed.sum() < allowed.numel() else "moves nothing"
        try:
            handle = _step(kind, wd.Stable(), strength=1e-6)[2]
            stable = "mean of v" if handle.reads_mean_square else "momentum"
        except (TypeError, ValueError, RuntimeError):
            stable = "with `gain=`"
    return f"{pull:.4f}", stable, masked


@functools.cache
def measured(module):
    """Return {class name: (verdict, pull)} of a package."""
    return {name: measure(kind) for name, kind in sorted(classes(module).items())}


def table(module):
    """Return the rows of a package as Markdown."""
    kinds = classes(module)
    rows = {name: cells(kinds[name], *found) for name, found in measured(module).items()}
    return [f"| `{name}` | {' | '.join(row)} |" for name, row in rows.items() if row is not None]


def version(module):
    """Return the version of the package that a module comes in, without what says how it was built."""
    return importlib.metadata.version(PACKAGES[module]).partition("+")[0]


HEAD = """# Which decay works on which optimizer

`python tests/peers.py` writes this page. It builds every optimizer class for one 6 × 4 matrix and takes a step with a
pull of {pull}. `tests/test_attach_table.py` repeats all measurements and compares them with this page, for packages of
the same version.

- **pull** is the fraction by which `attach(optimizer, Vanilla())` shrank the weights in one step, compared with the
  same step without decay.
- **`Stable`** names the number from which the pull of `Stable()` follows: "mean of v" is $\\bar v$, computed from the
  norms of the gradients, and "momentum" is $(1-\\text{{dampening}})/(1-\\text{{momentum}})$. "with `gain=`" means that
  you must pass the gain, because it is not known or because the update multiplies no gradient.
- **masked** says whether `Cautious(Vanilla())` shrank exactly those elements that the update was shrinking too.

"refused" marks an optimizer that would undo a decay, because it keeps other weights than it shows, or fixes their
norm. The error message gives the reason. A class has no row if it cannot be built for one matrix, because it takes a
model, a base optimizer or several processes.
"""


def document():
    """Return the page of all packages that are installed."""
    parts = [HEAD.format(pull=PULL)]
    for module, package in PACKAGES.items():
        try:
            rows = table(module)
        except ImportError:
            continue
        parts.append(f"## {package} {version(module)}\n\n{COLUMNS}\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


COLUMNS = "| optimizer | pull | `Stable` | masked |\n|---|---|---|---|"


@contextlib.contextmanager
def _quiet(kind):
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.ExitStack() as stack,
    ):
        warnings.simplefilter("ignore")
        if "torchao" in kind.__module__:
            stack.enter_context(torch.compiler.set_stance("force_eager"))  # its steps are compiled
        yield


def _step(kind, decay, strength=PULL, before=0):
    """Return the weight before and after a step over one matrix, with this decay or none; and the handle.

    ``before`` is how many steps without decay have gone before it.
    """
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(6, 4, dtype=torch.float32))
    parameters = inspect.signature(kind).parameters
    options = dict(SPECIAL.get(kind.__name__, {}))
    if "lr" in parameters and parameters["lr"].default is inspect.Parameter.empty:
        options.setdefault("lr", 1e-3)
    groups = [{"params": [weight], "use_muon": True}] if "Muon" in kind.__name__ else [weight]
    try:
        optimizer = kind(groups, **options)
    except (TypeError, ValueError, KeyError):
        optimizer = kind([weight], **options)
    if hasattr(optimizer, "train"):
        optimizer.train()
    for group in optimizer.param_groups:
        if "weight_decay" in group:
            group["weight_decay"] = 0.0
    needs_closure = inspect.signature(optimizer.step).parameters.get("closure")

    def step():
        optimizer.zero_grad()
        loss = (weight * torch.linspace(-1, 2, 24).view(6, 4)).sum()
        loss.backward(create_graph="hess" in kind.__name__.lower())
        if needs_closure is not None and needs_closure.default is inspect.Parameter.empty:
            optimizer.step(lambda: torch.zeros(()))
        else:
            optimizer.step()

    for _ in range(before):
        step()
    start = weight.detach().clone()
    handle = None if decay is None else wd.attach(optimizer, decay, weight_decay=strength)
    step()
    return start.double(), weight.detach().double(), handle


if __name__ == "__main__":
    with open("docs/attach-table.md", "w") as file:
        file.write(document())
