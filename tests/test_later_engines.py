"""The later decays side by side in one optimizer: compiled in one graph, in 16 bits, and the constraints as complex."""

import pytest
import torch

import weightdecay as wd

pytestmark = pytest.mark.filterwarnings("ignore:.*of every weight of group")

ANY = (
    *(wd.Corrected(), wd.LogTime(horizon=7), wd.Cautious(), wd.Cautious(wd.Toward(1.0, wd.Stable()))),
    *(wd.Toward("start"), wd.Toward("start", keep="int8"), wd.TouchedRows(), wd.NormTarget(0.5)),
    wd.Elementwise(max_rms=0.5),
)
OF_MATRICES = (wd.Hyperball(), wd.RadialBrake(0.5, 0.25))
ALL_PORTS = wd.Cautious(wd.TouchedRows(wd.NormTarget(0.5, wd.Toward("start", wd.Corrected(), keep="bfloat16"))))
"""Weight, update, gradient, norms and anchor in one decay: compiling each of the others takes many seconds."""
SHAPES = {**dict.fromkeys(ANY, ((3, 4), (5,))), **dict.fromkeys(OF_MATRICES, ((3, 4), (2, 2, 2)))}
STEPS = 6


def walk(engine, dtype, shapes_of=SHAPES, kind=wd.Adam, **options):
    """Every decay is a group of its own; rows without a gradient, and a schedule with a drop."""
    draw = torch.Generator().manual_seed(3)

    def random(shape):
        return torch.randn(shape, generator=draw, dtype=torch.float64)

    groups = [
        {"params": [torch.nn.Parameter(random(shape).to(dtype)) for shape in shapes], "decay": decay}
        for decay, shapes in shapes_of.items()
    ]
    before = [p.detach().double().clone() for group in groups for p in group["params"]]
    optimizer = kind(groups, lr=1e-2, weight_decay=1.0, engine=engine, **options)
    for t in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 if t < 4 else 1e-3
            for p in group["params"]:
                grad = random(p.shape)
                grad[t % 2] = 0
                p.grad = grad.to(dtype)
        optimizer.step()
    after = [p.detach().double() for group in optimizer.param_groups for p in group["params"]]
    return after, [(b - a).abs().max().item() for a, b in zip(after, before, strict=True)]


IN_ONE_GRAPH = (ALL_PORTS, *OF_MATRICES, wd.Elementwise(max_rms=0.5), wd.Toward("start", keep="int8"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "decays", "dtype", "tolerance"),
    [
        (wd.Adam, IN_ONE_GRAPH, torch.float64, 1e-12),
        (wd.Adam, (ALL_PORTS, wd.Hyperball()), torch.bfloat16, 1e-2),
        (wd.NAdam, (wd.Cautious(wd.Corrected()),), torch.float64, 1e-12),
        (wd.Lion, (wd.Cautious(wd.Corrected()),), torch.float64, 1e-12),
    ],
    ids=["all decays", "bf16", "NAdam", "Lion"],
)
def test_compiled_walks_the_path_of_the_reference(kind, decays, dtype, tolerance):
    """One matrix of each decay, in one graph for all: compiling each by itself takes many seconds."""
    shapes, options = dict.fromkeys(decays, ((3, 4),)), {"rounding": "compensated"} if dtype.itemsize < 4 else {}
    ours, moved = walk("compiled", dtype, shapes, kind, **options)
    theirs, _ = walk("reference", dtype, shapes, kind, **options)
    assert min(moved) > 1e-2
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max() <= tolerance * b.abs().max()


@pytest.mark.parametrize("rounding", ["stochastic", "compensated"])
def test_sixteen_bits_round_as_the_reference_does(rounding):
    """Of one noise: nearly all bits are equal, and where float32 sums fall on the other side, a spacing apart."""
    ours, _ = walk("foreach", torch.bfloat16, rounding=rounding)
    theirs, _ = walk("reference", torch.bfloat16, rounding=rounding)
    a, b = torch.cat([x.flatten() for x in ours]), torch.cat([x.flatten() for x in theirs])
    assert (a == b).double().mean() > 0.9
    assert ((a - b).abs() <= 2.0**-6 * b.abs().clamp(min=1e-2)).all()


@pytest.mark.parametrize("decay", OF_MATRICES, ids=repr)
@pytest.mark.parametrize("engine", ["reference", "foreach"])
def test_constraints_of_complex_matrices_are_those_of_pairs(decay, engine):
    """The norm of a complex matrix is that of its real and imaginary parts together."""
    pairs = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    paths = []
    for real in (True, False):
        p = torch.nn.Parameter(pairs.clone() if real else torch.view_as_complex(pairs.clone()))
        optimizer = wd.Adam([p], lr=0.1, weight_decay=1.0, decay=decay, engine=engine)
        draw = torch.Generator().manual_seed(1)
        for _ in range(5):
            grad = torch.randn(3, 4, 2, generator=draw, dtype=torch.float64)
            p.grad = grad if real else torch.view_as_complex(grad)
            optimizer.step()
        paths.append(p.detach() if real else torch.view_as_real(p.detach()))
    assert (paths[0] - pairs).abs().max() > 0.1
    assert (paths[0] - paths[1]).abs().max() <= 1e-14
