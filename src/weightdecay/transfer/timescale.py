"""The timescale τ = 1/(ηλ) steps = B/(ηλN) epochs over which the weights average the past: as before, or the best."""

from __future__ import annotations

import math
import sys

from weightdecay.transfer.conversion import PULLS
from weightdecay.transfer.domain import computed, finite, positive
from weightdecay.transfer.length import LENGTH
from weightdecay.transfer.rule import Change, Pair, Quantity, Rule
from weightdecay.transfer.setting import Setting

SHORTEST_EPOCHS = 0.5
"""Of τ: after one epoch e^(−1/τ) is left of what was learned from an example, here 14 %. The threshold is ours."""

CONSTANT, EXPONENT = 1.084, -0.527
"""The fit of the source, R² = 0.975, as several public readings of it quote it; see :func:`power_lines_timescale`."""

LARGEST_LOGARITHM = math.log(sys.float_info.max)

PARAMETERS_TRIED = (111e6, 3.3e9)
"""Parameters of the smallest and the largest model of the source."""


def timescale_steps(lr: float, weight_decay: float, gain: float = 1.0) -> float:
    r"""The memory of the weights, in steps.

    .. math:: \theta_t = (1 - \tfrac1\tau)\,\theta_{t-1} + \tfrac1\tau\,(-u_t/\lambda), \qquad
              \tau = \frac{1}{\eta\,\lambda\,\bar g}

    With a pull of ηλ the weights are an exponential moving average of −u/λ. ``gain`` is ḡ for a stable decay
    (β₃/(1−β₁) for SGD, v̄^(−1/2) for Adam), 1 for AdamW and SGDW; for L2 under SGD it is that of the stable decay, which
    has the same minimum.

    Range:  pulls well below 1 and a constant lr; under a schedule, of the peak. No timescale exists for L2 under Adam,
            whose decay is divided by √v̂.
    Units:  steps.
    Raises: ValueError, for values that are not above 0.
    Source: Wang & Aitchison, arXiv:2405.13698, Section 3.

    >>> timescale_steps(1e-3, 0.1)
    10000.0
    """
    lr, weight_decay, gain = positive(lr=lr, weight_decay=weight_decay, gain=gain)
    return computed("timescale", 1 / lr / weight_decay / gain)


def timescale_epochs(lr: float, weight_decay: float, batch_size: float, samples: float, gain: float = 1.0) -> float:
    r"""The memory of the weights, in epochs.

    .. math:: \tau_{\text{epoch}} = \frac{B}{\eta\,\lambda\,\bar g\,N}

    The source finds its optimum about constant when data set and model size change, so: batch × k ⇒ λ × k, data × k
    ⇒ λ / k, lr × k ⇒ λ / k, and λ as it was when only the number of epochs changes.

    Range:  AdamW; ResNet-18 and ViT on CIFAR-10 and ImageNet, NanoGPT. A τ well below 1 epoch forgets data before it
            comes again (``advise`` warns below :data:`SHORTEST_EPOCHS`), one above all the epochs never forgets the
            start.
    Units:  epochs; B and N in examples (or both in tokens).
    Raises: ValueError, for values that are not above 0.
    Source: Wang & Aitchison, arXiv:2405.13698, Section 4.

    >>> round(timescale_epochs(1e-3, 0.1, batch_size=128, samples=50_000), 6)
    25.6
    """
    batch_size, samples = positive(batch_size=batch_size, samples=samples)
    return computed("timescale", timescale_steps(lr, weight_decay, gain) * batch_size / samples)


