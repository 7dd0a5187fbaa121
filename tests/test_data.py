"""Every kind of data: what a batch holds is a function of (seed, epoch, index), whoever asks and from where."""

import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from small_data import HERE, RUN, equal, photos, pictures, tokens

from weightdecay.lab import data
from weightdecay.lab.data import digits, stream
from weightdecay.lab.data.folder import scan
from weightdecay.lab.data.images import Images
from weightdecay.lab.data.text import Text


@pytest.fixture
def folder(tmp_path):
    return photos(tmp_path / "photos")


KINDS = {
    "images": lambda run, place, folder: Images(pictures(), run, place),
    "text": lambda run, place, folder: Text(tokens(), run, place),
    "stream": lambda run, place, folder: stream.Photos(scan(folder)).data(replace(run, batch_size=3), place),
}


# What holds for every kind of data


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_begun_in_the_middle_is_the_tail_of_the_whole_one(kind, folder):
    make = KINDS[kind]
    whole = list(make(RUN, HERE, folder).train(2))
    for start in range(len(whole) + 1):
        assert equal(make(RUN, HERE, folder).train(2, start), whole[start:])


@pytest.mark.parametrize("kind", KINDS)
def test_global_random_state_is_neither_read_nor_changed(kind, folder):
    seen = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        before = torch.get_rng_state(), np.random.get_state()[1].copy()
        found = KINDS[kind](RUN, HERE, folder)
        seen.append([*found.train(1), *found.test()])
        assert torch.equal(before[0], torch.get_rng_state())
        assert (before[1] == np.random.get_state()[1]).all()
    assert equal(*seen)


@pytest.mark.parametrize("world", [2, 3, 16])
@pytest.mark.parametrize("kind", KINDS)
def test_the_parts_of_the_processes_make_up_every_step(kind, world, folder):
    """Also where there are more processes than examples in the last batch."""
    make = KINDS[kind]
    alone = make(RUN, HERE, folder)
    parts = [make(RUN, replace(HERE, rank=rank, world=world), folder) for rank in range(world)]
    side = 1 if kind == "text" else 0
    for name in ("train", "test"):
        ask = [partial(getattr(found, name), *([1] if name == "train" else [])) for found in (alone, *parts)]
        for whole, *shares in zip(*(each() for each in ask), strict=True):
            assert {share.count for share in shares} == {whole.count} == {whole.targets.numel()}
            assert {share.first for share in shares} == {whole.first}
            for rank, share in enumerate(shares):
                index = torch.tensor(range(rank, whole.targets.shape[side], world), dtype=torch.int64)
                assert torch.equal(share.inputs, whole.inputs.index_select(side, index))
                assert torch.equal(share.targets, whole.targets.index_select(side, index))


@pytest.mark.parametrize("kind", ["images", "stream"])
def test_an_epoch_shows_every_image_once_in_an_order_of_its_own(kind, folder):
    def order(seed, epoch):
        found = KINDS[kind](replace(RUN, seed=seed, augment=False), HERE, folder)
        batches = list(found.train(epoch))
        assert len(batches) == found.steps
        return [round(float(image.sum()), 6) for batch in batches for image in batch.inputs]

    plain = [order(seed, epoch) for seed, epoch in ((0, 1), (0, 2), (1, 1))]
    assert plain[0] == order(0, 1)
    assert plain[0] != plain[1]
    assert plain[0] != plain[2]
    assert sorted(plain[0]) == sorted(plain[1]) == sorted(plain[2])
    assert len(set(plain[0])) == len(plain[0])


@pytest.mark.parametrize("kind", ["images", "stream"])
def test_wrong_labels_are_in_the_training_part_only_and_one_for_all_epochs(kind, folder):
    def labels(noise, seed=0):
        run = replace(RUN, label_noise=noise, seed=seed, augment=False, validation_size=4)
        found = KINDS[kind](run, HERE, folder)
        key = {}
        for epoch in (1, 2):
            for batch in found.train(epoch):
                for x, y in zip(batch.inputs, batch.targets.tolist(), strict=True):
                    assert key.setdefault(round(float(x.sum()), 6), y) == y
        return key, [b.targets.tolist() for b in found.validation()], [b.targets.tolist() for b in found.test()]

    (clean, *rest), (noisy, *others) = labels(0.0), labels(0.5)
    assert sum(clean[image] != noisy[image] for image in clean) == len(clean) // 2
    assert rest == others
    assert labels(0.5, seed=1)[0] != noisy


# Names


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"no data set is called 'cifra10'. Did you mean 'cifar10'"):
        data.load(replace(RUN, data="cifra10"), HERE)
    with pytest.raises(ValueError, match="no data set is called 'images:'"):
        data.load(replace(RUN, data="images:"), HERE)
    assert "digits" in data.names()


def test_the_scans_are_scikit_learns():
    from sklearn.datasets import load_digits

    images, labels = digits.scans()
    known = load_digits()
    assert torch.equal(images.squeeze(-1), torch.as_tensor(known.images).to(torch.uint8))
    assert torch.equal(labels, torch.as_tensor(known.target, dtype=torch.int64))


def test_importing_the_room_imports_none_of_its_extras():
    code = """
import sys, weightdecay.lab.data
extras = {'torchvision', 'sklearn', 'PIL', 'scipy'}
assert not extras & set(sys.modules), extras & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
