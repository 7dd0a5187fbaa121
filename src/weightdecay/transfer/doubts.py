"""Where each rule was measured, and what is said of a change that leaves that range."""

from __future__ import annotations

from weightdecay.transfer import batch, length, linear, power_lines
from weightdecay.transfer.change import Change
from weightdecay.transfer.square_root import reaches

PULLS = ("decoupled", "independent", "vanilla")


def of_batch(c: Change) -> list[str]:
    """λ × k."""
    low, high = batch.BATCHES_TRIED
    said = []
    if not all(low <= size <= high for size in c.both("batch_size")):
        said.append(f"the paper tried λ × k from batch {low:g} to {high:g}, and no further")
    if c.new.method != "adam":
        said.append("the paper tried λ × k with Adam, AdamW and AdamS")
    return said


def of_length(c: Change) -> list[str]:
    """λ ∝ 1/length."""
    low, high = length.EPOCHS_TRIED
    said = []
    longer = c.ratio("epochs") != 1
    if c.batch != 1:
        said.append("λ ∝ 1/length is the paper's (arXiv:2011.11152), whichever rule answers for the batch")
    if longer and not all(low <= epochs <= high for epochs in c.both("epochs")):
        said.append(f"λ ∝ 1/epochs was tried from {low:g} to {high:g} epochs")
    if longer and c.new.family != "sgd":
        said.append("λ ∝ 1/epochs was measured for SGD")
    if c.ratio("samples") != 1:
        said.append("the paper does not change the data; what is kept here is the decay over the training")
    return said


def of_linear(c: Change) -> list[str]:
    """Lr × k."""
    said = ["needs a warm-up"] if c.batch > 1 else []
    if c.new.family == "adam":
        said.append("for SGD; the paper's Figure 3 has Adam getting worse by it")
    elif c.new.family != "sgd":
        said.append(f"for SGD; nobody derived lr × k for {c.new.optimizer}")
    if c.both("batch_size")[1] > linear.LARGEST_BATCH:
        said.append(f"its source kept the accuracy up to a batch of {linear.LARGEST_BATCH}")
    return said


def of_root(c: Change) -> list[str]:
    """Lr × √k."""
    said = ["its source has no weight decay: λ is ours, to keep lr·λ × steps"]
    if c.new.method == "padam":
        said.append("derived for Adam, whose power of v̄ is 1/2; Padam's is 1/4, and its noise scales otherwise")
    elif c.new.method != "adam":
        said.append(f"lr × √k was derived for Adam, not for {c.new.optimizer}")
    if c.new.family == "adam" and not reaches(c.batch, *c.new.betas):
        most = 1 / (1 - min(c.new.betas))
        said.append(f"beyond k = {most:.3g} a β falls below 0: no Adam follows the same equation at this batch")
    return said


def of_memory(c: Change) -> list[str]:
    """τ in epochs."""
    return [] if c.new.method == "adam" and c.new.meaning in PULLS else ["a constant τ was measured for AdamW"]


def of_share(c: Change) -> list[str]:
    """Power Lines."""
    low, high = power_lines.PARAMETERS_TRIED
    said = ["for language models trained with AdamW and μP on one pass over the data"]
    if not all(low <= count <= high for count in c.both("parameters")):
        said.append(f"fitted on models of {low:.3g} to {high:.3g} parameters")
    return said


def of_width(c: Change) -> list[str]:
    """Width × k."""
    said = ["hidden matrices only, in μP; vectors and embeddings keep lr and λ"]
    if c.new.family == "sign":
        said.append(f"measured for AdamW, not for {c.new.optimizer}")
    elif c.new.family != "adam":
        said.append("lr ∝ 1/width is Adam's; for SGD μP leaves both as they are")
    elif c.new.meaning == "l2":
        said.append("L2 under Adam has no pull to keep: no source says what its λ does over widths, so it was left")
    return said


def of_orthogonal(c: Change) -> list[str]:
    """Muon's λ."""
    said = ["swept by one project (nanochat) on GPTs, with an lr that grows as √batch; the lr was left here"]
    if c.new.method == "muonadamw":
        said.append("for the matrices; for what Adam moves ask again with optimizer=adamw")
    return said


def of_orthogonal_width(c: Change) -> list[str]:
    """Muon's λ over widths."""
    also = ["data grew with width in its sweep: joined to a rule for data it counts that twice"] if c.trains else []
    return [*of_orthogonal(c), "for the matrices of a GPT whose depth grows with its width", *also]


def of_moment(c: Change) -> list[str]:
    """Whatever the rule: a stable decay under Adam follows v̄, which follows batch and width."""
    if c.new.family != "adam" or c.new.meaning != "stable":
        return []
    said = []
    if c.batch != 1:
        said.append(
            "what is kept is kept at one v̄; where noise dominates v̄ falls as the batch grows, and the pull "
            "ηλv̄^(−1/2) grows by up to √k more"
        )
    if c.width != 1:
        said.append("what is kept is kept at one v̄, which moves with width; the sources measured AdamW")
    return said
