"""The keyword `weight_decay` in optax and Keras, measured as `weightdecay measure` does it for torch's optimizers.

All that the measurement needs of a library is a function that moves a weight through prescribed gradients. Libraries
that are not installed are said to be absent.

    python examples/same_keyword.py [optax] [keras]
"""

import ast
import importlib
import os
import sys
import warnings

import numpy as np
import torch

from weightdecay.measuring import measured

os.environ.setdefault("KERAS_BACKEND", "torch")
warnings.simplefilter("ignore")

# λ in an argument marks λ's own keyword.
OPTIMIZERS = {
    "optax": """adamw | nadamw | adamaxw | lion | adan | adadelta | adafactor(weight_decay_rate=λ) | contrib.muon
        | sgd, λθ before momentum | sgd, λθ after momentum | sgd, λθ after the lr | lars | lamb | novograd""",
    "keras.optimizers": """SGD(momentum=0.9) | Adam | AdamW | Adamax | Nadam | Adagrad | Adadelta | RMSprop | Lion
        | Muon | Adafactor | Lamb | Ftrl | ScheduleFreeAdamW | SGD(momentum=0.9, kernel_regularizer=λ)
        | Adam(kernel_regularizer=λ)""",
}


def optax_walk(make, key, options):
    import jax
    import jax.numpy as jnp
    import optax

    jax.config.update("jax_enable_x64", True)

    def walk(lrs, grads, strength, start, coupled=0.0):
        table, weight = jnp.asarray(lrs), jnp.asarray(start.numpy())
        transform = make(lambda count: table[count], **{key: strength}, **options)
        state, path = transform.init(weight), [np.asarray(weight)]
        for grad in grads.numpy():
            updates, state = transform.update(jnp.asarray(grad) + coupled * weight, state, weight)
            weight = optax.apply_updates(weight, updates)
            path.append(np.asarray(weight))
        return torch.from_numpy(np.stack(path))

    return walk


def keras_walk(make, key, options):
    import keras

    keras.config.set_floatx("float64")

    def walk(lrs, grads, strength, start, coupled=0.0):
        weight, path = keras.Variable(start.numpy(), dtype="float64", name="kernel"), [start.clone()]
        in_the_loss = key == "kernel_regularizer"
        penalty = keras.regularizers.L2(strength if in_the_loss else 0.0)
        optimizer = make(learning_rate=lrs[0], **({} if in_the_loss else {key: strength}), **options)
        for lr, grad in zip(lrs, grads, strict=True):
            optimizer.learning_rate = lr
            now = path[-1].clone().requires_grad_()
            (penalty(now) + 0.5 * coupled * (now * now).sum()).backward()
            optimizer.apply([grad + now.grad], [weight])
            path.append(weight.value.detach().cpu().clone())
        return torch.stack(path)

    return walk


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
    options = {k: ast.literal_eval(value) for k, value in pairs if value != "λ"}
    try:
        found = measured(walk(find(module, name), key, options), label)
    except Exception as error:  # one optimizer that cannot run here must not hide the others
        return f"{label:<42}not measured: {type(error).__name__}: {str(error).splitlines()[0][:60]}"
    _, kind, ratio, *exponents, where, _, _, notes = found.row()
    return f"{label:<42}{kind:<13}{ratio:>12} {' '.join(f'{e:>5}' for e in exponents)}  {where:<7} {notes}".rstrip()


def main(chosen):
    for path, labels in OPTIMIZERS.items():
        library = path.partition(".")[0]
        if chosen and library not in chosen:
            continue
        try:
            module = importlib.import_module(path)
        except ImportError:
            print(f"\n{library}: absent")
            continue
        print(f"\n{library} {importlib.import_module(library).__version__}")
        print(f"{'optimizer':<42}{'kind':<13}pull/formula    lr  sch.  grad  where   notes")
        for label in " ".join(labels.split()).split(" | "):
            print(row(module, {"optax": optax_walk, "keras": keras_walk}[library], label), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
