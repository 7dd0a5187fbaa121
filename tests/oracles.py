"""Every formula again, as naive float64 Python: the only second copy, written from the paper and not from the library.

One box a function, in the paper's letters, element by element where the paper means elements. Nothing here is fast, and
nothing here imports the library.
"""

import math

import numpy as np


def run(method, decay, groups, gradients):
    """Return the weights after the last step.

    groups[i]: {"params": arrays, "lr": float or one per step, "weight_decay": λ, hyper-parameters}; gradients[t][i][j]:
    an array, or None for a tensor that is not touched in that step.
    """
    theta = [[np.array(w, dtype=np.float64) for w in group["params"]] for group in groups]
    state = [[{"t": 0} for _ in group["params"]] for group in groups]
    for step, g in enumerate(gradients):
        lr = [group["lr"][step] if isinstance(group["lr"], list) else group["lr"] for group in groups]
        live = [(i, j) for i in range(len(groups)) for j in range(len(theta[i])) if g[i][j] is not None]
        seen = {}
        for i, j in live:
            lam = groups[i]["weight_decay"]
            seen[i, j] = g[i][j] + lam * theta[i][j] if decay == "l2" else np.array(g[i][j])
            state[i][j]["t"] += 1
            MOMENTS[groups[i].get("method", method)](state[i][j], seen[i, j], groups[i], lr[i])
        v_bar = mean_over_the_model([(state[i][j], groups[i]) for i, j in live]) if live else 0.0
        for i, j in live:
            s, h = state[i][j], groups[i]
            move, isotropic, elementwise = UPDATE[h.get("method", method)](s, seen[i, j], h, lr[i], v_bar)
            pull = pull_of(decay, h, lr[i], isotropic, elementwise)
            theta[i][j] = (1 - np.clip(pull, 0, 1)) * theta[i][j] - move
    return theta


def mean_over_the_model(members):
    """v̄: the mean of all elements of v̂ over every tensor that has a gradient."""
    total, count = 0.0, 0
    for s, h in members:
        v = s.get("vmax", s.get("v"))
        if v is None:
            continue  # not among those that are averaged
        beta2 = h["betas"][1]
        total += np.sum(v / (1 - beta2 ** s["t"]))
        count += v.size
    return total / count if count else None


def power(v_bar, p):
    """v̄^(−p); no gradient anywhere, no effective learning rate."""
    return 0.0 if v_bar == 0 else v_bar**-p


def pull_of(decay, h, lr, isotropic, elementwise):
    lam = h["weight_decay"]
    if decay == "l2":
        return 0.0
    if decay == "vanilla":
        return lam
    if decay == "decoupled":
        return lr * lam
    if decay == "independent":
        return lam * lr / h["peak_lr"]
    if decay == "stable":
        return lr * lam * isotropic ** (2 * h.get("power", 0.5))
    if decay == "elementwise":
        return lr * lam * elementwise
    raise KeyError(decay)


def alive(v, gain):
    """Elements that never had a gradient do not decay."""
    return np.where(v == 0, 0.0, gain)


# ---------------------------------------------------------------- SGD: Algorithms 7, 8 and 3


def sgd_moments(s, g, h, lr):
    """torch.optim.SGD: the first buffer is the gradient itself."""
    if h["momentum"] != 0:
        s["m"] = g if "m" not in s else h["momentum"] * s["m"] + (1 - h["dampening"]) * g


def sgd_update(s, g, h, lr, v_bar):
    beta1 = h["momentum"]
    if beta1 == 0:
        return lr * g, 1.0, 1.0
    u = g + beta1 * s["m"] if h["nesterov"] else s["m"]
    gain = (1 - h["dampening"]) / (1 - beta1)
    return lr * u, gain, gain


def heavyball_moments(s, g, h, lr):
    """m_t = β₁ m_{t−1} + β₃ g_t, m_0 = 0."""
    beta3 = 1 - h["dampening"]
    s["m"] = h["momentum"] * s.get("m", 0.0) + beta3 * g


def heavyball_update(s, g, h, lr, v_bar):
    beta1, beta3 = h["momentum"], 1 - h["dampening"]
    u = g + beta1 * s["m"] if h["nesterov"] else s["m"]
    return lr * u, beta3 / (1 - beta1), beta3 / (1 - beta1)


def tensorflow_moments(s, g, h, lr):
    """m_t = β₁ m_{t−1} − η g_t."""
    s["m"] = h["momentum"] * s.get("m", 0.0) - lr * g


