"""Networks for texts: the LSTM and the transformer are their formulas, and a state or a mask carries what it must."""

import pytest
import torch
from networks import FEW, WORDS, tokens
from torch.nn.functional import cross_entropy, linear

from weightdecay.lab import models
from weightdecay.lab.run import options
from weightdecay.lab.training.train import lstm_in_bfloat16

THIN = options(embedding=5, hidden=7)


# ---------------------------------------------------------------- the recurrent network


def naive_lstm(model, words, h, c):
    """One word after the other, gate by gate."""
    logits = []
    h, c = list(h), list(c)
    for word in words:
        x = model.embedding.weight[word]
        for i, layer in enumerate(model.layers):
            gates = x @ layer.weight_ih_l0.T + layer.bias_ih_l0 + h[i] @ layer.weight_hh_l0.T + layer.bias_hh_l0
            enter, forget, new, out = gates.chunk(4, -1)
            c[i] = forget.sigmoid() * c[i] + enter.sigmoid() * new.tanh()
            h[i] = x = out.sigmoid() * c[i].tanh()
        logits.append(linear(x, model.decoder.weight, model.decoder.bias))
    return torch.stack(logits), (torch.stack(h), torch.stack(c))


@pytest.mark.parametrize("layers", [1, 2, 3])
@torch.no_grad()
def test_the_lstm_is_its_formula(layers):
    model = models.build("lstm", FEW, 0, (*THIN, ("layers", layers))).double().eval()
    words, zeros = tokens(FEW, 6, 3), torch.zeros(layers, 3, 7, dtype=torch.float64)
    logits, (h, c) = model(words, None)
    expected, (expected_h, expected_c) = naive_lstm(model, words, zeros, zeros)
    assert logits.shape == (6, 3, FEW.classes)
    assert h.shape == c.shape == (layers, 3, 7)
    for ours, theirs in ((logits, expected), (h, expected_h), (c, expected_c)):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("cut", [1, 5, 9])
@torch.no_grad()
def test_a_text_read_in_two_parts_is_the_text_read_in_one(cut):
    """The state carries everything: logits of both parts, and the state after them."""
    model = models.build("lstm", FEW, 0, THIN).double().eval()
    words = tokens(FEW, 10, 3)
    whole, after = model(words, None)
    first, carried = model(words[:cut], None)
    second, end = model(words[cut:], carried)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-13, atol=1e-14)
    for one, two in zip(end, after, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-13, atol=1e-14)


def test_dropout_of_the_lstm_follows_from_the_generator_and_stops_in_eval():
    model, words = models.build("lstm", FEW, 0, THIN).double(), tokens(FEW, 10, 3)

    def outputs(seed):
        torch.manual_seed(seed)
        return model(words, None)[0]

    assert outputs(0).equal(outputs(0))
    assert not outputs(0).equal(outputs(1))
    model.eval()
    assert outputs(0).equal(outputs(1))
    still = models.build("lstm", FEW, 0, (*THIN, ("dropout", 0.0))).double()
    torch.testing.assert_close(still(words, None)[0], outputs(0), rtol=1e-13, atol=1e-14)


def test_the_lstm_begins_as_the_example_it_follows():
    """Embedding and output uniform in ±0.1, no output bias; the layers in ±1/√hidden."""
    model = models.build("lstm", WORDS, 0)
    for weight in (model.embedding.weight, model.decoder.weight):
        assert 0.0999 < weight.abs().max() <= 0.1
        assert abs(weight.std().item() - 0.2 / 12**0.5) < 1e-4
    assert model.decoder.bias.eq(0).all()
    for layer in model.layers:
        assert all(0.98 * 512**-0.5 < p.abs().max() <= 512**-0.5 for p in layer.parameters())


@pytest.mark.skipif(not lstm_in_bfloat16(), reason="torch computes no LSTM in bfloat16 on this CPU")
def test_the_lstm_trains_under_autocast_with_carried_state():
    model, words = models.build("lstm", FEW, 0, THIN), tokens(FEW, 8, 3)
    carried = None
    for part in words.split(4):
        with torch.autocast("cpu", torch.bfloat16):
            logits, carried = model(part, carried)
            loss = cross_entropy(logits.flatten(0, 1), part.flatten())
        loss.backward()
        carried = tuple(state.detach() for state in carried)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.slow
@torch.no_grad()
def test_the_lstm_compiles_in_place():
    model, words = models.build("lstm", FEW, 0, THIN).double().eval(), tokens(FEW, 6, 3)
    expected, state = model(words, None)
    model.compile()
    logits, carried = model(words, None)
    torch.testing.assert_close(logits, expected, rtol=1e-12, atol=1e-14)
    again, _ = model(words, carried)
    torch.testing.assert_close(again, models.build("lstm", FEW, 0, THIN).double().eval()(words, state)[0])


# ---------------------------------------------------------------- the transformer


def test_the_transformer_sees_no_word_that_comes_later():
    model = models.build("transformer", FEW, 0, options(embedding=8, heads=2, layers=2)).double().eval()
    words = tokens(FEW, 6, 3)
    changed = words.clone()
    changed[4] = (changed[4] + 1) % FEW.classes
    before, after = model(words)[0], model(changed)[0]
    torch.testing.assert_close(before[:4], after[:4], rtol=1e-12, atol=1e-14)
    assert (before[4:] - after[4:]).abs().amax(dim=(1, 2)).min() > 1e-6


def test_the_transformer_attends_as_its_formula_says():
    """One block, one head, written out: softmax over the tokens before of q·k/√d, and the two residual sums."""
    model = models.build("transformer", FEW, 1, options(embedding=4, heads=1, layers=1)).double().eval()
    words = tokens(FEW, 5, 1)
    x = model.embedding.weight[words[:, 0]] + model.position.weight[:5]
    block = model.blocks[0]
    q, k, v = block.attention(block.norms[0](x)).split(4, dim=1)
    rows = [torch.softmax(q[t] @ k[: t + 1].t() / 2, 0) @ v[: t + 1] for t in range(5)]
    x = x + block.projection(torch.stack(rows))
    x = x + block.outer(torch.nn.functional.gelu(block.inner(block.norms[1](x))))
    torch.testing.assert_close(model(words)[0][:, 0], model.decoder(model.norm(x)), rtol=1e-10, atol=1e-12)
