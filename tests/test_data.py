"""Data: what a batch holds is a function of (seed, epoch, index), and what is wrong with a file is said."""

import gzip
import hashlib
import io
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from contextlib import suppress
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import active_children
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets, transforms

from weightdecay.lab import data
from weightdecay.lab.data import DataError, download, held, mnist, ptb, stream
from weightdecay.lab.data.folder import scan
from weightdecay.lab.data.images import Images, Pictures, moments
from weightdecay.lab.data.split import CROPS, cut
from weightdecay.lab.data.text import Text, Words, words
from weightdecay.lab.place import Place
from weightdecay.lab.randomness import seed_of
from weightdecay.lab.run import PERPLEXITY, Run

RUN = Run("sgd", lr=0.1, weight_decay=0.0, seed=3, batch_size=16, dtype="float64")
HERE = Place(workers=0, download=False)


def pictures(n=50, size=8, channels=3, margin=4, tests=23):
    """Random images whose label is their index."""
    draw = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (n + tests, size, size, channels), dtype=torch.uint8, generator=draw)
    train, test = images.split([n, tests])
    return Pictures(train, torch.arange(n), test, torch.arange(tests), max(n, tests), *moments(train), margin)


def tokens(n=1000, tests=205):
    return Words(*(torch.arange(k) for k in (n, tests, tests)), tuple(map(str, range(n))))


def photos(folder, classes=2, each=4, size=None, tests="val"):
    """Write noisy photos of different sizes, one of them grey, by class."""
    draw = np.random.default_rng(0)
    for part, count in (("train", each), (tests, 2)):
        for name in "abcdefgh"[:classes]:
            (folder / part / name).mkdir(parents=True)
            for index in range(count):
                shape = size or (60 + 10 * index, 80, 3)
                pixels = draw.integers(0, 256, shape, dtype=np.uint8)
                if not size and index == 1:
                    pixels = pixels[..., 0]
                Image.fromarray(pixels).save(folder / part / name / f"{index}.png")
    return folder


def streamed(folder, run=RUN, **place):
    return stream.Photos(scan(folder)).data(run, replace(HERE, **place))


@pytest.fixture
def folder(tmp_path):
    return photos(tmp_path / "photos")


KINDS = {
    "images": lambda run, place, folder: Images(pictures(), run, place),
    "text": lambda run, place, folder: Text(tokens(), run, place),
    "stream": lambda run, place, folder: stream.Photos(scan(folder)).data(replace(run, batch_size=3), place),
}


def equal(a, b):
    return all(
        torch.equal(x.inputs, y.inputs) and torch.equal(x.targets, y.targets) and x[2:] == y[2:]
        for x, y in zip(a, b, strict=True)
    )


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


# Images in memory


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


# Names


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"no data set is called 'cifra10'. Did you mean 'cifar10'"):
        data.load(replace(RUN, data="cifra10"), HERE)
    with pytest.raises(ValueError, match="no data set is called 'images:'"):
        data.load(replace(RUN, data="images:"), HERE)
    assert "digits" in data.names()


def test_importing_the_room_imports_none_of_its_extras():
    code = """
import sys, weightdecay.lab.data
extras = {'torchvision', 'sklearn', 'PIL', 'scipy'}
assert not extras & set(sys.modules), extras & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# CIFAR and MNIST


NOBODY = "http://127.0.0.1:9/"
"""An address where nothing listens."""


class Server(SimpleHTTPRequestHandler):
    """Serves a folder, counts what is asked for, and cuts off files whose name says so."""

    asked: ClassVar[list[str]] = []

    def do_GET(self):
        self.asked.append(self.path)
        if "short" in self.path:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"only this")
            return
        with suppress(BrokenPipeError):  # torchvision asks once only to see where it is sent
            super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def served(tmp_path):
    """The address of a server of the test's own folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=tmp_path))
    Server.asked.clear()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=["cifar10", "cifar100"])
