"""A recurrent network that predicts the next word."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from weightdecay.lab.data.base import Facts

State = tuple[Tensor, Tensor]
"""Hidden and cell state, each (layers, n, hidden)."""

INIT_RANGE = 0.1


class LSTM(nn.Module):
    """An embedding, a stack of LSTM layers, and a linear layer to the vocabulary, with dropout between all of them.

    The layers are separate modules with PyTorch's own dropout between them, because the dropout inside cuDNN's stack
    draws from a state of its own that no seed sets again: a resumed run would not repeat the uninterrupted one.
    """

    def __init__(self, vocabulary: int, embedding: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.layers = nn.ModuleList(nn.LSTM(hidden if layer else embedding, hidden) for layer in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.Linear(hidden, vocabulary)
        nn.init.uniform_(self.embedding.weight, -INIT_RANGE, INIT_RANGE)
        nn.init.uniform_(self.decoder.weight, -INIT_RANGE, INIT_RANGE)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, tokens: Tensor, carried: State | None = None) -> tuple[Tensor, State]:
        """Tokens (time, n) and the state before (None: zeros) → logits (time, n, vocabulary) and the state after."""
        x = self.dropout(self.embedding(tokens))
        h, c = [], []
        for i, layer in enumerate(self.layers):
            before = None if carried is None else (carried[0][i : i + 1], carried[1][i : i + 1])
            x, after = layer(x, before)
            x = self.dropout(x)
            h.append(after[0])
            c.append(after[1])
        return self.decoder(x), (torch.cat(h), torch.cat(c))


def lstm(facts: Facts, *, embedding: int = 512, hidden: int = 512, layers: int = 2, dropout: float = 0.5) -> nn.Module:
    """Two LSTM layers between an embedding and a linear layer, dropout before, between and after them.

    Form: PyTorch's word language model example, weights not tied; embedding and linear layer uniform in ±0.1, the rest
    PyTorch's default initialisation. Shapes: ``model(tokens, carried)``, see :class:`LSTM`.
    Parameters: 14,452,496 for a vocabulary of 10,000. Source: Zaremba et al., arXiv:1409.2329.
    """
    return LSTM(facts.classes, embedding, hidden, layers, dropout)
