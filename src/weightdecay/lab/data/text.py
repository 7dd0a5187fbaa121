"""Words in their order: a text cut into columns that are read side by side, a few words at a step."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from weightdecay.lab.data.base import Batch, Data, DataError, Facts
from weightdecay.lab.data.sizes import check
from weightdecay.lab.run import PERPLEXITY, Place, Run

END = "<eos>"
UNKNOWN = "<unk>"

EVALUATION = 10
"""Columns of an evaluation, as in PyTorch's word language model example."""


@dataclass(frozen=True, eq=False)
class Words:
    """A text as numbers. Shapes: train, valid and test (tokens,), int64, on the CPU."""

    train: Tensor
    valid: Tensor
    test: Tensor
    vocabulary: tuple[str, ...]
    digest: str = ""

    def data(self, run: Run, place: Place) -> Data:
        """Return what a run learns from and is judged on."""
        return Text(self, run, place)


class Columns:
    """A text cut into ``count`` columns of equal length, of which a process holds each ``world``-th.

    What does not fill the columns is dropped: ``len(tokens) % count`` tokens at the end. The first token of a column is
    read and never predicted.
    Shapes: tokens (tokens,); own (length, n).
    """

    def __init__(self, tokens: Tensor, count: int, sequence: int, place: Place) -> None:
        self.count, self.sequence = count, sequence
        self.length = len(tokens) // count
        columns = tokens[: self.length * count].view(count, self.length)
        self.own = columns[place.rank :: place.world].t().contiguous().to(place.device)

    @property
    def steps(self) -> int:
        """Steps from the first token to the last; the last step may be shorter."""
        return max(-(-(self.length - 1) // self.sequence), 0)

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """Yield (tokens, the tokens after them) from step ``start`` on; the text begins at the first one."""
        for step in range(start, self.steps):
            low = step * self.sequence
            high = min(low + self.sequence, self.length - 1)
            yield Batch(self.own[low:high], self.own[low + 1 : high + 1], (high - low) * self.count, first=step == 0)


class Text(Data):
    """A text: every epoch reads it from its beginning, in ``batch_size`` columns, ``sequence`` tokens per step."""

    metric = PERPLEXITY

    def __init__(self, words: Words, run: Run, place: Place) -> None:
        check(run)
        if run.label_noise or run.validation_size:
            raise ValueError(
                f"label_noise={run.label_noise:g}, validation_size={run.validation_size}: {run.data!r} is a text, "
                "which has no labels, and a validation part of its own. Leave both at 0."
            )
        if run.classes:
            raise ValueError(f"classes={run.classes!r}: {run.data!r} is a text. Leave it out.")
        if run.image_size:
            raise ValueError(f"image_size={run.image_size}: {run.data!r} is a text. Leave it at 0.")
        for name, tokens, least in (("train", words.train, 2), ("test", words.test, 2 * EVALUATION)):
            if getattr(run, f"{name}_size") > len(tokens) or 0 < getattr(run, f"{name}_size") < least:
                raise ValueError(
                    f"{name}_size={getattr(run, f'{name}_size')}: {run.data!r} has {len(tokens)} tokens in its {name} "
                    f"part. Use {least} to {len(tokens)}, or 0 for all."
                )
        self.run, self.place, self.words = run, place, words
        self.facts = Facts(classes=len(words.vocabulary))
        self.columns = Columns(words.train[: run.train_size or None], run.batch_size, run.sequence, place)
        if not self.steps:
            raise ValueError(
                f"batch_size={run.batch_size}: {run.train_size or len(words.train)} tokens of {run.data!r} make "
                "columns of fewer than two. Use a smaller one."
            )

    @property
    def steps(self) -> int:
        """Steps in an epoch; the last one may be shorter."""
        return self.columns.steps

    @property
    def judging_steps(self) -> int:
        """Steps through test and validation part."""
        return self._test.steps + self._valid.steps

    def train(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the text from step ``start`` on; all epochs are alike."""
        return self.columns.batches(start)

    def test(self) -> Iterator[Batch]:
        """Yield the test part."""
        return self._test.batches()

    def validation(self) -> Iterator[Batch]:
        """Yield the validation part, which every text has."""
        return self._valid.batches()

    @cached_property
    def _test(self) -> Columns:
        return Columns(self.words.test[: self.run.test_size or None], EVALUATION, self.run.sequence, self.place)

    @cached_property
    def _valid(self) -> Columns:
        return Columns(self.words.valid[: self.run.test_size or None], EVALUATION, self.run.sequence, self.place)


def words(train: Iterable[str], valid: Iterable[str], test: Iterable[str], name: str, digest: str = "") -> Words:
    """Return lines as numbers: words are what stands between white space, and a line ends with ``<eos>``.

    The vocabulary is that of the training lines, numbered as they come. A word that is not in it is ``<unk>``. Where
    there are such words and the training lines do not hold ``<unk>`` themselves, words that stand in them once are
    ``<unk>`` as well: a network can only predict what it has seen.
    Raises: DataError, for a part of too few tokens.

    >>> words(["a b a b", "c"], ["b d"] * 10, ["a"] * 10, "a text").vocabulary
    ('a', 'b', '<eos>', '<unk>')
    """
    numbers: dict[str, int] = {}
    seen = _numbered(train, numbers)
    known = len(numbers)
    others = [_numbered(part, numbers) for part in (valid, test)]
    for part, tokens, least in (("training", seen, 2), ("validation", others[0], 20), ("test", others[1], 20)):
        if len(tokens) < least:
            raise DataError(f"the {part} part of {name} has {len(tokens)} tokens; {least} are the least it can have.")
    vocabulary = list(numbers)[:known]
    if len(numbers) > known:
        if UNKNOWN not in vocabulary:
            often = Counter(seen.tolist())
            vocabulary = [word for word in vocabulary if often[numbers[word]] > 1 or word == END] + [UNKNOWN]
        place = {word: index for index, word in enumerate(vocabulary)}
        new = torch.tensor([place.get(word, place[UNKNOWN]) for word in numbers])
        seen, *others = (new[tokens] for tokens in (seen, *others))
    return Words(seen, others[0], others[1], tuple(vocabulary), digest)


def _numbered(lines: Iterable[str], numbers: dict[str, int]) -> Tensor:
    tokens = array("q")
    for line in lines:
        tokens.extend(numbers.setdefault(word, len(numbers)) for word in (*line.split(), END))
    return torch.tensor(tokens, dtype=torch.int64)
