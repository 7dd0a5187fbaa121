"""Folders of images: decoded once or streamed as torchvision would, and what is wrong with one is named."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from multiprocessing import active_children

import numpy as np
import pytest
import torch
from PIL import Image
from small_data import HERE, RUN, equal, photos
from torchvision import transforms

from weightdecay.lab import data
from weightdecay.lab.data import DataError, held, stream
from weightdecay.lab.data.folder import scan
from weightdecay.lab.data.images import Images


def streamed(folder, run=RUN, **place):
    return stream.Photos(scan(folder)).data(run, replace(HERE, **place))


@pytest.fixture
def folder(tmp_path):
    return photos(tmp_path / "photos")


# Folders of images


def test_small_images_of_one_size_are_decoded_once(tmp_path, monkeypatch):
    root = photos(tmp_path / "small", size=(16, 16, 3), tests="test")
    name, place = f"images:{root}", replace(HERE, data=tmp_path / "data")
    run = replace(RUN, data=name, data_digest=data.digest(name, place))
    found = data.load(run, place)
    assert isinstance(found, Images)
    assert found.facts == data.Facts(classes=2, channels=3, size=16)
    raw = np.asarray(Image.open(root / "test" / "b" / "0.png"))
    (batch,) = found.test()
    mean, deviation = found.mean.view(16, 3)[0], found.deviation.view(16, 3)[0]
    assert torch.allclose(batch.inputs[2].permute(1, 2, 0), (torch.tensor(raw).double() - mean) / deviation)
    assert batch.targets.tolist() == [0, 0, 1, 1]

    data._read.cache_clear()  # as in another process
    with monkeypatch.context() as patch:
        patch.setattr(held, "_decoded", lambda folder: pytest.fail("it was decoded again"))
        assert equal(data.load(run, place).test(), [batch])

    (kept,) = (tmp_path / "data" / "decoded").glob("*.pt")
    whole = kept.read_bytes()
    for damaged in (whole[:-100], whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:], b""):
        kept.write_bytes(damaged)
        data._read.cache_clear()
        assert equal(data.load(run, place).test(), [batch])


def test_a_folder_that_has_changed_is_not_taken_for_the_old_one(tmp_path):
    root = photos(tmp_path / "small", size=(16, 16, 3))
    name, place = f"images:{root}", replace(HERE, data=tmp_path / "data")
    old = data.digest(name, place)
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    assert data.digest(f"images:{copy}", place) == old
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(copy / "train" / "a" / "0.png")
    data._read.cache_clear()
    assert data.digest(f"images:{copy}", place) != old
    (root / "train" / "a" / "0.png").rename(root / "train" / "a" / "9.png")
    assert data.digest(name, place) != old
    with pytest.raises(DataError, match=f"the data has changed since this run was made: .* was {old} and is "):
        data.load(replace(RUN, data=name, data_digest=old), place)


def test_where_nothing_can_be_written_images_are_decoded_all_the_same(tmp_path):
    root = photos(tmp_path / "small", size=(16, 16, 3))
    (tmp_path / "data").write_text("a file in the way of the folder")
    with pytest.warns(UserWarning, match="could not be kept"):
        found = data.load(replace(RUN, data=f"images:{root}"), replace(HERE, data=tmp_path / "data"))
    assert sum(batch.count for batch in found.train(1)) == 8


@pytest.mark.parametrize("size", [(16, 16, 3), (80, 80, 3)])
def test_uneven_or_larger_images_are_streamed(size, tmp_path):
    root = photos(tmp_path / "photos", size=size)
    if size[0] == 16:
        Image.fromarray(np.zeros((20, 16, 3), np.uint8)).save(root / "val" / "b" / "1.png")
    found = data.load(replace(RUN, data=f"images:{root}"), replace(HERE, data=tmp_path / "data"))
    assert isinstance(found, stream.Stream)
    assert found.facts == data.Facts(classes=2, channels=3, size=224)


def empty(path):
    for file in path.iterdir():
        file.unlink()


def unclassed(root):
    for part in ("train", "val"):
        shutil.rmtree(root / part / "b")


def link(path):
    path.symlink_to("gone")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "{root} is not a folder. It must contain train/<class>"),
        (lambda root: shutil.rmtree(root / "train"), "{root} has no folder train"),
        (lambda root: shutil.rmtree(root / "val"), "{root} has no folder test or val"),
        (lambda root: (root / "test").mkdir(), "{root} has both test and val"),
        (lambda root: [shutil.rmtree(root / "train" / name) for name in "ab"], "{root}/train holds no class"),
        (lambda root: shutil.rmtree(root / "val" / "b"), "{root}/val lacks the class 'b', which {root}/train has"),
        (lambda root: shutil.rmtree(root / "train" / "a"), "{root}/train lacks the class 'a', which {root}/val has"),
        (lambda root: empty(root / "train" / "b"), "{root}/train/b is empty"),
        (unclassed, "{root}/train holds one class, 'a'"),
        (lambda root: link(root / "train" / "c"), "{root}/train/c is a link to gone, which does not exist"),
        (lambda root: link(root / "val" / "a" / "9.png"), "{root}/val/a/9.png is a link to gone, which does not exist"),
        (lambda root: (shutil.rmtree(root), link(root)), "{root} is a link to gone, which does not exist"),
        (lambda root: (root / "train" / "x.png").touch(), "{root}/train/x.png is in no class"),
        (lambda root: (root / "train" / "a" / "boxes.txt").touch(), "{root}/train/a/boxes.txt is not an image"),
    ],
)
def test_what_is_wrong_with_a_folder_is_named(damage, message, folder):
    damage(folder)
    with pytest.raises(DataError, match=message.format(root=folder)):
        data.load(replace(RUN, data=f"images:{folder}"), HERE)


DAMAGE = {
    "truncated": (lambda raw: raw[: len(raw) // 2], "truncated"),
    "empty": (lambda raw: b"", r"\(0 bytes\) cannot be read as an image: it is of no known format"),
    "text": (lambda raw: b"<html>not found</html>", "it is of no known format"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("workers", [None, 0, 2])
def test_an_image_that_cannot_be_read_is_named_in_one_line(workers, damage, tmp_path):
    """None: decoded into memory."""
    root = photos(tmp_path / "photos", size=(16, 16, 3) if workers is None else None)
    path = root / "val" / "b" / "1.png"
    spoil, message = DAMAGE[damage]
    path.write_bytes(spoil(path.read_bytes()))
    place = replace(HERE, data=tmp_path / "data", workers=workers or 0)
    with pytest.raises(DataError, match=f"^{path} .*{message}.*Replace it") as raised:
        list(data.load(replace(RUN, data=f"images:{root}"), place).test())
    assert "\n" not in str(raised.value)


def test_pixels_of_more_than_8_bits_are_refused(folder):
    path = folder / "train" / "a" / "0.png"
    Image.fromarray(np.full((70, 80), 40_000, np.uint16)).save(path)
    with pytest.raises(DataError, match=f"{path} .* its pixels are of kind I;16"):
        data.load(replace(RUN, data=f"images:{folder}"), HERE)


# Streaming


@pytest.mark.slow
def test_workers_change_nothing(folder):
    run = replace(RUN, batch_size=3, seed=7)
    alone, two = (streamed(folder, run, workers=workers) for workers in (0, 2))
    state = torch.get_rng_state()
    for epoch in (1, 2):
        assert equal(alone.train(epoch), two.train(epoch))
    assert equal(alone.train(2, 1), two.train(2, 1))
    assert equal(alone.test(), two.test())
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.slow
def test_workers_outlive_the_signals_of_a_whole_group(folder):
    """Ctrl-C and scancel reach every process: the run's own one answers, and the step that waits ends."""
    found = streamed(folder, replace(RUN, batch_size=1), workers=2)
    others = set(active_children())  # of tests before, still on their way out
    batches = found.train(1)
    first = [next(batches), next(batches)]  # one of each worker
    children = set(active_children()) - others
    assert len(children) == 2
    for child in children:
        os.kill(child.pid, signal.SIGINT)
        os.kill(child.pid, signal.SIGTERM)
    assert equal([*first, *batches], streamed(folder, replace(RUN, batch_size=1)).train(1))