def cifar(request, tmp_path, monkeypatch, served):
    """Small files of CIFAR's format, which torchvision takes for its own by their hashes; and their archive."""
    name, root = request.param, tmp_path / "data"
    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    inside = root / kind.base_folder
    inside.mkdir(parents=True)
    draw = np.random.default_rng(0)

    def file(file, content):
        raw = pickle.dumps(content)
        (inside / file).write_bytes(raw)
        return [file, hashlib.md5(raw).hexdigest()]

    def images():
        labels = "labels" if name == "cifar10" else "fine_labels"
        return {"data": draw.integers(0, 256, (6, 3072), dtype=np.uint8), labels: list(range(6))}

    monkeypatch.setattr(kind, "train_list", [file(f, images()) for f, _ in kind.train_list])
    monkeypatch.setattr(kind, "test_list", [file(f, images()) for f, _ in kind.test_list])
    _, md5 = file(kind.meta["filename"], {kind.meta["key"]: [f"class {i}" for i in range(6)]})
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5})
    archive = tmp_path / kind.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(inside, kind.base_folder)
    monkeypatch.setattr(kind, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(kind, "url", served + kind.filename)
    return name, kind, root, archive


def test_cifar_is_what_torchvision_reads(cifar):
    name, kind, root, _ = cifar
    found = data.load(replace(RUN, data=name, augment=False), replace(HERE, data=root))
    assert found.facts == data.Facts(classes=6, channels=3, size=32)
    train, test = kind(root, train=True), kind(root, train=False)
    mean, deviation = (train.data / 255).mean((0, 1, 2)), (train.data / 255).std((0, 1, 2))
    normal = transforms.Compose(
        [transforms.PILToTensor(), lambda x: x.double() / 255, transforms.Normalize(mean, deviation)]
    )
    expected = torch.stack([normal(image) for image, _ in test])
    (batch,) = found.test()
    assert torch.allclose(batch.inputs, expected, atol=1e-12)
    assert batch.targets.tolist() == test.targets
    assert data.digest(name, replace(HERE, data=root)) == ""


def test_a_damaged_file_of_cifar_is_named_with_its_hashes(cifar):
    name, kind, root, _ = cifar
    file, md5 = kind.train_list[0]
    path = root / kind.base_folder / file
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match=f"{path} .* its MD5 is {hashlib.md5(raw).hexdigest()}, and {md5} is expected"):
        data.load(replace(RUN, data=name), replace(HERE, data=root))
    path.unlink()
    with pytest.raises(DataError, match=f"{path} is missing, though others of {name} are there"):
        data.load(replace(RUN, data=name), replace(HERE, data=root, download=True))


def test_cifar_is_downloaded_only_where_that_is_allowed(cifar, capfd, monkeypatch):
    name, kind, root, _ = cifar
    shutil.rmtree(root / kind.base_folder)
    with pytest.raises(DataError, match=f"{name} is not there: .* may not download.*WEIGHTDECAY_DATA"):
        data.load(replace(RUN, data=name), replace(HERE, data=root))
    assert data.load(replace(RUN, data=name), replace(HERE, data=root, download=True)).facts.classes == 6
    root = root.parent / "other"
    monkeypatch.setattr(kind, "url", NOBODY + kind.filename)
    with pytest.raises(DataError, match=f"{name} could not be downloaded from http:.*put {kind.filename} into {root}"):
        data.load(replace(RUN, data=name), replace(HERE, data=root, download=True))


def test_an_archive_that_is_there_is_unpacked_if_it_is_whole(cifar):
    name, kind, root, archive = cifar
    shutil.rmtree(root / kind.base_folder)
    (root / kind.filename).write_bytes(archive.read_bytes()[:-10])
    with pytest.raises(DataError, match=f"{root / kind.filename} .* its MD5 is"):
        data.load(replace(RUN, data=name), replace(HERE, data=root))
    shutil.copy(archive, root / kind.filename)
    assert data.load(replace(RUN, data=name), replace(HERE, data=root)).facts.classes == 6


