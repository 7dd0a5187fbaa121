"""Your own model and data: AdamW against AdamS on a network of your own, with a table at the end.

A multilayer perceptron learns scikit-learn's handwritten digits, a fifth of the training labels wrong. Under a minute
on a CPU; what was trained is kept in own-model/, so that a second start only prints again.

python examples/own_model.py
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from weightdecay.lab.own import Own


def model() -> nn.Module:
    """Fresh weights; the lab has set torch's generator to the run's seed."""
    return nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))


def data(batch_size: int) -> tuple[DataLoader, DataLoader]:
    """Loaders of training and of test data; a third one would be for validation."""
    digits = load_digits()
    fixed = torch.Generator().manual_seed(0)  # the same cut and the same wrong labels for every run
    order = torch.randperm(len(digits.target), generator=fixed)
    images = torch.tensor(digits.data, dtype=torch.float32)[order] / 16
    labels = torch.tensor(digits.target, dtype=torch.int64)[order]
    wrong = torch.rand(1000, generator=fixed) < 0.2
    noisy = torch.where(wrong, (labels[:1000] + torch.randint(1, 10, (1000,), generator=fixed)) % 10, labels[:1000])
    train, test = TensorDataset(images[:1000], noisy), TensorDataset(images[1000:], labels[1000:])
    return DataLoader(train, batch_size, shuffle=True), DataLoader(test, 1000)


task = Own(model=model, data=data, loss=nn.functional.cross_entropy, name="mlp")

if __name__ == "__main__":
    comparison = task.compare(
        ["adamw", "adams"],
        {"adamw": [0, 0.3, 1, 3], "adams": [0, 1e-3, 3e-3, 1e-2]},
        seeds=3,
        lr=1e-2,
        epochs=60,
        batch_size=50,
        out="own-model",
    )
    print(f"optimizer  best λ  {comparison.metric.name}, {comparison.metric.unit}")
    for standing in comparison.standings:
        cell = standing.best
        print(f"{standing.title:9}  {cell.point.weight_decay:6g}  {cell.mean:.1f} ± {cell.std:.1f}  {standing.verdict}")
