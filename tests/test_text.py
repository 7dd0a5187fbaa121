"""Texts: read in columns, cut to their first tokens, with the vocabulary of the training part."""

from dataclasses import replace

import pytest
import torch
from small_data import HERE, RUN, tokens

from weightdecay.lab import data
from weightdecay.lab.data import DataError
from weightdecay.lab.data.text import Text, words
from weightdecay.lab.run import PERPLEXITY, Place, Run


def test_a_text_is_read_in_columns_and_only_a_short_tail_is_dropped():
    run = replace(RUN, batch_size=7, sequence=9)
    found = Text(tokens(1000), run, HERE)
    batches = list(found.train(1))
    assert len(batches) == found.steps == 16
    assert found.facts == data.Facts(classes=1000)
    assert found.metric == PERPLEXITY
    read = torch.cat([batch.inputs for batch in batches])
    following = torch.cat([batch.targets for batch in batches])
    assert torch.equal(following, read + 1)
    assert torch.equal(read.t().flatten(), torch.cat([torch.arange(142 * c, 142 * c + 141) for c in range(7)]))
    assert 1000 - 7 * 142 < 7
    assert [batch.first for batch in batches] == [True] + [False] * 15
    assert [batch.count for batch in batches] == [63] * 15 + [42]
    assert not next(found.train(1, 3)).first
    assert all(batch.inputs.is_contiguous() for batch in batches)


@pytest.mark.parametrize("part", ["test", "validation"])
def test_an_evaluation_of_a_text_has_ten_columns(part):
    batches = list(getattr(Text(tokens(), RUN, HERE), part)())
    assert {batch.inputs.shape[1] for batch in batches} == {10}
    assert sum(batch.count for batch in batches) == 10 * (205 // 10 - 1)
    assert [batch.first for batch in batches] == [True] + [False] * (len(batches) - 1)


def test_a_text_is_judged_on_as_many_tokens_as_asked():
    run = Run("sgd", 0.1, 0.0, 0, data="pydoc", network="lstm", test_size=400, train_size=2000, batch_size=20)
    for batches in (data.load(run, Place()).test(), data.load(run, Place()).validation()):
        assert sum(batch.targets.numel() for batch in batches) == 390  # ten columns, the first token of each not judged
    with pytest.raises(ValueError, match="image_size=8: 'pydoc' is a text"):
        data.load(Run("sgd", 0.1, 0.0, 0, data="pydoc", network="lstm", image_size=8), Place())


def test_a_text_is_cut_to_its_first_tokens():
    found = Text(tokens(), replace(RUN, train_size=100, batch_size=5), HERE)
    assert max(int(batch.targets.max()) for batch in found.train(1)) == 99


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"label_noise": 0.1}, "has no labels"),
        ({"validation_size": 5}, "a validation part of its own"),
        ({"train_size": 1001}, "train_size=1001: 'digits' has 1000 tokens"),
        ({"batch_size": 501}, "batch_size=501: 1000 tokens of 'digits' make columns of fewer than two"),
    ],
)
def test_a_text_refuses_what_it_has_not(wrong, message):
    with pytest.raises(ValueError, match=message):
        Text(tokens(), replace(RUN, **wrong), HERE)


def test_the_vocabulary_is_that_of_the_training_part():
    lines = ["a b", "", "b a"] * 10
    assert words(lines, lines, lines, "a text").vocabulary == ("a", "b", "<eos>")
    plain = words(["x <unk> y"], ["x z"] * 10, lines, "a text")
    assert plain.vocabulary == ("x", "<unk>", "y", "<eos>")
    assert plain.valid[:3].tolist() == [0, 1, 3]
    rare = words(["x x y y once"], ["once z"] * 10, lines, "a text")
    assert rare.vocabulary == ("x", "y", "<eos>", "<unk>")
    assert rare.train.tolist() == [0, 0, 1, 1, 3, 2]
    assert rare.valid[:3].tolist() == [3, 3, 2]
    assert int(rare.test.max()) < 4


def test_text_files_are_found_by_their_parts_or_cut(tmp_path):
    lines = [f"word{i % 7} word{i % 3}" for i in range(200)]
    (tmp_path / "one.txt").write_text("\n".join(lines) + "\n")
    name = f"text:{tmp_path / 'one.txt'}"
    run = replace(RUN, data=name, data_digest=data.digest(name, HERE))
    assert [len(part) for part in (lambda w: (w.train, w.valid, w.test))(data.load(run, HERE).words)] == [540, 30, 30]

    parts = tmp_path / "parts"
    parts.mkdir()
    for part in ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"):
        (parts / part).write_text("\n".join(lines))
    assert len(data.load(replace(RUN, data=f"text:{parts}"), HERE).words.test) == 600
    (parts / "more-train.txt").touch()
    with pytest.raises(DataError, match=f"{parts} has 2 files .more-train.txt, wiki.train.tokens. with 'train'"):
        data.load(replace(RUN, data=f"text:{parts}"), HERE)

    (tmp_path / "one.txt").write_text("\n".join(reversed(lines)) + "\n")
    with pytest.raises(DataError, match="the data has changed since this run was made"):
        data.load(run, HERE)
    (tmp_path / "one.txt").write_bytes(b"caf\xe9 " * 100)
    with pytest.raises(DataError, match=r"one.txt is no text in UTF-8: byte 3 is 0xe9"):
        data.load(replace(RUN, data=name), HERE)
    (tmp_path / "one.txt").write_text("few words")
    with pytest.raises(DataError, match=r"one.txt has 1 line, too few to be cut by lines into 90, 5 and 5 percent"):
        data.load(replace(RUN, data=name), HERE)
    (tmp_path / "link.txt").symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match=r"link.txt is a link to .*gone, which does not exist. Mend the link"):
        data.load(replace(RUN, data=f"text:{tmp_path / 'link.txt'}"), HERE)
    (parts / "more-train.txt").unlink()
    (parts / "wiki.test.tokens").unlink()
    (parts / "wiki.test.tokens").symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match=r"wiki.test.tokens is a link to .*gone, which does not exist"):
        data.load(replace(RUN, data=f"text:{parts}"), HERE)
    with pytest.raises(DataError, match="nothing is neither a file nor a folder"):
        data.load(replace(RUN, data=f"text:{tmp_path / 'nothing'}"), HERE)


def test_a_byte_order_mark_is_no_word(tmp_path):
    """With and without it a text is the same text, and its runs have one address."""
    lines = "".join(f"word{i % 7} word{i % 3}\n" for i in range(200)).encode()
    (tmp_path / "plain.txt").write_bytes(lines)
    (tmp_path / "marked.txt").write_bytes(b"\xef\xbb\xbf" + lines)
    plain, marked = (
        data.load(replace(RUN, data=f"text:{tmp_path / name}"), HERE).words for name in ("plain.txt", "marked.txt")
    )
    assert marked.vocabulary == plain.vocabulary
    assert marked.digest == plain.digest
    assert torch.equal(marked.train, plain.train)


def test_the_embedded_text_has_a_digest_of_its_python():
    found = data.load(replace(RUN, data="pydoc", data_digest=data.digest("pydoc", HERE)), HERE)
    assert found.facts.classes > 2000
    assert len(found.words.train) > 50_000
    assert len(found.words.digest) == 64
