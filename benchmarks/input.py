"""Input of small images: the lab's against torchvision's CIFAR10 + DataLoader + transforms, in one process.

Both read the same 50,000 random images in CIFAR-10's files; an epoch of ours is drawn, cropped, flipped, standardised
and labelled in batches of 128, as is one of theirs by two workers. Medians over alternating rounds.

OMP_NUM_THREADS=2 python benchmarks/input.py
"""

import hashlib
import pickle
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from weightdecay.lab.data import load
from weightdecay.lab.run import Place, Run

GOAL = 10
ROUNDS = 7
BATCH = 128
WORKERS = 2
STATISTICS = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def write(folder: Path) -> None:
    """Write random images as CIFAR-10's files, and let torchvision take them for CIFAR-10 by their hashes."""
    kind, draw = datasets.CIFAR10, np.random.default_rng(0)
    (folder / kind.base_folder).mkdir()

    def file(name: str, content: dict[str, object]) -> list[str]:
        raw = pickle.dumps(content)
        (folder / kind.base_folder / name).write_bytes(raw)
        return [name, hashlib.md5(raw).hexdigest()]

    def images() -> dict[str, object]:
        pixels = draw.integers(0, 256, (10_000, 3072), dtype=np.uint8)
        return {"data": pixels, "labels": draw.integers(0, 10, 10_000).tolist()}

    kind.train_list = [file(name, images()) for name, _ in kind.train_list]
    kind.test_list = [file(name, images()) for name, _ in kind.test_list]
    name, md5 = file("batches.meta", {"label_names": list("abcdefghij")})
    kind.meta = {**kind.meta, "filename": name, "md5": md5}


def theirs(folder: Path, device: str) -> DataLoader:
    """Return torchvision's way, as its users write it."""
    transform = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(*STATISTICS),
        ]
    )
    return DataLoader(
        datasets.CIFAR10(folder, transform=transform),
        BATCH,
        shuffle=True,
        num_workers=WORKERS,
        persistent_workers=True,  # in their favour: no process is started in a round
        pin_memory=device == "cuda",
    )


def rate(batches: object, device: str) -> float:
    """Return the images a second of an epoch, on the device when the clock stops."""
    start, seen = time.perf_counter(), 0
    for images, labels, *_ in batches:
        images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        seen += len(labels)
    if device == "cuda":
        torch.cuda.synchronize()
    return seen / (time.perf_counter() - start)


def main() -> None:
    """Print a row for each device and number of threads."""
    rows = [("cpu", 1, True), ("cpu", 2, True), ("cpu", 1, False)]
    if torch.cuda.is_available():
        rows.append(("cuda", torch.get_num_threads(), True))
    print(f"{'device':7}{'threads':>8} {'layout':14}{'ours':>12}{'torchvision':>13}{'ratio':>8}{'goal':>6}  (images/s)")
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        for device, threads, channels_last in rows:
            torch.set_num_threads(threads)
            run = Run(
                "sgd", 0.1, 0.0, seed=0, batch_size=BATCH, data="cifar10", network="", channels_last=channels_last
            )
            data, loader = load(run, Place(device=device, data=Path(folder), download=False)), theirs(folder, device)
            pairs = [(rate(data.train(epoch), device), rate(loader, device)) for epoch in range(1, ROUNDS + 2)][1:]
            ours, other = (statistics.median(pair[i] for pair in pairs) for i in range(2))
            ratio = statistics.median(a / b for a, b in pairs)
            layout = "channels last" if channels_last else "channels first"
            print(f"{device:7}{threads:8} {layout:14}{ours:12,.0f}{other:13,.0f}{ratio:8.1f}{GOAL:6}", flush=True)
            del loader


if __name__ == "__main__":
    main()