def write_mnist(folder, monkeypatch):
    folder.mkdir(parents=True)
    hashes = {}
    for name in mnist.FILES:
        count = 30 if "train" in name else 12
        shape = (count, 28, 28) if "images" in name else (count,)
        values = np.random.default_rng(len(name)).integers(0, 10, shape, dtype=np.uint8)
        head = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
        (folder / name).write_bytes(head + values.tobytes())
        hashes[name] = hashlib.sha256(head + values.tobytes()).hexdigest()
    monkeypatch.setattr(mnist, "FILES", hashes)


@pytest.mark.parametrize("inside", ["", "mnist", "MNIST/raw"])
def test_mnist_is_found_checked_and_never_mirrored(inside, tmp_path, monkeypatch):
    root = tmp_path / "data"
    write_mnist(root / inside, monkeypatch)
    run, place = replace(RUN, data="mnist"), replace(HERE, data=root)
    found = data.load(run, place)
    assert found.facts == data.Facts(classes=10, channels=1, size=28)
    assert sum(batch.count for batch in found.test()) == 12
    assert equal(found.train(1), data.load(replace(run, augment=False), place).train(1))
    path = root / inside / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=f"{path} .19 bytes. is damaged or another file: its SHA256 is"):
        data.load(run, replace(place, download=True))


def test_mnist_is_downloaded_by_torchvision(served, tmp_path, monkeypatch, capfd):
    write_mnist(tmp_path / "source", monkeypatch)
    packed = []
    for file in (tmp_path / "source").iterdir():
        raw = gzip.compress(file.read_bytes())
        (tmp_path / "source" / f"{file.name}.gz").write_bytes(raw)
        packed.append((f"{file.name}.gz", hashlib.md5(raw).hexdigest()))
    monkeypatch.setattr(datasets.MNIST, "resources", packed)
    monkeypatch.setattr(datasets.MNIST, "mirrors", [NOBODY])
    run, place = replace(RUN, data="mnist"), replace(HERE, data=tmp_path / "data", download=True)
    with pytest.raises(DataError, match=r"mnist could not be downloaded: .*put the four files"):
        data.load(run, place)
    monkeypatch.setattr(datasets.MNIST, "mirrors", [served + "source/"])
    assert data.load(run, place).steps == 2


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


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "{root} is no folder. It must hold train/<class>"),
        (lambda root: shutil.rmtree(root / "train"), "{root} has no folder train"),
        (lambda root: shutil.rmtree(root / "val"), "{root} has no folder test or val"),
        (lambda root: (root / "test").mkdir(), "{root} has both test and val"),
        (lambda root: [shutil.rmtree(root / "train" / name) for name in "ab"], "{root}/train holds no class"),
        (lambda root: shutil.rmtree(root / "val" / "b"), "{root}/val lacks the class 'b', which {root}/train has"),
        (lambda root: shutil.rmtree(root / "train" / "a"), "{root}/train lacks the class 'a', which {root}/val has"),
        (lambda root: empty(root / "train" / "b"), "{root}/train/b is empty"),
        (lambda root: (root / "train" / "x.png").touch(), "{root}/train/x.png is in no class"),
        (lambda root: (root / "train" / "a" / "boxes.txt").touch(), "{root}/train/a/boxes.txt is no image"),
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
    batches = found.train(1)
    first = next(batches)
    children = active_children()
    assert len(children) == 2
    for child in children:
        os.kill(child.pid, signal.SIGINT)
        os.kill(child.pid, signal.SIGTERM)
    assert equal([first, *batches], streamed(folder, replace(RUN, batch_size=1)).train(1))