def timescale_weight_decay(epochs: float, lr: float, batch_size: float, samples: float, gain: float = 1.0) -> float:
    r"""The λ that has a timescale of so many epochs; the inverse of :func:`timescale_epochs`.

    .. math:: \lambda = \frac{B}{\eta\,\bar g\,N\,\tau_{\text{epoch}}}

    Units, Raises, Source: as there.

    >>> round(timescale_weight_decay(25.6, 1e-3, batch_size=128, samples=50_000), 12)
    0.1
    """
    epochs, lr, gain = positive(epochs=epochs, lr=lr, gain=gain)
    batch_size, samples = positive(batch_size=batch_size, samples=samples)
    return computed("weight_decay", batch_size / lr / gain / samples / epochs)


def _memory(c: Change, lr: float, weight_decay: float) -> Pair:
    (batch, new_batch), (samples, new_samples) = c.both("batch_size"), c.both("samples")
    epochs = timescale_epochs(lr, weight_decay, batch, samples)
    return lr, timescale_weight_decay(epochs, lr, new_batch, new_samples)


def _timescale(s: Setting, width: float) -> Quantity:
    """The timescale of the weights; without a gain up to it."""
    words = "τ, epochs" if s.pull is not None else "τ·gain, epochs"
    return words, timescale_epochs(1.0, s.shrinking, s.batch_size or math.nan, s.samples or math.nan)


def _doubts_of_memory(c: Change) -> list[str]:
    return [] if c.new.method == "adam" and c.new.meaning in PULLS else ["a constant τ was measured only for AdamW"]


MEMORY = Rule(
    name="τ in epochs stays",
    about="training",
    change="batch × k_B, data × k_D, epochs",
    lr="as it was",
    weight_decay="× k_B / k_D",
    kept="τ in epochs, B/(ηλN)",
    measured="AdamW; images and text",
    sources=("arXiv:2405.13698",),
    function=timescale_weight_decay,
    answer=_memory,
    applies=lambda c: c.trains and not c.l2_under_adam,
    keeps=_timescale,
    doubts=_doubts_of_memory,
    against={
        LENGTH.name: "the first keeps the decay over the whole training, the second the memory of the weights in "
        "epochs. They agree on the amount of data, and differ as soon as the number of epochs changes"
    },
)


def power_lines_timescale(
    tokens: float, parameters: float, constant: float = CONSTANT, exponent: float = EXPONENT
) -> float:
    r"""The best timescale, as a fraction of the whole training.

    .. math:: \tau_{\text{opt}} = 1.084\,\Big(\frac{D}{N}\Big)^{-0.527}, \qquad \tau = \frac{B}{\eta\,\lambda\,D}

    D is every token that is trained on, N the number of parameters; note that here N is *not* the size of the data.

    Range:  AdamW, μP, GPT-2-like models of 111 million to 3.3 billion parameters on SlimPajama, one pass over the data.
            The constants were not read in the paper itself, whose text was not at hand: three public readings of it,
            independent of each other, give the exponent and one of them the constant and R². Pass your own fit if you
            have one: between two trainings only the exponent matters.
    Units:  τ is a fraction of the training; tokens per parameter is a ratio.
    Raises: ValueError, for values that are not above 0.
    Source: Bergsma et al. 2025, Power Lines, arXiv:2505.13738.

    >>> round(power_lines_timescale(tokens=20e9, parameters=1e9), 4)
    0.2236
    """
    tokens, parameters, constant = positive(tokens=tokens, parameters=parameters, constant=constant)
    (ratio,) = positive(tokens_per_parameter=tokens / parameters)
    (exponent,) = finite(exponent=exponent)
    power = exponent * math.log(ratio)
    return computed("timescale", constant * math.exp(power) if power < LARGEST_LOGARITHM else math.inf)


