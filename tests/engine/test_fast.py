"""The fast form shares the reference's parameters and computes the same; random nets are in test_properties."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from convscope import nets
from convscope.engine import Draw, Plan, fast
from convscope.engine.arithmetic import arithmetic_of
from convscope.engine.fast import _pool_first
from convscope.engine.graphs import Recorded
from convscope.layers import flatten, lrn
from convscope.net import Net


def pair(net, shape):
    torch.manual_seed(0)
    reference, copy = net.build(shape), net.build(shape)
    copy.load_state_dict(reference.state_dict())
    return reference, fast(copy)


# One of each family. The lecture's own in float32; the rest in float64, where hundreds of layers cannot blow a last bit
# up to a difference.
FAMILIES = (
    "lecture", "linear", "mlp", "chapter_cifar_globalmax", "lenet5", "alexnet_small", "zfnet_small", "vgg11_small",
    "googlenet_small", "resnet18_small", "cifar_resnet20", "cifar_resnet20_b", "cifar_plain20",
)  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("training", [True, False])
def test_every_family_is_the_same_fast(name, training):
    entry = nets.get(name)
    dtype = torch.float32 if name in ("lecture", "linear", "mlp") else torch.float64
    reference, quick = (form.to(dtype) for form in pair(entry.net, entry.input_shape))
    images = torch.rand(3, *entry.input_shape, dtype=dtype)
    for form in (reference, quick):
        form.train(training)
        form.set_draw(Draw(0, 0, torch.arange(3)))
    expected, scores = reference(images), quick(images)
    exact = {"rtol": 1e-4, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-7, "atol": 1e-9}
    assert torch.allclose(scores, expected, **exact)
    direction = torch.rand_like(expected)
    named = [
        (key, value) for key, value in reference.named_parameters() if not _is_training_only(reference, key)
    ]
    theirs = torch.autograd.grad((expected * direction).sum(), [value for _, value in named])
    own = dict(quick.reference.named_parameters())
    ours = torch.autograd.grad((scores * direction).sum(), [own[key] for key, _ in named])
    for (key, _), one, other in zip(named, theirs, ours, strict=True):
        assert torch.allclose(other, one, rtol=exact["rtol"], atol=1e-5 * max(1.0, one.abs().max().item())), (
            key
        )


def _is_training_only(reference, key):
    owners = ["aux" in part for part in key.split(".")]
    return any(owners)


def test_parameters_are_the_very_same_and_names_stay():
    reference = nets.get("lecture").net.build((1, 28, 28))
    names = list(reference.state_dict())
    identities = [id(p) for p in reference.parameters()]
    quick = fast(reference)
    assert [id(p) for p in quick.parameters()] == identities
    assert quick.reference is reference
    assert list(reference.state_dict()) == names


def test_a_step_on_the_fast_form_moves_the_reference():
    reference = Net.parse("conv(2, 3), flatten, dense(classes)").build((1, 5, 5))
    before = reference.conv1.weight.detach().clone()
    quick = fast(reference)
    optimizer = torch.optim.SGD(quick.parameters(), lr=1.0)
    quick(torch.rand(2, 1, 5, 5)).sum().backward()
    optimizer.step()
    assert not torch.equal(reference.conv1.weight, before)


def test_modes_are_shared():
    reference = nets.get("lecture").net.build((1, 28, 28))
    quick = fast(reference)
    quick.eval()
    assert not reference.training
    quick.train()
    assert reference.dropout1.training


def test_relu_moves_behind_a_max_pool_and_nothing_else_moves():
    relu, pool, conv = nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(1, 1, 1)
    assert _pool_first([conv, relu, pool]) == [conv, pool, relu]
    assert _pool_first([relu, conv, pool]) == [relu, conv, pool]
    mean = nn.AvgPool2d(2)
    assert _pool_first([relu, mean]) == [relu, mean]


def test_relu_and_max_pool_commute_bit_for_bit_with_their_gradients():
    torch.manual_seed(0)
    # Whole numbers, so that ties, zeros and windows without a positive number all come.
    images = torch.randint(-3, 4, (8, 4, 12, 12)).float().requires_grad_()
    for pool in (nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(3, 2, ceil_mode=True)):
        one, other = pool(images.relu()), pool(images).relu()
        assert torch.equal(one, other)
        direction = torch.randn_like(one)
        (grad_one,) = torch.autograd.grad((one * direction).sum(), images)
        (grad_other,) = torch.autograd.grad((other * direction).sum(), images)
        assert torch.equal(grad_one, grad_other)


@pytest.mark.parametrize(
    "layer", [lrn(), lrn(size=4, alpha=0.3, beta=0.5, k=1.0), lrn(size=3, alpha=1.0, groups=2)]
)
def test_response_normalisation_as_a_convolution_is_the_same_with_its_gradients(layer):
    reference, quick = pair(Net(layer, flatten), (8, 5, 7))
    images = torch.randn(3, 8, 5, 7, requires_grad=True)
    one, other = reference(images), quick(images)
    assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)
    direction = torch.randn_like(one)
    (grad_one,) = torch.autograd.grad((one * direction).sum(), images)
    (grad_other,) = torch.autograd.grad((other * direction).sum(), images)
    assert torch.allclose(grad_one, grad_other, rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
def test_the_fast_form_on_a_gpu_gives_the_cpu_s_scores():
    entry = nets.get("lecture")
    reference, quick = pair(entry.net, entry.input_shape)
    images = torch.rand(16, 1, 28, 28)
    expected = reference.eval()(images)
    scores = quick.cuda().eval()(images.cuda()).cpu()
    assert torch.allclose(scores, expected, rtol=1e-2, atol=1e-3)  # the GPU may multiply in TF32


def recording(module, sample):
    """As `torch.cuda.make_graphed_callables`: runs a few times first, and then only takes tensors of these shapes."""
    for _ in range(3):
        module(*sample)

    def replay(*given):
        assert [each.shape for each in given] == [each.shape for each in sample]
        return module(*given)

    return replay


@pytest.mark.parametrize("name", ["lecture", "googlenet_small", "cifar_resnet20"])
def test_recorded_steps_are_the_same_as_unrecorded_ones(name):
    entry = nets.get(name)
    one, other = pair(entry.net, entry.input_shape)
    one, other = fast(one).train(), other.train()
    assert isinstance(other._train, type(one._train))  # both unrecorded so far
    other._train = Recorded(other.reference, other._every_output, recording)
    for step, size in enumerate((4, 4, 2)):  # the last batch of an epoch is smaller
        images = torch.rand(size, *entry.input_shape)
        outputs = []
        for form in (one, other):
            form.set_draw(Draw(0, step, torch.arange(size) + 10 * step))
            scores, extra = form.training_forward(images)
            form.zero_grad()
            sum([scores.sum(), *(weight * more.sum() for weight, more in extra)]).backward()
            outputs.append([scores, *(more for _, more in extra), *(p.grad for p in form.parameters())])
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(*outputs, strict=True))
    for mine, theirs in zip(one.buffers(), other.buffers(), strict=True):
        assert torch.equal(mine, theirs)  # what the recording left in the norms was taken back


def test_weights_that_begin_to_learn_are_not_replayed():
    quick = fast(Net.parse("conv(2, 3), flatten, dense(classes)").build((1, 5, 5))).train()
    quick._train = Recorded(quick.reference, quick._every_output, recording)
    quick.reference.conv1.requires_grad_(False)
    images = torch.rand(2, 1, 5, 5)
    quick.training_forward(images)[0].sum().backward()
    quick.reference.conv1.requires_grad_(True)
    quick.training_forward(images)[0].sum().backward()
    assert quick._train.recorded == (images.shape, [False, False, True, True])
    assert quick.reference.conv1.weight.grad is not None


def test_only_a_gpu_plan_records():
    plan = Plan("cpu", "float32", 1, "channels_last", True, 128, "a test")
    assert not arithmetic_of(plan).recorded
    assert arithmetic_of(replace(plan, device="cuda")).recorded
    assert not arithmetic_of(replace(plan, device="cuda", compiled=False)).recorded


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_recorded_steps_on_a_gpu(precision):
    plan = Plan("cuda", precision, 1, "channels_last", True, 500, "a test")
    entry = nets.get("lecture")
    one, other = (pair(entry.net, entry.input_shape)[0].cuda() for _ in range(2))
    plain, recorded = fast(one, replace(plan, compiled=False)).train(), fast(other, plan).train()
    for step in range(4):
        images = torch.rand(16, 1, 28, 28, device="cuda")
        for form in (plain, recorded):
            form.set_draw(Draw(0, step, torch.arange(16, device="cuda")))
            form.zero_grad()
            form.training_forward(images)[0].square().sum().backward()
        for mine, theirs in zip(plain.parameters(), recorded.parameters(), strict=True):
            assert torch.allclose(mine.grad, theirs.grad, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_first_convolution_takes_images_as_they_are(frozen):
    """As one that whitens: it makes large what neighbouring pixels differ in, and what rounding adds."""
    reference = Net.parse("conv(2, (1, 2), bias=False), globalpool").build((1, 8, 8), 2)
    convolution = next(part for part in reference.modules() if isinstance(part, torch.nn.Conv2d))
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor([[[[-50.0, 50.0]]], [[[50.0, -50.0]]]]))
    convolution.weight.requires_grad_(not frozen)
    images = 1.0 + 0.02 * torch.rand(4, 1, 8, 8).cumsum(3)
    form = fast(reference, Plan("cpu", "bfloat16", 1, "channels_last", False, 128, "a test"))
    error = (form(images) - reference(images)).abs().max() / reference(images).abs().max()
    assert (error < 0.01) == frozen


def test_scores_of_a_last_dense_layer_are_not_rounded():
    reference = Net.parse("flatten, dense(classes)").build((1, 8, 8), 10)
    images = torch.rand(4, 1, 8, 8).bfloat16().float()
    form = fast(reference, Plan("cpu", "bfloat16", 1, "channels_last", False, 128, "a test"))
    assert torch.allclose(form(images), reference(images), rtol=1e-5, atol=1e-6)
    assert not torch.equal(form(images), form(images).bfloat16().float())


def test_in_float32_a_frozen_first_convolution_runs_as_any_other():
    """Its relu stays in its pass: only rounding is a reason to take it out."""
    plan, text = (
        Plan("cpu", "float32", 1, "channels_last", True, 128, "a test"),
        "conv(32, 3), relu, globalpool",
    )
    graphs = []
    for frozen in (False, True):
        form = fast(Net.parse(text).build((1, 8, 8), 32), plan)
        next(form.parameters()).requires_grad_(not frozen)
        form = fast(form.reference, plan)
        scores = form(torch.rand(2, 1, 8, 8))
        node, names = scores.grad_fn, []
        while node is not None:
            names.append(type(node).__name__)
            node = next((before for before, _ in node.next_functions if before is not None), None)
        graphs.append([name for name in names if name != "AccumulateGrad"])
    assert graphs[0] == graphs[1]