@pytest.mark.slow
def test_a_program_that_ends_in_the_middle_of_an_epoch_does_not_wait_for_its_workers(folder):
    """A worker dies of the second reason only: closed at the end, it leaves before the grace of a signal is over."""
    code = f"""
from weightdecay.lab.data import load, stream
from weightdecay.lab.place import Place
from weightdecay.lab.run import Run
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
    with pytest.raises(DataError, match=f"{tmp_path / 'nowhere' / 'imagenet'} is no folder"):
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


# Texts


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
    with pytest.raises(DataError, match=r"the training part of text:.* has 0 tokens"):
        data.load(replace(RUN, data=name), HERE)
    with pytest.raises(DataError, match="nothing is neither a file nor a folder"):
        data.load(replace(RUN, data=f"text:{tmp_path / 'nothing'}"), HERE)


def test_the_embedded_text_has_a_digest_of_its_python():
    found = data.load(replace(RUN, data="pydoc", data_digest=data.digest("pydoc", HERE)), HERE)
    assert found.facts.classes > 2000
    assert len(found.words.train) > 50_000
    assert len(found.words.digest) == 64


# Penn Treebank, and downloads


@pytest.fixture
def treebank(tmp_path, monkeypatch):
    """Small files in the place of Mikolov's, on a server that does not exist."""
    source = tmp_path / "source"
    source.mkdir()
    for file in ptb.FILES:
        (source / file).write_text(" the cat <unk> N \n" * 20)
    hashes = {file: hashlib.sha256((source / file).read_bytes()).hexdigest() for file in ptb.FILES}
    monkeypatch.setattr(ptb, "FILES", hashes)
    monkeypatch.setattr(ptb, "MIRRORS", ((tmp_path / "nothing").as_uri() + "/", source.as_uri() + "/"))
    monkeypatch.setattr(ptb, "ARCHIVES", ((tmp_path / "simple.tgz").as_uri(),))
    return source


PTB = replace(RUN, data="ptb", batch_size=4)


@pytest.mark.parametrize("inside", ["", "ptb", "simple-examples/data"])
def test_the_treebank_is_found_where_it_lies(inside, treebank, tmp_path):
    shutil.copytree(treebank, tmp_path / "data" / inside)
    place = replace(HERE, data=tmp_path / "data")
    assert len(data.load(PTB, place).words.train) == 100
    assert data.digest("ptb", place) == ""


def test_the_treebank_is_downloaded_from_the_first_mirror_that_has_it(treebank, tmp_path):
    place = replace(HERE, data=tmp_path / "data")
    with pytest.raises(DataError, match=r"ptb is not there: .* may not download"):
        data.load(PTB, place)
    assert len(data.load(PTB, replace(place, download=True)).words.vocabulary) == 5
    assert len(data.load(PTB, place).words.vocabulary) == 5
    assert sorted(path.name for path in (tmp_path / "data").rglob("*") if not path.name.endswith(".lock")) == sorted(
        ["ptb", *ptb.FILES]
    )


def test_a_download_with_another_hash_is_refused_and_leaves_nothing(treebank, tmp_path):
    (treebank / "ptb.valid.txt").write_text("<html>moved</html>")
    place = replace(HERE, data=tmp_path / "data", download=True)
    with pytest.raises(
        DataError, match=r"ptb.valid.txt could not be downloaded\..*its SHA256 is .*simple-examples.tgz"
    ):
        data.load(PTB, place)
    assert not list((tmp_path / "data").glob("[!.]*"))
    shutil.copytree(treebank, tmp_path / "data" / "ptb")
    with pytest.raises(DataError, match=r"ptb.valid.txt \(18 bytes\) is damaged or another file"):
        data.load(PTB, place)


def pack(archive, members):
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def test_the_treebank_comes_out_of_mikolovs_archive(treebank, tmp_path, monkeypatch):
    members = {f"./simple-examples/data/{file}": (treebank / file).read_bytes() for file in ptb.FILES}
    pack(tmp_path / "simple.tgz", members)
    monkeypatch.setattr(ptb, "MIRRORS", ((tmp_path / "nothing").as_uri() + "/",))
    place = replace(HERE, data=tmp_path / "data", download=True)
    assert len(data.load(PTB, place).words.vocabulary) == 5