STEADY = stream.steady


def steady_after_ctrl_c(worker):
    signal.raise_signal(signal.SIGINT)
    STEADY(worker)


def test_a_worker_that_has_just_begun_outlives_ctrl_c_too(folder, monkeypatch):
    monkeypatch.setattr(stream, "steady", steady_after_ctrl_c)
    found = streamed(folder, replace(RUN, batch_size=1), workers=2)
    assert len(list(found.train(1))) == found.steps
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])  # and here nothing is held back any longer


@pytest.mark.slow
def test_a_program_that_ends_in_the_middle_of_an_epoch_does_not_wait_for_its_workers(folder):
    """A worker dies of the second reason only: closed at the end, it leaves before the grace of a signal is over."""
    code = f"""
from weightdecay.lab.data import load, stream
from weightdecay.lab.run import Place, Run
stream.GRACE = 10_000.0
batches = load(Run("sgd", 0.1, 0.0, seed=0, batch_size=1, data={f"images:{folder}"!r}), Place(workers=2)).train(1)
next(batches)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_photos_are_resized_cropped_and_standardised_as_torchvision_does(folder):
    found = streamed(folder)
    reference = transforms.Compose(
        [transforms.Resize(256), transforms.CenterCrop(224), transforms.PILToTensor(), lambda x: x.double()]
    )
    (batch,) = found.test()
    paths = sorted((folder / "val").rglob("*.png"))
    for image, path in zip(batch.inputs, paths, strict=True):
        expected = (reference(Image.open(path).convert("RGB")) - found.mean) / found.deviation
        assert torch.allclose(image, expected, atol=1e-12)
    plain = streamed(folder, replace(RUN, augment=False, batch_size=8))
    (all_of_them,) = plain.train(1)
    assert torch.allclose(all_of_them.inputs.mean((0, 2, 3)), torch.zeros(3, dtype=torch.float64), atol=1e-9)


def test_imagenet_has_its_folder_and_its_usual_statistics(tmp_path):
    photos(tmp_path / "imagenet")
    (tmp_path / "imagenet" / "test").mkdir()  # the one without labels
    found = data.load(replace(RUN, data="imagenet"), replace(HERE, data=tmp_path))
    assert (found.mean.flatten() / 255).tolist() == pytest.approx([0.485, 0.456, 0.406])
    with pytest.raises(DataError, match=f"{tmp_path / 'nowhere' / 'imagenet'} is not a folder"):
        data.load(replace(RUN, data="imagenet"), replace(HERE, data=tmp_path / "nowhere"))


def test_random_crops_have_the_areas_and_aspects_of_the_papers():
    """Area even in [0.08, 1] and aspect in [3/4, 4/3] where every one fits; the corner anywhere."""
    corners = [stream.drawn(400, 400, seed) for seed in range(4000)]
    fits = [(h * w / 400**2, w / h) for (_, _, h, w), _ in corners if h * w < 0.7 * 400**2]
    areas, aspects = (np.array(values) for values in zip(*fits, strict=True))
    assert areas.min() > 0.079
    assert abs(areas.mean() - (0.08 + 0.7) / 2) < 4 * 0.62 / np.sqrt(12 * len(areas))
    assert aspects.min() > 0.74
    assert aspects.max() < 1.35
    assert abs(np.log(aspects).mean()) < 4 * 2 * np.log(4 / 3) / np.sqrt(12 * len(areas))
    assert abs(np.mean([mirrored for _, mirrored in corners]) - 0.5) < 4 * 0.5 / np.sqrt(4000)
    assert all(0 <= y <= 400 - h and 0 <= x <= 400 - w for (y, x, h, w), _ in corners)
    assert {(y == 400 - h) or (x == 400 - w) for (y, x, h, w), _ in corners} == {True, False}


@pytest.mark.parametrize(("height", "width"), [(10, 1000), (1000, 10)])
def test_the_crop_of_a_very_long_image_is_torchvisions(height, width):
    image = torch.zeros(3, height, width)
    expected = transforms.RandomResizedCrop.get_params(image, [0.5, 1.0], [3 / 4, 4 / 3])
    found = {stream.drawn(height, width, seed)[0] for seed in range(50)}
    assert expected in found
