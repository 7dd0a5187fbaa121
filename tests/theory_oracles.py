"""The theory's recursions again as naive float64 Python: explicit loops over steps and directions, no closed form."""


def path(h, minimum, start, lrs, weight_decay, vanilla=False):
    """E[θ_t] of one direction, step by step."""
    x = start
    for lr in lrs:
        pull = weight_decay if vanilla else lr * weight_decay
        x = (1 - pull) * x - lr * h * (x - minimum)
    return x


def spread(h, noise, lrs, weight_decay, vanilla=False):
    """Var[θ_t] of one direction, step by step."""
    found = 0.0
    for lr in lrs:
        pull = weight_decay if vanilla else lr * weight_decay
        found = (1 - pull - lr * h) ** 2 * found + lr * lr * noise * noise
    return found


def excess(eigenvalues, minimum, start, noise, lrs, weight_decay, vanilla=False, weights=None):
    """Expected loss above the minimum's."""
    total = 0.0
    for i, h in enumerate(eigenvalues):
        gone = path(h, minimum[i], start[i], lrs, weight_decay, vanilla) - minimum[i]
        weight = h if weights is None else weights[i]
        total += 0.5 * weight * (gone * gone + spread(h, noise[i], lrs, weight_decay, vanilla))
    return total