def power_lines_weight_decay(
    lr: float,
    batch_tokens: float,
    tokens: float,
    parameters: float,
    constant: float = CONSTANT,
    exponent: float = EXPONENT,
) -> float:
    r"""The best λ of AdamW for a planned training.

    .. math:: \lambda_{\text{opt}} = \frac{B}{\eta\,D\,\tau_{\text{opt}}}

    So λ ∝ B at fixed D and N, and λ ∝ D^(−0.473) at fixed B and N: between λ ∝ 1/D (the whole decay of a training is
    kept) and λ as it was (τ in epochs is kept).

    Units:  B and D in tokens; lr is the peak, after μP's scaling by width.
    Range, Raises, Source: as :func:`power_lines_timescale`.

    >>> round(power_lines_weight_decay(6e-3, batch_tokens=2**19, tokens=20e9, parameters=1e9), 4)
    0.0195
    """
    lr, batch_tokens, tokens = positive(lr=lr, batch_tokens=batch_tokens, tokens=tokens)
    share = power_lines_timescale(tokens, parameters, constant, exponent)
    return computed("weight_decay", batch_tokens / lr / tokens / share)


def _best(s: Setting, lr: float) -> float:
    """Return the λ that Power Lines finds best."""
    sizes = (s.batch_size, s.epochs, s.samples, s.parameters)
    batch, epochs, samples, parameters = (math.nan if size is None else size for size in sizes)
    return power_lines_weight_decay(lr, batch, samples * epochs, parameters)


def _lines(c: Change, lr: float, weight_decay: float) -> Pair:
    """Keep the distance of λ from the best one."""
    best, new_best = (_best(s, lr) for s in (c.old, c.new))
    return lr, weight_decay * new_best / best


def _reads(c: Change) -> bool:
    return c.trains and c.new.parameters is not None and c.new.family == "adam" and not c.l2_under_adam


def _share(s: Setting, width: float) -> Quantity:
    """The timescale over the one that Power Lines finds best: 1 is its optimum."""
    words, tau = _timescale(s, width)
    tokens = (s.samples or math.nan) * (s.epochs or math.nan)
    best = power_lines_timescale(tokens, s.parameters or math.nan)
    return f"{words.partition(',')[0]} / best τ", tau / (s.epochs or math.nan) / best


def _doubts_of_lines(c: Change) -> list[str]:
    low, high = PARAMETERS_TRIED
    said = ["it is for language models trained with AdamW and μP on one pass over the data"]
    if not all(low <= count <= high for count in c.both("parameters")):
        said.append(f"it was fitted on models of {low:.3g} to {high:.3g} parameters")
    return said


LINES = Rule(
    name="Power Lines",
    about="training",
    change="batch, tokens D, parameters N",
    lr="as it was",
    weight_decay="× batch · D^−0.473 · N^−0.527",
    kept="τ over its best value, which is 1.084 (D/N)^−0.527 of a training",
    measured="AdamW, μP; text, 0.1 to 3.3 billion parameters",
    sources=("arXiv:2505.13738",),
    function=power_lines_weight_decay,
    answer=_lines,
    applies=_reads,
    keeps=_share,
    doubts=_doubts_of_lines,
    against={
        LENGTH.name: "the first keeps the decay over the whole training; in the second the best memory, as a share of "
        "the training, falls as (tokens per parameter)^−0.527. So λ ∝ 1/D against D^−0.473. The first was measured on "
        "images over many epochs, the second on text in one pass",
        MEMORY.name: "both are about τ; the first finds its best value constant in epochs, the second finds that its "
        "share of the training falls with tokens per parameter",
    },
)

OWN_LINES = Rule(
    name="Power Lines, from nothing",
    about="nothing",
    change="nothing was tuned",
    lr="as it was",
    weight_decay="B/(ηDτ), τ = 1.084 (D/N)^−0.527",
    kept="–",
    measured="as Power Lines",
    sources=LINES.sources,
    function=power_lines_weight_decay,
    answer=lambda c, lr, weight_decay: (lr, _best(c.new, lr)),
    applies=lambda c: _reads(c) and c.new.meaning == "decoupled" and c.width == 1 and c.knows_lr,
    keeps=_share,
    doubts=_doubts_of_lines,
    against={LINES.name: "the first keeps your distance from the best τ, the second takes the best τ"},
)
