"""The compiled kernels against torch's own operations, in float32 and bfloat16, forward and backward."""

from __future__ import annotations

import copy
import ctypes
import threading
import time
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from convscope import compiling, nets
from convscope.engine import Draw, Plan, fast, fast_optimizer
from convscope.engine.kernels import library, operations
from convscope.engine.kernels.operations import Convolving, Drop, Kernels, Pooling
from convscope.engine.windows import pooled_size
from convscope.net import Net

KERNELED = Plan("cpu", "float32", 2, "channels_last", True, 128, "a test")
NUMBERS = (torch.float32, torch.bfloat16)


@pytest.fixture(scope="module")
def kernels():
    built = library.load()
    if built.library is None:
        pytest.skip(f"no kernels here: {built.reason}")
    return Kernels(built.library)


def maps(*shape, dtype=torch.float32, whole=False):
    """Maps pixel by pixel; whole numbers bring ties, zeros and windows without a positive number."""
    numbers = torch.randint(-3, 4, shape).float() if whole else torch.randn(shape)
    return numbers.to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()


def gradients(out, given, direction):
    return torch.autograd.grad((out.float() * direction).sum(), given)


def close(ours, theirs, dtype, scale=1.0):
    """Equal up to the order of additions; in bfloat16 up to the rounding of what is written."""
    room = 2e-5 if dtype == torch.float32 else 1.6e-2
    return torch.allclose(ours.float(), theirs.float(), rtol=room, atol=room * scale)


POOLS = (
    ((2, 2), (2, 2), (0, 0)),
    ((3, 3), (2, 2), (1, 1)),
    ((3, 2), (1, 2), (1, 0)),
    ((2, 2), (3, 3), (0, 0)),
)


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(("size", "stride", "padding"), POOLS)
@pytest.mark.parametrize("channels", [1, 5, 64, 70])
def test_pool_is_torchs_bit_for_bit_with_its_gradient(kernels, dtype, relu, size, stride, padding, channels):
    images = maps(3, channels, 9, 11, dtype=dtype, whole=True)
    theirs = functional.max_pool2d(images, size, stride, padding)
    theirs = theirs.relu() if relu else theirs
    ours = operations.pool(
        images, Pooling(size, stride, padding, tuple(theirs.shape[2:])), relu, None, kernels
    )
    assert torch.equal(ours, theirs)
    direction = torch.randint(-3, 4, theirs.shape).float()
    assert torch.equal(gradients(ours, images, direction)[0], gradients(theirs, images, direction)[0])


