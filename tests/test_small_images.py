"""Images held in memory: crops and flips against the textbook, cuts of the set, and the embedded scans."""

import re
from dataclasses import replace

import pytest
import torch
from small_data import HERE, RUN, equal, pictures

from weightdecay.lab import data
from weightdecay.lab.data.images import Images, Pictures, moments
from weightdecay.lab.data.split import CROPS, cut
from weightdecay.lab.run import Place, Run
from weightdecay.lab.run.randomness import seed_of

# Batches


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_is_the_textbook_crop_flip_and_standardisation(channels, channels_last):
    found = pictures(channels=channels)
    run = replace(RUN, channels_last=channels_last)
    draws = torch.randint(0, 2 * 81, (50,), generator=torch.Generator().manual_seed(seed_of(CROPS, run.seed, 5)))
    mean, deviation = (
        torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in moments(found.train_images)
    )
    for batch in Images(found, run, HERE).train(5):
        for image, label in zip(batch.inputs, batch.targets.tolist(), strict=True):
            (y, x), flip = divmod(int(draws[label]) // 2, 9), int(draws[label]) % 2
            framed = torch.nn.functional.pad(found.train_images[label].permute(2, 0, 1), (4, 4, 4, 4))
            framed = framed.flip(2) if flip else framed
            expected = (framed[:, y : y + 8, x : x + 8].double() - mean) / deviation
            assert torch.allclose(image, expected, rtol=0, atol=1e-12)


def test_every_crop_is_drawn_as_often_and_half_of_them_are_mirrored():
    """Chi-square over the 162 crops of one million draws: 161 ± 18, the seed is fixed."""
    found = Images(pictures(n=1000, size=1), RUN, HERE)
    images, counts = torch.arange(1000), torch.zeros(2 * 1000 * 81)
    for epoch in range(1000):
        starts = found.windows.drawn(images, torch.Generator().manual_seed(seed_of(CROPS, 0, epoch)))
        counts += torch.bincount(starts // 3, minlength=len(counts))
    each = counts.view(2, 1000, 81).sum(1).flatten()
    expected = 1_000_000 / 162
    assert ((each - expected) ** 2 / expected).sum() < 161 + 4 * 18


def test_without_augmentation_the_training_set_has_mean_0_and_deviation_1_a_channel():
    batches = list(Images(pictures(), replace(RUN, augment=False), HERE).train(1))
    seen = torch.cat([batch.inputs for batch in batches])
    assert torch.allclose(seen.mean((0, 2, 3)), torch.zeros(3, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(seen.std((0, 2, 3), correction=0), torch.ones(3, dtype=torch.float64))


def test_an_evaluation_takes_steps_of_at_most_1000_and_none_is_empty():
    counts = [batch.count for batch in Images(pictures(size=2, tests=2001), RUN, HERE).test()]
    assert counts == [667, 667, 667]


@pytest.mark.parametrize(("dtype", "expected"), [("float32", torch.float32), ("bfloat16", torch.float32)])
def test_images_come_in_the_layout_and_type_of_the_run(dtype, expected):
    for channels_last in (True, False):
        (batch, *_) = Images(pictures(), replace(RUN, dtype=dtype, channels_last=channels_last), HERE).train(1)
        assert batch.inputs.dtype == expected
        layout = torch.channels_last if channels_last else torch.contiguous_format
        assert batch.inputs.is_contiguous(memory_format=layout)


def test_runs_of_one_process_share_the_pixels():
    found = pictures()
    a, b = (Images(found, replace(RUN, seed=seed), HERE) for seed in (0, 1))
    assert a.windows is b.windows


# Cuts


def test_the_crop_of_an_image_does_not_depend_on_which_others_are_trained_on():
    def by_label(**cuts):
        batches = list(Images(pictures(), replace(RUN, **cuts), HERE).train(4))
        return {int(y): x for batch in batches for x, y in zip(batch.inputs, batch.targets, strict=True)}

    everything, some = by_label(), by_label(train_size=20, batch_size=7)
    assert len(some) == 20
    assert all(torch.equal(some[label], everything[label]) for label in some)


def test_the_cut_is_one_for_all_seeds_and_what_is_held_out_is_not_trained_on():
    found = pictures()
    run = replace(RUN, train_size=20, validation_size=12)
    seen = []
    for seed in (0, 1):
        made = Images(found, replace(run, seed=seed), HERE)
        trained = {int(y) for batch in made.train(1) for y in batch.targets}
        held_out = [
            (x, int(y)) for batch in made.validation() for x, y in zip(batch.inputs, batch.targets, strict=True)
        ]
        seen.append((trained, {label for _, label in held_out}))
    assert seen[0] == seen[1]
    assert tuple(map(len, seen[0])) == (20, 12)
    assert not seen[0][0] & seen[0][1]
    mean, deviation = (torch.tensor(v, dtype=torch.float64).view(-1, 1, 1) for v in moments(found.train_images))
    for image, label in held_out:
        assert torch.equal(image, (found.train_images[label].permute(2, 0, 1).double() - mean) / deviation)
    assert Images(found, RUN, HERE).validation() is None
    everything = Images(found, replace(run, train_size=0), HERE)
    assert {int(y) for batch in everything.train(1) for y in batch.targets} == set(range(50)) - seen[0][1]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"train_size": 45, "validation_size": 6}, r"train_size=45 and validation_size=6 .* 50 training examples"),
        ({"train_size": 51}, "train_size=51"),
        ({"validation_size": 50}, "leave none to train on"),
        ({"train_size": -1}, "train_size=-1 is negative"),
        ({"label_noise": 1.0}, r"label_noise=1 is outside \[0, 1\)"),
        ({"batch_size": 0}, "batch_size=0 is less than 1"),
    ],
)
def test_a_cut_that_cannot_be_made_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Images(pictures(), replace(RUN, **wrong), HERE)


