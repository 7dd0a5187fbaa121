"""The roles that a parameter can have, and which of them decay unless the user says otherwise."""

from __future__ import annotations

from dataclasses import dataclass

from weightdecay.checks import unknown


@dataclass(frozen=True)
class Role:
    """The purpose of a parameter; whether it decays by default, and why."""

    name: str
    decays: bool
    what: str
    why: str


ROLES = {
    role.name: role
    for role in (
        Role(
            "matrix", True, "weights of linear layers, attention, recurrent layers, experts", "maps inputs to outputs"
        ),
        Role("convolution", True, "kernels of convolutions", "maps inputs to outputs"),
        Role("head", True, "the last linear layer, tied to the embedding or not", "every row has a gradient"),
        Role("router", True, "the linear layer that chooses experts", "maps inputs to outputs"),
        Role("lora_a", True, "A of LoRA", "decays the change, not the frozen weight"),
        Role("lora_b", True, "B of LoRA", "decays the change, not the frozen weight"),
        Role("embedding", False, "tables of embeddings", "rows without a gradient would vanish"),
        Role("positional", False, "embeddings and biases of positions", "rows without a gradient would vanish"),
        Role("bias", False, "biases", "an offset of 0 is no simpler than another"),
        Role("norm", False, "gains of normalisation layers", "its neutral value is 1, not 0"),
        Role("scale", False, "scales of layers, branches and logits; slopes of PReLU", "its neutral value is not 0"),
        Role("magnitude", False, "magnitudes of DoRA and weight_norm", "is the norm of the weight itself"),
        Role("state_space", False, "A_log, dt_bias, D and their like", "sets time scales; 0 is not a neutral value"),
        Role("token", False, "class, mask, register and query tokens, prompts", "an input, not a map"),
        Role("other", False, "tensors that no rule knows; only if you ask for this role", "nothing is known of it"),
    )
}
"""By name, in the order of the groups and of the table."""


def known_role(name: str, where: str) -> str:
    """Return the name of a role. Raises: ValueError, with the nearest name, for what is none."""
    if name not in ROLES:
        raise ValueError(f"{where}: {unknown('role', name, ROLES)}")
    return name
