"""CIFAR and MNIST: what torchvision reads, checked by their hashes, downloaded only where that is allowed."""

import gzip
import hashlib
import pickle
import shutil
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from serving import NOBODY, serving
from small_data import HERE, RUN, equal
from torchvision import datasets, transforms

from weightdecay.lab import data
from weightdecay.lab.data import DataError, mnist


@pytest.fixture
def served(tmp_path):
    """The address of a server of the test's own folder."""
    with serving(tmp_path) as address:
        yield address


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
