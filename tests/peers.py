"""Other people's optimizers: which there are, and what attach() does to a weight of each."""

import contextlib
import importlib
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
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.ExitStack() as stack,
    ):
        warnings.simplefilter("ignore")
        if "torchao" in kind.__module__:
            stack.enter_context(torch.compiler.set_stance("force_eager"))  # its steps are compiled
        try:
            start, plain = _step(kind, None)
        except Exception as error:
            return f"not built here: {type(error).__name__}", None
        try:
            _, decayed = _step(kind, wd.Vanilla())
        except (TypeError, ValueError, RuntimeError) as error:
            return f"refused: {error}", None
    part = torch.dot((plain - decayed).flatten(), start.flatten()) / start.square().sum()
    return "attached", part.item()


def _step(kind, decay):
    """Return the weight before and after a step over one matrix, with this decay or none."""
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(6, 4, dtype=torch.float32))
    start = weight.detach().clone()
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
    if decay is not None:
        wd.attach(optimizer, decay, weight_decay=PULL)
    needs_closure = inspect.signature(optimizer.step).parameters.get("closure")
    (weight * torch.linspace(-1, 2, 24).view(6, 4)).sum().backward(create_graph="hess" in kind.__name__.lower())
    if needs_closure is not None and needs_closure.default is inspect.Parameter.empty:
        optimizer.step(lambda: torch.zeros(()))
    else:
        optimizer.step()
    return start.double(), weight.detach().double()