@settings(deadline=None, max_examples=200)
@given(
    size=st.integers(4, 20),
    window=st.integers(1, 4),
    stride=st.integers(1, 5),
    data=st.data(),
    ceil=st.booleans(),
)
def test_the_number_of_windows_is_torchs(size, window, stride, data, ceil):
    padding = data.draw(st.integers(0, window // 2))
    module = torch.nn.MaxPool2d(window, stride, padding, ceil_mode=ceil)
    images = torch.zeros(1, 1, size, size + 3)
    assert pooled_size(module, images) == tuple(module(images).shape[2:])


def test_pool_lets_what_is_no_number_through(kernels):
    images = maps(1, 3, 4, 4)
    with torch.no_grad():
        images[0, 1, 1, 1] = float("nan")
    ours = operations.pool(images, Pooling((2, 2), (2, 2), (0, 0), (2, 2)), True, None, kernels)
    assert torch.isnan(ours).sum() == 1
    assert torch.isnan(ours[0, 1, 0, 0])


@pytest.mark.parametrize("rate", [0.25, 0.3, 0.5])
@pytest.mark.parametrize("shape", [(4, 6, 5, 7), (4, 131)])
@pytest.mark.parametrize("dtype", NUMBERS)
def test_dropout_drops_what_the_reference_drops(kernels, rate, shape, dtype):
    draw = Draw(3, 5, torch.tensor([7, 0, 2**31 - 1, 9]))
    numbers = maps(*shape, dtype=dtype) if len(shape) == 4 else torch.randn(shape).to(dtype).requires_grad_()
    mask = draw.keep("dropout1", numbers, rate)
    drop = Drop(draw.rows("dropout1", torch.device("cpu")), rate)
    direction = torch.randn(shape).to(dtype).float()
    for relu in (False, True):
        ours = operations.relu_dropout(numbers, relu, drop, kernels)
        theirs = (numbers.relu() if relu else numbers) * mask
        assert close(ours, theirs, dtype)
        assert torch.equal(ours == 0, theirs == 0)
        assert close(gradients(ours, numbers, direction)[0], gradients(theirs, numbers, direction)[0], dtype)


def test_pool_and_dropout_in_one_pass(kernels):
    draw = Draw(0, 1, torch.arange(4))
    images = maps(4, 20, 6, 6)
    drop = Drop(draw.rows("d", torch.device("cpu")), 0.25)
    pooled = functional.max_pool2d(images, 2).relu()
    theirs = pooled * draw.keep("d", pooled, 0.25)
    ours = operations.pool(images, Pooling((2, 2), (2, 2), (0, 0), (3, 3)), True, drop, kernels)
    assert torch.equal(ours, theirs)
    direction = torch.randn(theirs.shape)
    assert close(
        gradients(ours, images, direction)[0], gradients(theirs, images, direction)[0], torch.float32
    )


def test_relu_alone_keeps_what_is_no_number(kernels):
    numbers = torch.tensor([[-1.0, 0.0, 2.0, float("nan")]])
    out = operations.relu_dropout(numbers, True, None, kernels)
    assert out[0, :3].tolist() == [0.0, 0.0, 2.0]
    assert torch.isnan(out[0, 3])


CONVOLUTIONS = (
    # channels, filters, window, stride, padding, dilation, groups
    (1, 32, (3, 3), (1, 1), (0, 0), (1, 1), 1),  # few input numbers, as the lecture's first
    (3, 64, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    (2, 32, (5, 4), (2, 3), (2, 1), (1, 1), 1),
    (3, 32, (1, 1), (1, 1), (0, 0), (1, 1), 1),
    (1, 32, (3, 3), (1, 1), (1, 1), (2, 2), 1),  # gaps: the library's
    (1, 24, (3, 3), (1, 1), (0, 0), (1, 1), 1),  # filters not in thirty-twos: the library's
    (8, 16, (3, 3), (2, 2), (1, 1), (1, 1), 1),
    (8, 16, (3, 2), (1, 1), (0, 0), (1, 1), 1),  # several pixels a block
    (8, 16, (3, 2), (1, 2), (0, 1), (2, 1), 4),
)


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("channels", "filters", "window", "stride", "padding", "dilation", "groups"), CONVOLUTIONS
)
def test_convolution_is_torchs(
    kernels, dtype, relu, bias, channels, filters, window, stride, padding, dilation, groups
):
    torch.manual_seed(0)
    images = maps(3, channels, 10, 13, dtype=dtype).detach()
    weight = torch.randn(filters, channels // groups, *window).to(dtype).float().requires_grad_()
    shift = torch.randn(filters).to(dtype).float().requires_grad_() if bias else None
    by = Convolving(stride, padding, dilation, groups)
    ours = operations.convolve(images, weight, shift, by, relu, kernels)
    theirs = functional.conv2d(images.float(), weight, shift, stride, padding, dilation, groups)
    theirs = theirs.relu() if relu else theirs
    assert ours.dtype == dtype
    assert close(ours, theirs, dtype, theirs.abs().max().item())
    direction = torch.randn(theirs.shape).to(dtype).float() * (theirs.detach() != 0)
    given = [weight, shift] if bias else [weight]
    for one, other in zip(
        gradients(ours, given, direction), gradients(theirs, given, direction), strict=True
    ):
        assert one.dtype == torch.float32
        assert close(one, other, dtype, other.abs().max().item())


@pytest.mark.parametrize("dtype", NUMBERS)
def test_convolution_hands_the_gradient_on_to_its_maps(kernels, dtype):
    images, weight = (
        maps(2, 1, 8, 8, dtype=dtype),
        torch.randn(32, 1, 3, 3).to(dtype).float().requires_grad_(),
    )
    by = Convolving((1, 1), (0, 0), (1, 1), 1)
    ours = operations.convolve(images, weight, None, by, True, kernels)
    theirs = functional.conv2d(images.float(), weight).relu()
    direction = torch.randn(theirs.shape)
    (one,), (other,) = gradients(ours, [images], direction), gradients(theirs, [images], direction)
    assert close(one, other, dtype, other.abs().max().item())


def test_the_first_convolution_runs_in_our_own_kernel(kernels):
    by, images = Convolving((1, 1), (0, 0), (1, 1), 1), torch.rand(2, 1, 28, 28)
    assert operations.is_few(images, torch.rand(32, 1, 3, 3), by)
    assert not operations.is_few(images, torch.rand(24, 1, 3, 3), by)
    assert not operations.is_few(torch.rand(2, 32, 28, 28), torch.rand(64, 32, 3, 3), by)
    assert not operations.is_few(torch.rand(1, 1, 4, 5000), torch.rand(32, 1, 3, 3), by)


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("with_shortcut", [True, False])
@pytest.mark.parametrize("channels", [3, 16, 64, 70])
def test_norm_shortcut_and_relu_are_torchs(kernels, dtype, relu, with_shortcut, channels):
    torch.manual_seed(1)
    with torch.no_grad():
        images = maps(4, channels, 6, 8, dtype=dtype) * 3 + 100  # a large mean must not eat the variance
    images.requires_grad_()
    shortcut = maps(4, channels, 6, 8, dtype=dtype) if with_shortcut else None
    weight, bias = torch.rand(channels).requires_grad_(), torch.rand(channels).requires_grad_()
    ours, mean, variance = operations.norm(images, weight, bias, shortcut, 1e-5, relu, kernels)
    wide = images.double()
    theirs = functional.batch_norm(wide, None, None, weight.double(), bias.double(), True, 0.1, 1e-5)
    theirs = theirs + shortcut.double() if with_shortcut else theirs
    theirs = theirs.relu() if relu else theirs
    assert torch.allclose(mean.double(), wide.mean((0, 2, 3)), rtol=1e-5)
    assert torch.allclose(variance.double(), wide.var((0, 2, 3), correction=0), rtol=1e-4)
    assert close(ours, theirs, dtype, 4.0)
    direction = torch.randn(theirs.shape) * (ours.detach().float() != 0) * (theirs.detach() != 0)
    given = [images, weight, bias] + ([shortcut] if with_shortcut else [])
    for one, other in zip(
        gradients(ours, given, direction), gradients(theirs, given, direction), strict=True
    ):
        assert close(
            one, other, torch.float32 if dtype == torch.float32 else dtype, 2 * other.abs().max().item()
        )


def test_flatten_is_torchs(kernels):
    for dtype in NUMBERS:
        images = maps(3, 35, 7, 5, dtype=dtype)
        ours, theirs = operations.flatten(images, kernels), images.flatten(1)
        assert torch.equal(ours, theirs)
        direction = torch.randn(theirs.shape)
        assert torch.equal(gradients(ours, images, direction)[0], gradients(theirs, images, direction)[0])


def test_rounding_is_torchs(kernels):
    """Every kind of float, through a relu, to bfloat16 and back: ties to even, infinities, no number."""
    bits = torch.randint(0, 2**31 - 1, (1, 4096), dtype=torch.int32)
    numbers = bits.view(torch.float32).clone()
    numbers[0, :4] = torch.tensor([1.00390625, 1.01171875, float("inf"), 3.4e38])  # two ties, two ends
    numbers = numbers[(numbers > 1e-30) | numbers.isnan()][None]
    out = operations.relu_dropout(numbers, True, None, kernels)
    assert torch.equal(out.isnan(), numbers.isnan())
    normal = torch.zeros(5, numbers.shape[1])
    normal[3] = 1.0  # scale
    narrow = torch.empty(numbers.shape, dtype=torch.bfloat16)
    wide = numbers.to(torch.bfloat16)
    kernels.call("normalise", wide, wide, normal, None, narrow, 1, 1, numbers.shape[1], False)
    assert torch.equal(narrow.nan_to_num(), wide.nan_to_num())


@settings(deadline=None, max_examples=30)
@given(
    rate=st.floats(0.001, 2.0),
    rho=st.floats(0.5, 0.999),
    decay=st.sampled_from([0.0, 0.01]),
    seed=st.integers(0, 99),
)
def test_adadelta_is_torchs(rate, rho, decay, seed):
    built = library.load()
    if built.library is None:
        pytest.skip(built.reason)
    torch.manual_seed(seed)
    start = torch.randn(4, 3, 3, 3).contiguous(memory_format=torch.channels_last)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    settings_ = {"lr": rate, "rho": rho, "eps": 1e-7, "weight_decay": decay}
    one = fast_optimizer(torch.optim.Adadelta([ours], **settings_), KERNELED)
    other = torch.optim.Adadelta([theirs], **settings_)
    assert type(one) is not type(other)
    for _ in range(4):
        gradient = torch.randn(4, 3, 3, 3)  # laid out otherwise than its parameter
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        one.step()
        other.step()
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert one.state_dict()["state"][0].keys() == other.state_dict()["state"][0].keys()


def test_other_optimizers_and_plans_without_kernels_keep_torchs():
    weight = torch.nn.Parameter(torch.zeros(3))
    sgd, adadelta = torch.optim.SGD([weight]), torch.optim.Adadelta([weight])
    assert fast_optimizer(sgd, KERNELED) is sgd
    assert fast_optimizer(adadelta, replace(KERNELED, compiled=False)) is adadelta


# ---- whole networks ---------------------------------------------------------------------------------------

FAMILIES = (
    "lecture", "mlp", "lenet5", "alexnet_small", "zfnet_small", "vgg11_small", "googlenet_small", "resnet18_small",
    "cifar_resnet20", "cifar_resnet20_b", "chapter_cifar_globalmax",
)  # fmt: skip


def both_forms(name, precision, convolution="direct"):
    entry = nets.get(name)
    torch.manual_seed(0)
    reference, copy = (entry.net.build(entry.input_shape).train() for _ in range(2))
    copy.load_state_dict(reference.state_dict())
    quick = fast(copy, replace(KERNELED, precision=precision, convolution=convolution)).train()
    for form in (reference, quick):
        form.set_draw(Draw(0, 0, torch.arange(4)))
    return reference, quick, torch.rand(4, *entry.input_shape), entry


@pytest.mark.parametrize(("name", "convolution"), [
    *((name, "direct") for name in FAMILIES),
    *((name, "winograd") for name in ("lecture", "vgg11_small", "resnet18_small", "resnet50_small", "cifar_resnet20")),
])  # fmt: skip
def test_every_family_is_the_same_with_kernels(kernels, name, convolution):
    reference, quick, images, _ = both_forms(name, "float32", convolution)
    expected, scores = reference(images), quick(images)
    assert torch.allclose(scores, expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())
    direction = torch.rand_like(expected)
    named = {key: value for key, value in reference.named_parameters() if "aux" not in key}
    own = dict(quick.reference.named_parameters())
    theirs = torch.autograd.grad((expected * direction).sum(), list(named.values()))
    ours = torch.autograd.grad((scores * direction).sum(), [own[key] for key in named])
    apart = differences(ours, theirs, named)
    if max(apart.values()) >= 2e-2:  # many norms over four images blow a last bit up, where it turns a relu
        exact = gradients_in_double(reference, images, direction, named)
        theirs_off, ours_off = (differences(found, exact, named) for found in (theirs, ours))
        assert max(ours_off.values()) <= max(theirs_off.values()), ours_off
    for (key, one), other in zip(quick.reference.named_buffers(), reference.buffers(), strict=True):
        assert torch.allclose(one.float(), other.float(), rtol=1e-3, atol=1e-4), key


def differences(found, wanted, named):
    """Of each parameter's gradients, as a part of the wanted ones."""
    return {
        key: float(
            (one - other).norm() / other.norm().clamp_min(1e-3 * parameter.detach().norm().clamp_min(1e-3))
        )
        for (key, parameter), one, other in zip(named.items(), found, wanted, strict=True)
    }


def gradients_in_double(reference, images, direction, named):
    exact = copy.deepcopy(reference).double()
    exact.set_draw(Draw(0, 0, torch.arange(len(images))))
    parameters = dict(exact.named_parameters())
    return torch.autograd.grad(
        (exact(images.double()) * direction.double()).sum(), [parameters[key] for key in named]
    )


@pytest.mark.parametrize(
    "name", ["lecture", "mlp", "lenet5", "alexnet_small", "vgg11_small", "cifar_resnet20"]
)
@pytest.mark.parametrize(
    ("compiled", "convolution"), [(True, "direct"), (True, "winograd"), (True, "amx"), (False, "direct")]
)
def test_bfloat16_stays_near(kernels, name, compiled, convolution):
    reference, quick, images, _ = both_forms(name, "bfloat16", convolution)
    quick = (
        quick if compiled else fast(quick.reference, replace(KERNELED, precision="bfloat16", compiled=False))
    )
    expected, scores = reference(images), quick.train()(images)
    assert scores.dtype == torch.float32
    assert (scores - expected).norm() / expected.norm() < 0.1
    scores.sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in quick.reference.parameters()), (
        name
    )
    assert all(p.dtype == torch.float32 for p in quick.reference.parameters())


def test_the_bits_do_not_depend_on_the_number_of_threads(kernels):
    seen = []
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        out = operations.norm(
            maps(6, 40, 9, 9), torch.ones(40, requires_grad=True), torch.zeros(40), None, 1e-5, True, kernels
        )
        seen.append([out[0].detach(), out[1], out[2], *torch.autograd.grad(out[0].square().sum(), out[0])])
    torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*seen, strict=True))


