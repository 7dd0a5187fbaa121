"""τ = 1/(ηλ) steps = B/(ηλN) epochs: over how much of the past the weights average."""

from __future__ import annotations

from weightdecay.transfer.domain import computed, positive

SHORTEST_EPOCHS = 0.5
"""Of τ: after one epoch e^(−1/τ) is left of what was learned from an example, here 14 %. The threshold is ours."""


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
