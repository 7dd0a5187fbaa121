"""The same keyword `weight_decay` means different things in different libraries: this measures which.

Every optimizer below moves one 4 x 4 weight through the same prescribed gradients, the last of them zero, with λ
and with λ = 0. The gradients do not depend on the weight, so the two paths differ by the decay alone, and

    pull_t = (Δθ_t without decay − Δθ_t with decay) / θ_{t−1} with decay    in θ_t = (1 − pull_t) θ_{t−1} − η_t u_t

is measured, element by element. Four such pairs give the exponents of pull in the lr, in a schedule and in the scale
of the gradients; two more paths, with λθ or 2λθ added to the gradients by hand and no decay, tell whether the decay
*is* L2. The name of the kind follows from these numbers alone. Libraries that are not installed are said to be absent.

    python examples/same_keyword.py [library ...]
"""

import ast
import contextlib
import importlib
import importlib.metadata
import inspect
import io
import math
import os
import sys
import warnings

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "torch")
warnings.simplefilter("ignore")

LR, LAM, STEPS, LOUDER = 0.1, 0.01, 12, 2.0
TOLERANCE = 5e-3  # of an exponent or a ratio; float32 libraries measure pull to about 1e-4 of itself
rng = np.random.default_rng(0)
WEIGHT = rng.uniform(1.0, 2.0, (4, 4))
GRADS = rng.uniform(0.05, 0.2, (STEPS, 4, 4)) * rng.choice([-1.0, 1.0], (STEPS, 4, 4))
GRADS[-1] = 0.0
CONSTANT = np.full(STEPS, LR)
HALVED = np.where(np.arange(STEPS) < STEPS // 2, LR, LR / 2)

# One line a library (its import, its distribution) and the optimizers; λ in an argument marks λ's own keyword.
OPTIMIZERS = """
torch.optim torch: SGD | SGD(momentum=0.9) | SGD(momentum=0.9, dampening=0.9) | Adam | AdamW | NAdam | RAdam
torch.optim torch: NAdam(decoupled_weight_decay=True) | RAdam(decoupled_weight_decay=True) | Adamax | Adadelta
torch.optim torch: Adagrad | RMSprop | ASGD | Adafactor | Muon
timm.optim timm: AdamWLegacy | AdamWLegacy(corrected_weight_decay=True) | SGDW(momentum=0.9)
timm.optim timm: SGDW(momentum=0.9, corrected_weight_decay=True) | NAdamW | NAdamW(corrected_weight_decay=True)
timm.optim timm: LaProp | LaProp(corrected_weight_decay=True) | Lion | Lion(corrected_weight_decay=True) | Adopt
timm.optim timm: Adopt(decoupled=True) | AdaBelief | AdaBelief(fixed_decay=True) | AdaBelief(decoupled_decay=False)
timm.optim timm: RMSpropTF | RMSpropTF(decoupled_decay=True) | AdamP | Adafactor | AdafactorBigVision | Adan | MADGRAD
timm.optim timm: MADGRAD(decoupled_decay=True) | Mars | Muon | Lars | Lamb | Lamb(decoupled_decay=True) | NvNovoGrad
pytorch_optimizer pytorch_optimizer: AdamS | AdamS(fixed_decay=True) | StableAdamW | Adai | Adai(weight_decouple=True)
pytorch_optimizer pytorch_optimizer: Adai(weight_decouple=True, stable_weight_decay=True) | SWATS | AdamC
pytorch_optimizer pytorch_optimizer: AdamC(normalized=True) | SGDW(momentum=0.9) | FlashAdamW
pytorch_optimizer pytorch_optimizer: FlashAdamW(decouple_lr=True) | AdaBelief | AdaBelief(fixed_decay=True)
pytorch_optimizer pytorch_optimizer: AdaBelief(weight_decouple=False) | Yogi | Yogi(fixed_decay=True)
pytorch_optimizer pytorch_optimizer: Yogi(weight_decouple=False) | AdaBound | AdaBound(weight_decouple=False) | PAdam
pytorch_optimizer pytorch_optimizer: RAdam | RAdam(weight_decouple=False) | ADOPT | Lion | Lamb | NovoGrad
optimi torch-optimi: SGD(momentum=0.9) | SGD(momentum=0.9, decouple_wd=True) | Adam | Adam(decouple_wd=True)
optimi torch-optimi: Adam(decouple_lr=True) | AdamW | AdamW(decouple_lr=True) | RAdam | Lion | Adan
optimi torch-optimi: StableAdamW(triton=False, foreach=False)
schedulefree schedulefree: SGDScheduleFree | AdamWScheduleFree | RAdamScheduleFree
transformers.optimization transformers: Adafactor(relative_step=False, scale_parameter=False)
bitsandbytes.optim bitsandbytes: SGD32bit(momentum=0.9) | Adam32bit | AdamW32bit | Lion32bit
heavyball heavyball: SGD | AdamW | AdamC | LaProp | SFAdamW | Muon
optax optax: adamw | nadamw | adamaxw | lion | adan | adadelta | adafactor(weight_decay_rate=λ) | contrib.muon
optax optax: sgd, λθ before momentum | sgd, λθ after momentum | sgd, λθ after the lr | lars | lamb | novograd
keras.optimizers keras: SGD(momentum=0.9) | Adam | AdamW | Adamax | Nadam | Adagrad | Adadelta | RMSprop | Lion | Muon
keras.optimizers keras: Adafactor | Lamb | Ftrl | ScheduleFreeAdamW
keras.optimizers keras: SGD(momentum=0.9, kernel_regularizer=λ) | Adam(kernel_regularizer=λ)
"""


# A walker returns the weight before and after every step; kappa * weight is added to the gradient: L2 by hand.
def walk_torch(make, key, lam, options, lrs, grads, kappa, start):
    import torch

    float32 = make.__module__.startswith(("bitsandbytes", "heavyball"))  # these know no float64
    weight = torch.nn.Parameter(torch.tensor(start, dtype=torch.float32 if float32 else torch.float64))
    optimizer = make([weight], lr=float(lrs[0]), **{key: lam}, **options)
    if hasattr(optimizer, "train"):  # schedule-free
        optimizer.train()
    path = [start]
    for lr, grad in zip(lrs, grads, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = float(lr)
        weight.grad = torch.tensor(grad, dtype=weight.dtype) + kappa * weight.detach()
        optimizer.step()
        path.append(weight.detach().double().numpy().copy())
    return np.stack(path)


def walk_optax(make, key, lam, options, lrs, grads, kappa, start):
    import jax
    import jax.numpy as jnp
    import optax

    jax.config.update("jax_enable_x64", True)
    table, weight, path = jnp.asarray(lrs), jnp.asarray(start), [start]
    transform = make(lambda count: table[count], **{key: lam}, **options)
    state = transform.init(weight)
    for grad in grads:
        updates, state = transform.update(jnp.asarray(grad) + kappa * weight, state, weight)
        weight = optax.apply_updates(weight, updates)
        path.append(np.asarray(weight))
    return np.stack(path)


def walk_keras(make, key, lam, options, lrs, grads, kappa, start):
    import keras
    import torch

    keras.config.set_floatx("float64")
    weight, path = keras.Variable(start, dtype="float64", name="kernel"), [start]
    in_the_loss = key == "kernel_regularizer"
    penalty = keras.regularizers.L2(lam if in_the_loss else 0.0)
    optimizer = make(learning_rate=float(lrs[0]), **({} if in_the_loss else {key: lam}), **options)
    for lr, grad in zip(lrs, grads, strict=True):
        optimizer.learning_rate = float(lr)
        now = torch.tensor(path[-1], requires_grad=True)
        (penalty(now) + 0.5 * kappa * (now * now).sum()).backward()
        optimizer.apply([torch.tensor(grad) + now.grad], [weight])
        path.append(weight.value.detach().cpu().numpy().copy())
    return np.stack(path)


def pulls(decayed, free, after):
    """Per step and element: how much more the decayed weight shrank, as a fraction of it before (after) its update."""
    update = np.diff(free, axis=0)
    return 1 - decayed[1:] / (decayed[:-1] + update) if after else 1 - (decayed[1:] - update) / decayed[:-1]


def near(values, target):
    return bool(np.all(np.abs(np.asarray(values) - target) < TOLERANCE))


def measure(walk, make, key, options):
    def path(lrs, grads=GRADS, lam=LAM, kappa=0.0, start=WEIGHT):
        return walk(make, key, lam, options, lrs, grads, kappa, start)

    def exponents(base, changed, factor):  # at every step, elements averaged; nan where there is no pull
        with np.errstate(all="ignore"):
            return np.log(changed / base) / math.log(factor)

    cases = [(CONSTANT, GRADS), (CONSTANT / 2, GRADS), (HALVED, GRADS), (CONSTANT, LOUDER * GRADS)]
    pairs = [(path(*case), path(*case, lam=0.0)) for case in cases]
    decayed, free = pairs[0]
    effect = np.abs(decayed - free).max()
    elsewhere = np.diff(path(CONSTANT, lam=0.0, start=1.5 * WEIGHT), axis=0) - np.diff(free, axis=0)
    gaps = {k: np.abs(decayed - path(CONSTANT, lam=0.0, kappa=k * LAM)).max() for k in (1, 2)}
    m = {"effect": effect, "L2": next((k for k in gaps if gaps[k] < 1e-3 * effect), None)}
    m["sees weight"] = np.abs(elsewhere).max() > 1e-2 * effect
    m["moves"] = np.abs(np.diff(free, axis=0)).max() > 0
    for after in (False, True):
        each = pulls(*pairs[0], after)
        pull, half, halved, louder = (pulls(*pair, after).mean((1, 2)) for pair in pairs)
        spread = np.ptp(each, axis=(1, 2)) / np.maximum(np.abs(each).mean((1, 2)), 1e-12)
        scales = [exponents(pull, half, 0.5), exponents(pull, halved, 0.5), exponents(pull, louder, LOUDER)]
        m[after] = {"pull": pull, "half": half, "spread": spread, "scales": np.stack(scales)}
    return m


KINDS = {  # (exponent in the lr, in the schedule, in the gradient's scale, same for all elements): name, pull/λ
    (0, 0, 0, True): ("Vanilla", 1.0),
    (1, 1, 0, True): ("Decoupled", LR),
    (0, 1, 0, True): ("Independent", 1.0),
    (1, 2, 0, True): ("corrected, pull = λη²/η_max", LR),
    (1, 1, -1, True): ("Stable", None),
    (0, 0, -1, True): ("Stable without the lr, pull = λ·gain", None),
    (1, 1, -1, False): ("Elementwise", None),
}


def kind_at(m, t):
    """The name and unit at step t; until the schedule moves, the first step after it has moved speaks for it."""
    lr, schedule, gradient = m["scales"][0][t], m["scales"][1][max(t, STEPS // 2)], m["scales"][2][t]
    rounded = [next((n for n in (-1, 0, 1, 2) if near(x, n)), None) for x in (lr, schedule, gradient)]
    return KINDS.get((*rounded, near(m["spread"][t], 0.0)))


def classify(m):
    """Name the kind from the measured numbers alone."""
    if m["effect"] < 1e-12:
        return "no decay" + ("" if m["moves"] else " and no update in these steps")
    by_step = {after: [kind_at(m[after], t) for t in range(STEPS)] for after in (False, True)}
    named = {after: [kind for kind in by_step[after] if kind] for after in by_step}
    after = len(named[True]) > len(named[False])
    text = "none of the six"
    # A weight-dependent update hides the pull except at a first or a zero update; otherwise ask for most steps.
    if named[after] and (m["sees weight"] or 2 * len(named[after]) > STEPS):
        text, unit = best = max(named[after], key=named[after].count)
        steps = [t for t in range(STEPS) if by_step[after][t] == best]
        ratio = m[after]["pull"][steps] / LAM / (unit or 1.0)
        low, high = np.abs(ratio).min(), np.abs(ratio).max()
        text = "weights GROW: " * bool(np.all(ratio < 0)) + text
        if unit and not near([low, high], 1.0):
            text += f" × {low:.3g}" if near(high / low, 1.0) else f" × {low:.2g} to {high:.2g}"
        text += " of the updated weight" * after
        text += f", at {len(steps)} of {STEPS} steps" * (len(steps) < STEPS)
    if m["L2"]:
        l2 = "L2" if m["L2"] == 1 else "L2 with 2λ"
        return f"{l2} (here the same as {text})" if len(named[after]) == STEPS else l2
    return text + "; the update depends on the weight" * bool(m["sees weight"])


def find(module, name):
    """The optimizer called name; for optax's plain SGD, the three places where λθ can be added."""
    if "λθ" in name:

        def chain(lr, weight_decay):
            parts = [module.trace(0.9), module.scale_by_learning_rate(lr)]
            place = ("before momentum", "after momentum", "after the lr").index(name.split("λθ ")[1])
            return module.chain(*parts[:place], module.add_decayed_weights(weight_decay), *parts[place:])

        return chain
    for part in name.split("."):
        module = getattr(module, part)
    return module


def row(module, walk, label):
    name, _, arguments = label.partition("(")
    pairs = [pair.split("=") for pair in arguments.rstrip(")").split(", ") if pair]
    key = next((k for k, value in pairs if value == "λ"), "weight_decay")
    try:
        make = find(module, name)
        default = getattr(inspect.signature(make).parameters.get(key), "default", inspect.Parameter.empty)
        default = "-" if default is inspect.Parameter.empty else default
        with contextlib.redirect_stdout(io.StringIO()):
            m = measure(walk, make, key, {k: ast.literal_eval(value) for k, value in pairs if value != "λ"})
    except Exception as error:  # one optimizer that cannot run here must not hide the others
        return f"{label:<54} not measured: {type(error).__name__}: {str(error).splitlines()[0][:60]}"
    shown = [f"{m[False][k][-1]:>9.2e}" for k in ("pull", "half")]
    shown += [f"{round(x, 2) + 0.0:>5.2f}" for x in m[False]["scales"][:, -1]]
    return f"{label:<54}{default!s:>7} {' '.join(shown)}  {classify(m)}"


def main(chosen):
    print(f"λ = {LAM}. pull at the last step, whose gradient is 0; pull ∝ lr^a, schedule^b, (gradient scale)^c")
    seen = None
    for line in OPTIMIZERS.strip().splitlines():
        source, _, labels = line.partition(": ")
        path, distribution = source.split()
        if chosen and distribution not in chosen:
            continue
        try:
            module = importlib.import_module(path)
        except Exception as error:
            print(f"\n{distribution}: absent ({type(error).__name__})" if seen != path else "", end="")
            seen = path
            continue
        if seen != path:
            print(f"\n{distribution} {importlib.metadata.version(distribution)}")
            print(f"{'optimizer':<54}{'default':>7} {'lr=0.1':>9} {'lr=0.05':>9}     a     b     c  kind")
        seen = path
        walk = {"optax": walk_optax, "keras": walk_keras}.get(distribution, walk_torch)
        for label in labels.split(" | "):
            print(row(module, walk, label), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
