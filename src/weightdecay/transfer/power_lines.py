"""τ ∝ (tokens per parameter)^−0.527: what large language models want."""

from __future__ import annotations

import math
import sys

from weightdecay.transfer.domain import computed, finite, positive

CONSTANT, EXPONENT = 1.084, -0.527
"""The fit of the source, R² = 0.975, as several public readings of it quote it; see :func:`power_lines_timescale`."""

LARGEST_LOGARITHM = math.log(sys.float_info.max)

PARAMETERS_TRIED = (111e6, 3.3e9)
"""Parameters of the smallest and the largest model of the source."""


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