def tensorflow_update(s, g, h, lr, v_bar):
    """θ_t = θ_{t−1} + m_t; with nesterov + β₁ m_t − η g_t."""
    step = h["momentum"] * s["m"] - lr * g if h["nesterov"] else s["m"]
    gain = 1 / (1 - h["momentum"])
    return -step, gain, gain


# ---------------------------------------------------------------- Adam and AMSGrad: Algorithms 1, 2, 5, 6


def adam_moments(s, g, h, lr):
    beta1, beta2 = h["betas"]
    s["m"] = beta1 * s.get("m", 0.0) + (1 - beta1) * g
    s["v"] = beta2 * s.get("v", 0.0) + (1 - beta2) * g**2


def adam_update(s, g, h, lr, v_bar):
    beta1, beta2 = h["betas"]
    m_hat = s["m"] / (1 - beta1 ** s["t"])
    v_hat = s["v"] / (1 - beta2 ** s["t"])
    denominator = np.sqrt(v_hat) + h["eps"]
    with np.errstate(divide="ignore"):
        return lr * m_hat / denominator, power(v_bar, 0.5), alive(s["v"], 1 / denominator)


def amsgrad_moments(s, g, h, lr):
    adam_moments(s, g, h, lr)
    s["vmax"] = np.maximum(s["v"], s.get("vmax", 0.0))


def amsgrad_update(s, g, h, lr, v_bar):
    beta1, beta2 = h["betas"]
    m_hat = s["m"] / (1 - beta1 ** s["t"])
    v_hat = s["vmax"] / (1 - beta2 ** s["t"])
    denominator = np.sqrt(v_hat) + h["eps"]
    return lr * m_hat / denominator, power(v_bar, 0.5), alive(s["vmax"], 1 / denominator)


# ---------------------------------------------------------------- Adai: Algorithm 4


def adai_moments(s, g, h, lr):
    beta2 = h["betas"][1]
    s["v"] = beta2 * s.get("v", 0.0) + (1 - beta2) * g**2


def adai_update(s, g, h, lr, v_bar):
    beta0, beta2 = h["betas"]
    v_hat = s["v"] / (1 - beta2 ** s["t"])
    ratio = v_hat / v_bar if v_bar > 0 else np.zeros_like(v_hat)
    beta1 = np.clip(1 - beta0 * ratio, 0, 1 - h["eps"])
    s["m"] = beta1 * s.get("m", 0.0) + (1 - beta1) * g
    s["product"] = s.get("product", 1.0) * beta1
    return lr * s["m"] / (1 - s["product"]), 1.0, 1.0


# ---------------------------------------------------------------- what the paper compares with, as their code has it


def yogi_moments(s, g, h, lr):
    beta1, beta2 = h["betas"]
    start = np.full_like(g, h.get("initial_accumulator", 1e-6))
    m, v = s.get("m", start), s.get("v", start)
    s["m"] = beta1 * m + (1 - beta1) * g
    s["v"] = v - (1 - beta2) * np.sign(v - g**2) * g**2


def adabound_update(s, g, h, lr, v_bar):
    """The rate is η · (size, clipped): the gains are written without η, so that η = 0 has them too."""
    beta1, beta2 = h["betas"]
    t, gamma, final = s["t"], h["gamma"], h["final_lr"] / h["peak_lr"]
    low, high = final * (1 - 1 / (gamma * t + 1)), final * (1 + 1 / (gamma * t))
    correction = 1 - beta1**t
    size = np.clip(math.sqrt(1 - beta2**t) / correction / (np.sqrt(s["v"]) + h["eps"]), low, high)
    mean_size = 0.0 if v_bar == 0 else np.clip(1 / math.sqrt(v_bar) / correction, low, high)
    return lr * size * s["m"], mean_size * correction, alive(s["v"], size * correction)


def padam_update(s, g, h, lr, v_bar):
    beta1, beta2 = h["betas"]
    t, q = s["t"], h["partial"]
    denominator = (np.sqrt(s["vmax"]) + h["eps"]) ** (2 * q)
    root = math.sqrt(1 - beta2**t)
    return lr * root / (1 - beta1**t) * s["m"] / denominator, power(v_bar, q), alive(s["vmax"], root / denominator)


