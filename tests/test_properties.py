"""What holds for every layer and every net, tried on random ones."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope.engine import Draw, fast
from convscope.errors import ConvscopeError
from convscope.layers import Layer
from convscope.layers._base import Problem
from convscope.net import Net

sys.path.insert(0, str(Path(__file__).parent))
from strategies import composites, nets, plain, shapes

pytestmark = pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
quick = settings(max_examples=150, deadline=None)


@quick
@given(plain, shapes)
def test_a_layer_infers_the_shape_and_the_parameters_that_torch_has(
    layer: Layer, shape: tuple[int, int, int]
) -> None:
    try:
        inferred = layer.output_shape(shape)
    except Problem:
        return
    module = layer.module(shape).eval()
    assert tuple(module(torch.zeros(2, *shape)).shape) == (2, *inferred)
    assert sum(p.numel() for p in module.parameters()) == layer.parameters(shape)


@quick
@given(nets())
def test_a_net_infers_every_shape_and_count_that_torch_has(drawn: tuple[Net, tuple[int, int, int]]) -> None:
    net, shape = drawn
    network, inference = net.build(shape).eval(), net.infer(shape)
    outputs = network.activations(torch.zeros(2, *shape), [step.name for step in inference.steps])
    assert [tuple(outputs[s.name].shape[1:]) for s in inference.steps] == [
        s.output_shape for s in inference.steps
    ]
    total = inference.parameters + inference.parameters_training_only
    assert sum(p.numel() for p in network.parameters()) == total


@quick
@given(nets())
def test_text_of_a_net_is_read_back_as_the_same_net(drawn: tuple[Net, tuple[int, int, int]]) -> None:
    net, _ = drawn
    assert Net.parse(str(net)) == net
    assert str(Net.parse(str(net))) == str(net)
    assert Net.parse(net.to_text()) == net
    assert hash(Net.parse(str(net))) == hash(net)


@quick
@given(st.one_of(plain, composites))
def test_a_layer_is_its_own_text(layer: Layer) -> None:
    assert Net.parse(str(layer)).layers == (layer,)


@settings(max_examples=80, deadline=None)
@given(nets(), st.booleans())
def test_the_fast_form_equals_the_reference(drawn: tuple[Net, tuple[int, int, int]], training: bool) -> None:
    net, shape = drawn
    torch.manual_seed(0)
    # In float64: a norm over few numbers that lie close together blows a last bit up three hundred times.
    reference = net.build(shape).double().train(training)
    copy = net.build(shape).double().train(training)
    copy.load_state_dict(reference.state_dict())
    quick_form = fast(copy)
    assert [id(p) for p in quick_form.parameters()] == [id(p) for p in copy.parameters()]
    images = torch.rand(3, *shape, dtype=torch.float64)
    for form in (reference, quick_form):
        form.set_draw(Draw(seed=1, step=2, sample_index=torch.tensor([7, 0, 3])))
    try:
        expected, expected_aux = reference.training_forward(images)
    except ValueError as error:  # torch's batch norm refuses to train on one number a map
        assert "more than 1 value per channel" in str(error)
        return
    scores, side = quick_form.training_forward(images)
    assert torch.allclose(scores, expected, rtol=1e-7, atol=1e-8)
    assert len(side) == len(expected_aux)
    for (weight, one), (expected_weight, other) in zip(side, expected_aux, strict=True):
        assert weight == expected_weight
        assert torch.allclose(one, other, rtol=1e-7, atol=1e-8)
    assert _gradients_agree(reference, expected, copy, scores)


def _gradients_agree(
    reference: torch.nn.Module, expected: torch.Tensor, copy: torch.nn.Module, scores: torch.Tensor
) -> bool:
    parameters = list(reference.parameters())
    if not parameters or not expected.requires_grad:
        return True
    direction = torch.rand_like(expected)
    ours = torch.autograd.grad((scores * direction).sum(), list(copy.parameters()), allow_unused=True)
    theirs = torch.autograd.grad((expected * direction).sum(), parameters, allow_unused=True)
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a is not None or b is not None]
    largest = max((b.abs().max().item() for _, b in pairs), default=1.0)
    return all(torch.allclose(a, b, rtol=1e-6, atol=1e-7 * max(1.0, largest)) for a, b in pairs)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="()[],= \n#'\"-.0123456789abcdefnrsuvlop", max_size=60))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    try:
        Net.parse(text)
    except ConvscopeError as error:
        assert str(error)