def test_a_norm_in_evaluation_mode_uses_what_it_remembers(kernels):
    net = Net.parse("conv(8, 3), batchnorm, relu, globalpool, dense(classes)")
    reference, copy = net.build((3, 8, 8)), net.build((3, 8, 8))
    copy.load_state_dict(reference.state_dict())
    images = torch.rand(5, 3, 8, 8)
    quick = fast(copy, KERNELED)
    reference.train()(images)
    quick.train()(images)
    assert torch.allclose(quick.eval()(images), reference.eval()(images), rtol=1e-4, atol=1e-5)


# ---- the library ------------------------------------------------------------------------------------------


@pytest.fixture
def unloaded():
    library.load.cache_clear()
    yield
    library.load.cache_clear()


def test_without_a_compiler_there_are_no_kernels_and_all_runs(unloaded, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert library.load() == library.Built(None, "no C++ compiler is here (c++, g++, clang++)")
    reference = nets.get("lecture").net.build((1, 28, 28))
    assert fast(reference, KERNELED).arithmetic.kernels is None
    assert fast(reference, KERNELED)(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_a_compiler_that_fails_is_named_and_all_runs(unloaded, monkeypatch, tmp_path):
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\necho 'fatal: no headers here' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert library.load() == library.Built(None, "building them failed (fatal: no headers here)")


def test_kernels_can_be_switched_off(unloaded, monkeypatch):
    monkeypatch.setenv("CONVSCOPE_KERNELS", "off")
    assert library.load().reason == "CONVSCOPE_KERNELS is off"


def test_what_was_built_is_taken_from_the_cache(kernels, unloaded, monkeypatch):
    library.load()
    library.load.cache_clear()
    monkeypatch.setattr(compiling, "_build", lambda *_: pytest.fail("built again"))
    assert isinstance(library.load().library, ctypes.CDLL)


def test_what_is_being_built_is_waited_for(unloaded, monkeypatch, tmp_path):
    """Asked while a thread builds it, the library is built once, and by the thread."""
    if library.load().library is None:
        pytest.skip(library.load().reason)
    library.load.cache_clear()
    source = tmp_path / "three.cpp"
    source.write_text('extern "C" int three() { return 3; }')
    began, builders = threading.Event(), []
    build = compiling._build

    def slow(*arguments):
        builders.append(threading.current_thread())
        began.set()
        time.sleep(0.2)
        build(*arguments)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compiling, "_build", slow)
    compiling.begin([source])
    assert began.wait(10)
    assert compiling.load(source).library.three() == 3
    assert len(builders) == 1
    assert builders[0] is not threading.main_thread()


def test_a_damaged_library_in_the_cache_is_built_again(kernels, unloaded, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "good"))
    assert library.load().library is not None
    (made,) = (tmp_path / "good" / "convscope" / "kernels").glob("*.so")
    library.load.cache_clear()
    damaged = tmp_path / "other" / "convscope" / "kernels" / made.name
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"not a library")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert library.load().library is not None
    assert len(damaged.read_bytes()) > 1000