@pytest.mark.parametrize("member", ["../outside.txt", "data/../../outside.txt", "/outside.txt", "link"])
def test_an_archive_cannot_write_outside_its_folder(member, tmp_path):
    archive, target = tmp_path / "bad.tgz", tmp_path / "data" / "unpacked"
    if member == "link":
        with tarfile.open(archive, "w:gz") as tar:
            entry = tarfile.TarInfo("link")
            entry.type, entry.linkname = tarfile.SYMTYPE, "../.."
            tar.addfile(entry)
    else:
        pack(archive, {"good.txt": b"good", member: b"bad"})
    if member.startswith("/"):  # such a name is taken as one inside
        download.unpack(archive, target)
        assert (target / "outside.txt").read_bytes() == b"bad"
    else:
        with pytest.raises(DataError, match=f"{archive} is refused, nothing of it was unpacked: .*outside"):
            download.unpack(archive, target)
        assert not target.exists()
    assert not list((tmp_path / "data").glob(".*"))
    assert not (tmp_path / "data" / "outside.txt").exists()


def test_a_truncated_archive_is_named_and_leaves_nothing(tmp_path):
    archive = tmp_path / "short.tgz"
    pack(archive, {"noise": os.urandom(100_000)})
    archive.write_bytes(archive.read_bytes()[:50_000])
    with pytest.raises(DataError, match=f"{archive} .50,000 bytes. cannot be unpacked"):
        download.unpack(archive, tmp_path / "data" / "unpacked")
    assert not list((tmp_path / "data").iterdir())


def test_of_two_that_start_at_once_one_downloads(treebank, served, tmp_path, monkeypatch):
    monkeypatch.setattr(ptb, "MIRRORS", (served + "source/",))
    place = replace(HERE, data=tmp_path / "data", download=True)
    lengths = []
    both = [threading.Thread(target=lambda: lengths.append(len(ptb.load("ptb", place).train))) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert lengths == [100, 100]
    assert sorted(Server.asked) == sorted(f"/source/{file}" for file in ptb.FILES)


def test_a_transfer_that_is_cut_off_leaves_nothing(served, tmp_path):
    with pytest.raises(DataError, match=r"short.txt could not be downloaded. http.*put the file into"):
        download.fetch((served + "short.txt",), tmp_path / "data" / "short.txt")
    assert not list((tmp_path / "data").iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "data").write_text("a file in the way of the folder")
    with pytest.raises(DataError, match=f"{tmp_path / 'data'} cannot be written .*WEIGHTDECAY_DATA names another"):
        data.load(PTB, replace(HERE, data=tmp_path / "data", download=True))


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
        ({"image_size": 5}, "image_size=5 does not divide the images' 8 pixels a side. Use one of 8, 4"),
        ({"test_size": 10_000}, "test_size=10000: 'digits' has 797 test examples"),
        ({"image_size": -1}, "image_size=-1 is negative"),
    ],
)
def test_a_cut_that_cannot_be_made_is_named(change, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        data.load(Run("sgd", 0.1, 0.0, 0, data="digits", **change), Place())


def test_a_text_is_judged_on_as_many_tokens_as_asked():
    run = Run("sgd", 0.1, 0.0, 0, data="pydoc", network="lstm", test_size=400, train_size=2000, batch_size=20)
    for batches in (data.load(run, Place()).test(), data.load(run, Place()).validation()):
        assert sum(batch.targets.numel() for batch in batches) == 390  # ten columns, the first token of each not judged
    with pytest.raises(ValueError, match="image_size=8: 'pydoc' is a text"):
        data.load(Run("sgd", 0.1, 0.0, 0, data="pydoc", network="lstm", image_size=8), Place())