def radam_update(s, g, h, lr, v_bar):
    beta1, beta2 = h["betas"]
    t = s["t"]
    m_hat = s["m"] / (1 - beta1**t)
    rho_inf = 2 / (1 - beta2) - 1
    rho = rho_inf - 2 * t * beta2**t / (1 - beta2**t)
    if rho <= 5:
        return lr * m_hat, 1.0, alive(s["v"], 1.0)
    r = math.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
    gain = r * math.sqrt(1 - beta2**t) / (np.sqrt(s["v"]) + h["eps"])
    return lr * m_hat * gain, r * power(v_bar, 0.5), alive(s["v"], gain)


# ---------------------------------------------------------------- NAdam: Dozat 2016, as torch.optim.NAdam has it


def nadam_moments(s, g, h, lr):
    adam_moments(s, g, h, lr)
    s["product"] = s.get("product", 1.0) * nadam_mu(s["t"], h)


def nadam_mu(t, h):
    return h["betas"][0] * (1 - 0.5 * 0.96 ** (t * h["momentum_decay"]))


def nadam_update(s, g, h, lr, v_bar):
    mu, following = nadam_mu(s["t"], h), nadam_mu(s["t"] + 1, h)
    denominator = np.sqrt(s["v"] / (1 - h["betas"][1] ** s["t"])) + h["eps"]
    looked_ahead = following * s["m"] / (1 - s["product"] * following) + (1 - mu) * g / (1 - s["product"])
    return lr * looked_ahead / denominator, power(v_bar, 0.5), alive(s["v"], 1 / denominator)


# ---------------------------------------------------------------- Lion: arXiv:2302.06675, Algorithm 2


def lion_update(s, g, h, lr, v_bar):
    """The update sees the old momentum, mixed by β₁; the momentum then moves by β₂. The gain is the user's word."""
    beta1, beta2 = h["betas"]
    m = s.get("m", np.zeros_like(g))
    u = np.sign(beta1 * m + (1 - beta1) * g)
    s["m"] = beta2 * m + (1 - beta2) * g
    return lr * u, h["gain"], h["gain"]


# ---------------------------------------------------------------- Muon: Jordan et al. 2024, as torch.optim.Muon has it


def muon_moments(s, g, h, lr):
    s["m"] = h["momentum"] * s.get("m", 0.0) + (1 - h["momentum"]) * g


def muon_update(s, g, h, lr, v_bar):
    """Matrix by matrix; a filter of a convolution is a row."""
    direction = (1 - h["momentum"]) * g + h["momentum"] * s["m"] if h["nesterov"] else s["m"]
    matrices = direction.reshape(-1, *g.shape[-2:]) if h["stacked"] else direction.reshape(1, g.shape[0], -1)
    u = np.stack([newton_schulz(matrix, h) for matrix in matrices])
    rows, columns = matrices.shape[1:]
    ratio = {
        None: math.sqrt(max(1, rows / columns)),
        "match_rms_adamw": 0.2 * math.sqrt(max(rows, columns)),
        "spectral_unclamped": math.sqrt(rows / columns),
    }[h["adjust_lr_fn"]]
    return lr * ratio * u.reshape(g.shape), h["gain"], h["gain"]


def newton_schulz(matrix, h):
    """On singular values: each goes through aσ + bσ³ + cσ⁵ as often as there are steps."""
    a, b, c = h["ns_coefficients"]
    left, sigma, right = np.linalg.svd(matrix, full_matrices=False)
    sigma = sigma / max(math.sqrt(np.sum(sigma**2)), h["eps"])
    for _ in range(h["ns_steps"]):
        sigma = a * sigma + b * sigma**3 + c * sigma**5
    return (left * sigma) @ right


MOMENTS = {
    "sgd": sgd_moments,
    "heavyball": heavyball_moments,
    "tensorflow_sgd": tensorflow_moments,
    "adam": adam_moments,
    "amsgrad": amsgrad_moments,
    "adai": adai_moments,
    "yogi": yogi_moments,
    "adabound": adam_moments,
    "padam": amsgrad_moments,
    "radam": adam_moments,
    "nadam": nadam_moments,
    "muon": muon_moments,
    "lion": lambda s, g, h, lr: None,
}
UPDATE = {
    "sgd": sgd_update,
    "heavyball": heavyball_update,
    "tensorflow_sgd": tensorflow_update,
    "adam": adam_update,
    "amsgrad": amsgrad_update,
    "adai": adai_update,
    "yogi": adam_update,
    "adabound": adabound_update,
    "padam": padam_update,
    "radam": radam_update,
    "nadam": nadam_update,
    "muon": muon_update,
    "lion": lion_update,
}
