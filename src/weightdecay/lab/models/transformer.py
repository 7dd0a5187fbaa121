"""A small Transformer that predicts the next word."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from weightdecay.lab.data.base import Facts

LONGEST = 1024
"""Tokens in a step, at most: there is one learned position for each."""

INIT_DEVIATION = 0.02


class Block(nn.Module):
    """Attention to the tokens before, then two linear layers, each on a normalised input and added to it."""

    def __init__(self, features: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(features), nn.LayerNorm(features)])
        self.attention = nn.Linear(features, 3 * features)
        self.projection = nn.Linear(features, features)
        self.inner, self.outer = nn.Linear(features, 4 * features), nn.Linear(4 * features, features)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(n, time, features) → the same."""
        n, time, features = x.shape
        q, k, v = self.attention(self.norms[0](x)).view(n, time, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = scaled_dot_product_attention(q, k, v, is_causal=True)  # (n, heads, time, features/heads)
        x = x + self.dropout(self.projection(seen.transpose(1, 2).reshape(n, time, features)))
        hidden = nn.functional.gelu(self.inner(self.norms[1](x)))
        return x.add(self.dropout(self.outer(hidden)))


class Transformer(nn.Module):
    """An embedding with learned positions, a stack of blocks, a norm and a linear layer to the vocabulary."""

    def __init__(self, vocabulary: int, features: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.embedding, self.position = nn.Embedding(vocabulary, features), nn.Embedding(LONGEST, features)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(features, heads, dropout) for _ in range(layers)))
        self.norm, self.decoder = nn.LayerNorm(features), nn.Linear(features, vocabulary)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=INIT_DEVIATION)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor, carried: None = None) -> tuple[Tensor, None]:
        """Tokens (time, n) → logits (time, n, vocabulary); nothing is carried from one step of a text to the next."""
        if len(tokens) > LONGEST:
            raise ValueError(f"sequence={len(tokens)}: the transformer has positions for {LONGEST} tokens in a step.")
        places = torch.arange(len(tokens), device=tokens.device)
        x = self.embedding(tokens.t()) + self.position(places)
        x = self.norm(self.blocks(self.dropout(x)))
        return self.decoder(x).transpose(0, 1), None


def transformer(
    facts: Facts, *, embedding: int = 256, layers: int = 4, heads: int = 4, dropout: float = 0.2
) -> Transformer:
    """A decoder of pre-norm blocks with causal attention over the tokens of a step; weights not tied.

    Form: GPT-2's, with weights of linear layers and embeddings drawn from a normal of deviation 0.02 throughout.
    Shapes: ``model(tokens, carried)``, see :class:`Transformer`. Parameters: 8,551,696 for a vocabulary of 10,000.
    Source: Vaswani et al., arXiv:1706.03762; Radford et al., Language models are unsupervised multitask learners, 2019.
    Raises: ValueError, where the heads do not divide the embedding.
    """
    if embedding % heads:
        raise ValueError(f"heads={heads} does not divide embedding={embedding}. Use a divisor of it.")
    return Transformer(facts.classes, embedding, layers, heads, dropout)
