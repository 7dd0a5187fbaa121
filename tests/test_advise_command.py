"""``weightdecay advise`` as it is typed: the table, the JSON and the mistakes."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys

import pytest

from weightdecay.lab.cli import main
from weightdecay.lab.cli.advise import AdviseSettings
from weightdecay.transfer import Setting, Wanted, advise

ADAMW = Setting("adamw", lr=1e-3, weight_decay=0.1, batch_size=128, epochs=90, samples=1_281_167)
ROWS = "--optimizer adamw --lr 1e-3 --weight-decay 0.1 --batch-size 128 --epochs 90 --samples 50000"

COMMAND = (
    "advise --optimizer AdamW --lr 1e-3 --weight-decay 0.1 --batch-size 128 --epochs 90 --samples 1281167 "
    "--new-batch-size 1024"
)


def test_the_command_prints_a_short_table(capsys):
    assert main(COMMAND.split()) == 0
    out = capsys.readouterr().out
    assert "λ 0.1 → batch 128 → 1024" in out
    assert "0.27  0.8  2.4" in out
    assert "pull × steps 90.1 → 90.1" in out
    assert "β 0.2 0.992" in out
    assert "≠  batch × k" in out
    assert "arXiv:2205.10287" in out


@pytest.mark.parametrize("example", AdviseSettings.examples)
def test_the_examples_of_its_help_run(example, capsys):
    program, *words = shlex.split(example)
    assert (program, main(words)) == ("weightdecay", 0)
    assert "sources: " in capsys.readouterr().out


def test_json_holds_what_the_table_shows(capsys):
    assert main([*COMMAND.split(), "--json"]) == 0
    read = json.loads(capsys.readouterr().out)
    advice = advise(ADAMW, Wanted(batch_size=1024))
    assert [(r["rule"], r["lr"], r["weight_decay"]) for r in read["recommendations"]] == [
        (r.name, r.lr, r.weight_decay) for r in advice.recommendations
    ]
    assert read["old"]["optimizer"] == "adamw"
    assert read["new"]["batch_size"] == 1024
    assert not {"lr", "weight_decay", "betas", "eps"} & set(read["new"])  # those are the rules' to say
    assert read["width"] == 1
    assert all(r["kept"][0]["before"] == pytest.approx(r["kept"][0]["after"]) for r in read["recommendations"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--lr 1e-3 --weight-decay 0.1", "--optimizer is missing"),
        ("--optimizer adamw --lr 1e-3", "--weight-decay is missing"),
        ("--optimizer adamw --lr 1e-3 --weight-decay 0.1 --new-batch-size 256", "--batch-size is missing"),
        ("--optimizer sgd --lr 0.1 --weight-decay 0.1 --new-optimizer sgdw", "--momentum is missing"),
        ("--optimizer adamw --lr 1e-3 --weight-decay 0.1 --new-optimizer sgdw", "--new-momentum is missing"),
        ("--optimizer adamw --lr 1e-3 --weight-decay 0.1 --new-optimizer=", "no optimizer is called ''"),
        ("--optimizer adamw --lr 1e-3 --weight-decay 0.1 --new-decay elementwise", "decay 'elementwise' shrinks every"),
        ("--optimizer adamw --lr 1e-3 --weight-decay 0.1", "nothing changes: give at least one of --new-batch-size"),
        ("--optimizer adamw --lr -1 --weight-decay 0.1 --new-decay stable", "--lr -1: "),
        (f"{ROWS} --new-batch-size 0", "--new-batch-size 0: "),
        (f"{ROWS} --new-batch-size 100000", "--new-batch-size 100000 exceeds --samples 50000"),
        (f"{ROWS} --new-samples 100", "--batch-size 128 exceeds --new-samples 100"),
        (f"{ROWS} --new-epochs -3", "--new-epochs -3: "),
        (f"{ROWS} --new-momentum 1.5", "--new-momentum 1.5 is outside"),
        (f"{ROWS} --new-lr -1", "--new-lr -1: "),
        (f"{ROWS} --new-epochs 1e-310", "--new-epochs 1e-310 of --samples 50000 are less than a step"),
        (
            "--optimizer adamw --lr 1e300 --weight-decay 1e300 --new-optimizer lion --json",
            "--weight-decay 1e+300: a step",
        ),
        (
            "--optimizer sgd --momentum 0.9 --dampening -inf --lr 1 --weight-decay 1 --json",
            "--dampening -inf is outside",
        ),
        ("--optimizer radam --mean-square 1 --lr 1 --weight-decay 1", "--mean-square 1: the gain of radam"),
        ("--optimizer radam --mean-square 1 --lr 1 --weight-decay 1", "Give its --gain, effective_lr/lr."),
        ("--optimizer sgd --momentum 0.9 --gain 2 --lr 1 --weight-decay 1", "--gain 2: the gain of sgd"),
        (
            "--optimizer adams --mean-square 1e-6 --gain 1000 --lr 1 --weight-decay 1",
            "--mean-square 1e-06 beside --gain: either is enough. Pass only one.",
        ),
        ("--optimizer adams --gain -3 --lr 1 --weight-decay 1", "--gain -3: the rules multiply and divide by it."),
        ("--optimizer adamw --betas 0.9 1.5 --lr 1 --weight-decay 1", "--betas 1.5 is outside [0, 1)"),
        ("--optimizer adamw --betas -0.5 0.9 --lr 1 --weight-decay 1", "--betas -0.5 is outside [0, 1)"),
        (f"{ROWS} --width-factor 0", "--width-factor 0: "),
        ("--optimizer adamw --lr 1e-3 --weight-decay 0.1 --new-bach-size 256", "Did you mean --new-batch-size"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_flag(words, message, capsys):
    assert main(["advise", *words.split()]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not captured.out


def test_advice_needs_no_torch():
    code = (
        "import sys\nfrom weightdecay.lab.cli import main\n"
        f"assert main({COMMAND.split()!r}) == 0\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, capture_output=True)


@pytest.mark.parametrize(
    ("batch", "betas"),
    [
        (8, "β 0.99375 0.9999375"),
        (1280, "β 0 0.99"),
        (64, "β 0.95 0.9995"),
        (100, "β 0.9219 0.999219 "),  # 1 − β is 0.078125 and 0.00078125
        (900, "β 0.297 0.99297 "),  # 0.703125 and 0.00703125
    ],
)
def test_a_beta_is_printed_to_three_digits_of_what_it_lacks(batch, betas, capsys):
    assert main(["advise", *ROWS.split(), "--new-batch-size", str(batch)]) == 0
    assert betas in capsys.readouterr().out


def test_names_are_taken_in_any_case_and_sources_stand_once(capsys):
    words = "--optimizer ADAMW --decay DECOUPLED --lr 1e-3 --weight-decay 0.1 --new-optimizer AmsGradW --width-factor 2"
    assert main(["advise", *words.split()]) == 0
    (sources,) = capsys.readouterr().out.replace("\n", " ").split("sources: ")[1:]
    cited = [word.strip(",;") for word in sources.split() if "2405.13698" in word]
    assert cited == ["arXiv:2405.13698"]