def test_the_fixed_cut_covers_the_set():
    kept, out = cut(100, replace(RUN, validation_size=30))
    assert sorted([*kept.tolist(), *out.tolist()]) == list(range(100))


def test_smaller_images_are_means_of_squares_and_fewer_test_images_are_the_same_for_every_seed():
    generator = torch.Generator().manual_seed(0)
    train, test = (torch.randint(0, 256, (n, 16, 16, 3), generator=generator, dtype=torch.uint8) for n in (6, 9))
    pictures = Pictures(train, torch.arange(6) % 3, test, torch.arange(9) % 3, 3, (1.0,) * 3, (1.0,) * 3, margin=4)
    cuts = {}
    for seed in (0, 1):
        run = Run("sgd", 0.1, 0.0, seed, data="x", image_size=8, test_size=4, augment=False, batch_size=6)
        data = pictures.data(run, Place())
        assert isinstance(data, Images)
        assert data.facts.size == 8
        assert data.judging_steps == 1
        (batch,) = data.test()
        cuts[seed] = batch
    assert torch.equal(cuts[0].inputs, cuts[1].inputs)
    assert len(cuts[0].targets) == 4
    # Undo the standardisation: what is left are rounded means of 2 × 2 squares of some test images.
    squares = test.double().view(9, 8, 2, 8, 2, 3).mean((2, 4)).round()
    mean, deviation = data.mean[:3], data.deviation[:3]
    pixels = cuts[0].inputs.permute(0, 2, 3, 1).double() * deviation.double() + mean.double()
    for image, label in zip(pixels, cuts[0].targets, strict=True):
        distances = (squares - image).abs().amax(dim=(1, 2, 3))
        assert distances.min() < 1e-3
        assert distances.argmin() % 3 == label


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_size": 5}, "image_size=5 does not divide the images' 8 pixels per side. Use one of 8, 4"),
        ({"test_size": 10_000}, "test_size=10000: 'digits' has 797 test examples"),
        ({"image_size": -1}, "image_size=-1 is negative"),
    ],
)
def test_a_cut_that_cannot_be_made_is_named(change, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        data.load(Run("sgd", 0.1, 0.0, 0, data="digits", **change), Place())


# The embedded scans


def test_digits_are_split_once_and_standardised_by_what_is_trained_on():
    from sklearn.datasets import load_digits

    found = data.load(replace(RUN, data="digits"), HERE)
    assert found.facts == data.Facts(classes=10, channels=1, size=8)
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(20111152))
    raw = torch.as_tensor(load_digits().images)[order]
    expected = (raw - raw[:1000].mean()) / raw[:1000].std()
    seen = torch.cat([batch.inputs for batch in found.test()]).squeeze(1)
    assert torch.allclose(seen, expected[1000:], atol=1e-12)
    assert sum(batch.count for batch in found.train(1)) == 1000
    explicit = data.load(replace(RUN, data="digits", train_size=1000), HERE)
    assert equal(explicit.train(1), found.train(1))
    assert data.digest("digits", HERE) == ""


def test_digits_keep_scans_for_test():
    with pytest.raises(ValueError, match="train_size=1797: digits has 1797 scans"):
        data.load(replace(RUN, data="digits", train_size=1797), HERE)
