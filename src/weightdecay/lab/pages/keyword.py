"""The keyword ``weight_decay`` in the libraries that are installed: one row per optimizer, measured."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
from collections.abc import Iterable, Iterator
from typing import Any

from weightdecay.measuring import HEADINGS, Measured, MeasureError, measure

# One line per module, its distribution and the optimizers.
LISTED = """
torch.optim torch: SGD | SGD(momentum=0.9) | SGD(momentum=0.9, dampening=0.9) | Adam | AdamW | NAdam | RAdam
torch.optim torch: NAdam(decoupled_weight_decay=True) | RAdam(decoupled_weight_decay=True) | Adamax | Adadelta
torch.optim torch: Adagrad | RMSprop | ASGD | Adafactor | Muon
timm.optim timm: AdamWLegacy | AdamWLegacy(corrected_weight_decay=True) | SGDW(momentum=0.9)
timm.optim timm: SGDW(momentum=0.9, corrected_weight_decay=True) | NAdamW | NAdamW(corrected_weight_decay=True)
timm.optim timm: LaProp | LaProp(corrected_weight_decay=True) | Lion | Lion(corrected_weight_decay=True) | Adopt
timm.optim timm: Adopt(decoupled=True) | AdaBelief | AdaBelief(fixed_decay=True) | AdaBelief(decoupled_decay=False)
timm.optim timm: RMSpropTF | RMSpropTF(decoupled_decay=True) | AdamP | Adafactor | AdafactorBigVision | Adan | MADGRAD
timm.optim timm: MADGRAD(decoupled_decay=True) | Mars | Muon | Lars | Lamb | Lamb(decoupled_decay=True) | NvNovoGrad
pytorch_optimizer pytorch_optimizer: AdamS | AdamS(fixed_decay=True) | StableAdamW | Adai | Adai(weight_decouple=True)
pytorch_optimizer pytorch_optimizer: Adai(weight_decouple=True, stable_weight_decay=True) | SWATS | AdamC
pytorch_optimizer pytorch_optimizer: AdamC(normalized=True) | SGDW(momentum=0.9) | FlashAdamW
pytorch_optimizer pytorch_optimizer: FlashAdamW(decouple_lr=True) | AdaBelief | AdaBelief(fixed_decay=True)
pytorch_optimizer pytorch_optimizer: AdaBelief(weight_decouple=False) | Yogi | Yogi(fixed_decay=True)
pytorch_optimizer pytorch_optimizer: Yogi(weight_decouple=False) | AdaBound | AdaBound(weight_decouple=False) | PAdam
pytorch_optimizer pytorch_optimizer: RAdam | RAdam(weight_decouple=False) | ADOPT | Lion | Lamb | NovoGrad | SOAP
pytorch_optimizer pytorch_optimizer: AdEMAMix | CAME | Tiger | SophiaH | AdaHessian | LaProp | MARS | Muon
optimi torch-optimi: SGD(momentum=0.9) | SGD(momentum=0.9, decouple_wd=True) | Adam | Adam(decouple_wd=True)
optimi torch-optimi: Adam(decouple_lr=True) | AdamW | AdamW(decouple_lr=True) | RAdam | Lion | Adan
optimi torch-optimi: StableAdamW(triton=False, foreach=False)
lion_pytorch lion-pytorch: Lion | Lion(decoupled_weight_decay=True)
schedulefree schedulefree: SGDScheduleFree | AdamWScheduleFree | RAdamScheduleFree
prodigyopt prodigyopt: Prodigy | Prodigy(decouple=False)
dadaptation dadaptation: DAdaptAdam | DAdaptAdam(decouple=True) | DAdaptSGD | DAdaptLion
torchao.optim torchao: _AdamW | AdamW8bit | AdamW4bit | AdamWFp8
transformers.optimization transformers: Adafactor(relative_step=False, scale_parameter=False)
bitsandbytes.optim bitsandbytes: SGD32bit(momentum=0.9) | Adam32bit | AdamW32bit | Lion32bit
heavyball heavyball: SGD | AdamW | AdamC | LaProp | SFAdamW | Muon
"""


def libraries() -> list[str]:
    """Return the distributions that the table knows, in its order."""
    return list(dict.fromkeys(line.partition(":")[0].split()[1] for line in LISTED.strip().splitlines()))


def listed(distribution: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (label, path, options) of a library's optimizers."""
    for line in LISTED.strip().splitlines():
        source, _, labels = line.partition(": ")
        module, home = source.split()
        for label in labels.split(" | ") if home == distribution else ():
            name, _, arguments = label.partition("(")
            pairs = (pair.split("=") for pair in arguments.rstrip(")").split(", ") if pair)
            yield label, f"{module}:{name}", {key: ast.literal_eval(value) for key, value in pairs}


def row(path: str, options: dict[str, Any]) -> Measured | MeasureError:
    """Measure one optimizer; one that cannot be measured must not hide the others."""
    try:
        return measure(path, **options)
    except MeasureError as error:
        return error


def table(chosen: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a Markdown table, as they are measured. Libraries that are not installed are said to be so."""
    yield f"| library | {' | '.join(HEADINGS)} |"
    yield "|---" * (len(HEADINGS) + 1) + "|"
    absent = []
    for distribution in chosen:
        try:
            version = importlib.metadata.version(distribution)
            importlib.import_module(next(listed(distribution))[1].partition(":")[0])
        except (ImportError, RuntimeError, OSError):  # not installed, or not for this machine
            absent.append(distribution)
            continue
        first = f"{distribution} {version}"
        for label, path, options in listed(distribution):
            yield line_of(first, label, row(path, options))
            first = ""
    if absent:
        yield f"\nNot installed here: {', '.join(absent)}."


def line_of(library: str, label: str, answer: Measured | MeasureError) -> str:
    """Return one line of the table."""
    cells = answer.row() if isinstance(answer, Measured) else ("", "not measured", *[""] * 7, str(answer))
    return f"| {' | '.join([library, f'`{label}`', *cells[1:]])} |".replace("|  |", "| |")
