"""How a gradient becomes a direction: the papers' boxes, each with every decay."""

from weightdecay.optim.adabound import AdaBound
from weightdecay.optim.adai import Adai
from weightdecay.optim.adam import Adam, AMSGrad
from weightdecay.optim.base import Optimizer
from weightdecay.optim.lion import Lion
from weightdecay.optim.muon import Muon
from weightdecay.optim.muon_adamw import MuonAdamW
from weightdecay.optim.nadam import NAdam
from weightdecay.optim.options import Options
from weightdecay.optim.padam import Padam
from weightdecay.optim.radam import RAdam
from weightdecay.optim.sgd import SGD, HeavyBall, TensorFlowSGD
from weightdecay.optim.yogi import Yogi

__all__ = [
    "SGD",
    "AMSGrad",
    "AdaBound",
    "Adai",
    "Adam",
    "HeavyBall",
    "Lion",
    "Muon",
    "MuonAdamW",
    "NAdam",
    "Optimizer",
    "Options",
    "Padam",
    "RAdam",
    "TensorFlowSGD",
    "Yogi",
]
