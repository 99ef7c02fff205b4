"""The lecture's counts: weights, nodes, multiplications, sizes of maps. Each function is one claim."""

from __future__ import annotations

from convscope import nets
from convscope.layers import conv, dense, flatten
from convscope.layers._base import Shape, written_shape
from convscope.lecture.check_claim import Claim, Value, judged
from convscope.net import Net

PICTURE, LARGE_PICTURE = (3, 32, 32), (3, 200, 200)  # (C, H, W), the lecture's two sizes
TWO_ORDERS = 100


def parameters(net: Net, shape: Shape) -> int:
    """Trainable numbers."""
    return net.infer(shape).parameters


def times(large: int, small: int) -> float:
    """How many times larger, to one decimal."""
    return round(large / small, 1)


def l1() -> Claim:
    """A dense layer on a large picture."""
    inference = Net(flatten, dense(100)).infer(LARGE_PICTURE)
    claimed = {"inputs": 120_000, "weights": 12_000_000}
    computed = {"inputs": inference.steps[0].output_shape[0], "weights": inference.macs}
    return Claim(
        "L1",
        "A 200×200×3 picture is 120,000 numbers, and 100 fully connected nodes need 12 million weights for it.",
        claimed,
        computed,
        judged(claimed == computed),
        "slide 2, Why CNNs?",
        f"200·200·3 inputs for each of 100 nodes; with the biases it is {inference.parameters:,}.",
        ("flatten, dense(100) on 3×200×200:", f"200·200·3·100 = {inference.macs:,} weights, and 100 biases"),
    )


def filters_ratio(side: int, number: int, kernel: int = 5) -> float:
    """How many times fewer parameters `number` filters have than as many nodes on a side×side×3 picture."""
    shape = (3, side, side)
    return parameters(Net(flatten, dense(number)), shape) / parameters(Net(conv(number, kernel)), shape)


def l2() -> Claim:
    """Parameters of filters against nodes."""
    large, small = filters_ratio(200, 100), filters_ratio(32, 1)
    crossing = next(side for side in range(5, 201) if filters_ratio(side, 100) > TWO_ORDERS)
    return Claim(
        "L2",
        "Filters in place of nodes need more than two orders of magnitude fewer parameters.",
        "more than 100 times fewer",
        {"200×200×3": f"{large:,.0f} times fewer", "32×32×3": f"{small:.1f} times fewer"},
        judged(large > TWO_ORDERS, caveat=small <= TWO_ORDERS),
        "slide 2, Why CNNs?",
        f"True of large pictures, not of the lecture's own 32×32 example: with 5×5 filters it begins at "
        f"{crossing}×{crossing} pixels.",
        (
            f"100 nodes on 200×200×3: {parameters(Net(flatten, dense(100)), LARGE_PICTURE):,} parameters; "
            f"100 filters 5×5×3: {parameters(Net(conv(100, 5)), LARGE_PICTURE):,}",
            f"one node on 32×32×3: {parameters(Net(flatten, dense(1)), PICTURE):,}; "
            f"one filter 5×5×3: {parameters(Net(conv(1, 5)), PICTURE):,}",
            f"(S·S·3 + 1) > {TWO_ORDERS}·(5·5·3 + 1) from S = {crossing}",
        ),
    )


def l5() -> Claim:
    """The depth of the deepest network."""
    entry = nets.get("resnet152")
    depth = entry.net.infer(entry.input_shape).depth
    return Claim(
        "L5",
        "The most advanced ConvNet has 150 layers.",
        150,
        depth,
        judged(round(depth, -1) == 150, caveat=depth != 150),
        "slide 2, Why CNNs?",
        f"ResNet-152 is meant, and 150 is that rounded: {depth} layers with weights on its longest path. Whether more "
        "layers are better needs training.",
        (f"resnet152 on {written_shape(entry.input_shape)}: {depth} convolutions and dense layers in a row",),
    )


def l7() -> Claim:
    """The linear classifier."""
    entry = nets.get("linear")
    inference = entry.net.infer(entry.input_shape)
    claimed = {"inputs": 3072, "classes": 10}
    computed = {"inputs": inference.steps[0].output_shape[0], "classes": inference.output_shape[0]}
    return Claim(
        "L7",
        "A fully connected net on a stretched 32×32×3 picture scores class k by a_k = Σ w_ki·x_i + b_k, i = 1 … 3072.",
        claimed,
        computed,
        judged(claimed == computed, caveat=True),
        "slide 4, Fully Connected NN for images",
        f"{inference.parameters:,} parameters in all. The slide prints the classes once as i ≤ k ≤ 10 and means "
        "1 ≤ k ≤ 10.",
        (
            f"linear on 3×32×32: 32·32·3 = {computed['inputs']:,} inputs",
            f"(3,072 + 1)·10 = {inference.parameters:,} parameters",
        ),
    )


def l9() -> Claim:
    """One filter against one node."""
    claimed = {"filter": 76, "full template": 3073}
    computed = {
        "filter": conv(1, 5).parameters(PICTURE),
        "full template": parameters(Net(flatten, dense(1)), PICTURE),
    }
    return Claim(
        "L9",
        "A 5×5×3 filter has 76 parameters where a template as large as the picture has 3,073.",
        claimed,
        computed,
        judged(claimed == computed),
        "slide 5, Local Filters and Feature Maps",
        f"75 weights and a bias; {times(3073, 76)} times fewer.",
        ("5·5·3 + 1 = 76", "32·32·3 + 1 = 3,073"),
    )


def l10() -> Claim:
    """The size of an activation map."""
    rows, columns = conv(1, 5).output_shape(PICTURE)[1:]
    return Claim(
        "L10",
        "Sliding a 5×5 filter over a 32×32 picture gives a 28×28 activation map.",
        "28×28",
        f"{rows}×{columns}",
        judged((rows, columns) == (28, 28)),
        "slide 5, Local Filters and Feature Maps",
        "The filter fits in 28 places along each side.",
        ("(W − F + 2P)/S + 1 = (32 − 5 + 2·0)/1 + 1 = 28",),
    )


def l14() -> Claim:
    """Fewer weights, more nodes, more computation."""
    maps, nodes = Net(conv(20, 5)).infer(PICTURE), Net(flatten, dense(20)).infer(PICTURE)
    places = maps.output_shape[1] * maps.output_shape[2]
    fewer, more = times(nodes.parameters, maps.parameters), times(maps.macs, nodes.macs)
    return Claim(
        "L14",
        "ConvNets have fewer weights, more nodes, and more to compute.",
        {"weights": "fewer", "nodes": "more", "multiplications": "more"},
        {
            "weights": f"{fewer} times fewer",
            "nodes": f"{places} times more",
            "multiplications": f"{more} times more",
        },
        judged(fewer > 1 and places > 1 and more > 1),
        "slide 6, FF 2 CNN",
        "Twenty 5×5 filters on a 32×32×3 picture against twenty nodes.",
        (
            f"20 nodes: {nodes.parameters:,} parameters, {nodes.macs:,} multiplications",
            f"20 maps 28×28: {maps.parameters:,} parameters, {20 * places:,} nodes, {maps.macs:,} multiplications",
        ),
    )


def l15() -> Claim:
    """How much of the picture a number sees, layer by layer."""
    steps = nets.get("lecture").net.infer((1, 28, 28)).steps
    seen = {step.name: step.receptive_field for step in steps if step.kind in ("conv", "maxpool", "dense")}
    sides = [side for side in seen.values() if isinstance(side, int)]
    return Claim(
        "L15",
        "Deeper layers build larger shapes out of smaller ones.",
        "each layer sees more than the one before",
        {name: f"{side}×{side}" for name, side in seen.items() if name != "dense2"},
        judged(sides == sorted(sides) and sides[0] < sides[-1], caveat=True),
        "slide 6, FF 2 CNN",
        "Each number sees a larger piece of the picture than those below it; that the pieces become shapes is seen "
        "only in a trained network (convscope explain).",
        (
            "pixels of the picture that one number of the lecture's network depends on, by receptive-field arithmetic",
        ),
    )


def l16() -> Claim:
    """What the stride is."""
    claimed: dict[str, object] = {"S = 1": 1, "S = 2": 2}
    steps = {f"S = {s}": Net(conv(1, 2, stride=s)).infer((1, 5, 5)).steps[0] for s in (1, 2)}
    computed = {name: step.jump for name, step in steps.items()}
    sizes = [written_shape(step.output_shape[1:]) for step in steps.values()]
    return Claim(
        "L16",
        "The stride S is how many pixels the filter moves after each computation; the slide's example has S = 1.",
        {"S = 1": "1 pixel", "S = 2": "2 pixels"},
        {name: f"{jump} pixel{'s' if jump != 1 else ''}" for name, jump in computed.items()},
        judged(computed == claimed),
        "slide 7, Convolution",
        f"On 5×5 pixels a 2×2 filter makes a map of {sizes[0]} with S = 1 and of {sizes[1]} with S = 2.",
        (
            "(5 − 2 + 2·0)/1 + 1 = 4",
            "(5 − 2 + 2·0)/2 + 1 = 2.5, rounded down to 2: the last column is never read",
        ),
    )


def l21() -> Claim:
    """The lecture's network with and without its pool."""
    entry = nets.get("lecture")
    without = Net(*(layer for layer in entry.net.layers if layer.word != "maxpool"))
    with_pool, without_pool = (parameters(net, entry.input_shape) for net in (entry.net, without))
    return Claim(
        "L21",
        "Pooling reduces the number of parameters considerably.",
        "considerably fewer",
        {"with the pool": with_pool, "without it": without_pool},
        judged(2 * with_pool < without_pool),
        "slide 8, Pooling",
        f"{times(without_pool, with_pool)} times fewer in the lecture's network, all of them in the dense layer behind "
        "the pool, which reads 9,216 numbers in place of 36,864.",
        ("64·12·12 = 9,216 and 64·24·24 = 36,864 inputs of dense(128)",),
    )


def l25() -> Claim:
    """Zero-padding that keeps the size."""
    layer = conv(3, 5, padding=2)
    left, right, top, bottom = layer.padded_sides(PICTURE)
    claimed = {"with zeros": "36×36×3", "output": "32×32×3"}
    output = layer.output_shape(PICTURE)
    computed = {
        "with zeros": f"{32 + top + bottom}×{32 + left + right}×3",
        "output": f"{output[1]}×{output[2]}×{output[0]}",
    }
    return Claim(
        "L25",
        "Two rings of zeros make 32×32×3 into 36×36×3, and three 5×5×3 filters with S = 1 then give 32×32×3 again.",
        claimed,
        computed,
        judged(claimed == computed),
        "slide 11, Zero-padding",
        "P = (F − 1)/2 rings keep the size for every odd F.",
        ("32 + 2·2 = 36", "(W − F + 2P)/S + 1 = (32 − 5 + 2·2)/1 + 1 = 32"),
    )


def l28() -> Claim:
    """What is trained and what is frozen in the two ways of transfer learning."""
    entry = nets.get("vgg16")
    inference = entry.net.infer(entry.input_shape, entry.classes)
    counts = [step.parameters for step in inference.steps if step.parameters]
    last, first_blocks = counts[-1], sum(counts[:4])
    total = inference.parameters
    return Claim(
        "L28",
        "A trained network is used again by freezing its first layers and training the rest: the last layer alone, or "
        "more of them.",
        {"only the last layer": "a small part", "all but two blocks": "a large part"},
        {
            "only the last layer": f"{last:,} trained",
            "all but two blocks": f"{total - first_blocks:,} trained",
        },
        judged(last * 10 < total < 2 * (total - first_blocks)),
        "slides 18–19, Transfer Learning",
        f"In VGG-16 of {total:,} parameters: the last layer is {100 * last / total:.1f} % of them, and freezing two "
        f"blocks saves only {100 * first_blocks / total:.1f} %.",
        (
            f"last dense layer: (4,096 + 1)·1,000 = {last:,}; for K classes 4,097·K",
            f"first two blocks (four convolutions): {first_blocks:,} frozen",
        ),
    )


def l29() -> Claim:
    """The sizes of MNIST, from the sizes of the files whose hashes are pinned."""
    from convscope.data.sets.mnist import MNIST

    _, rows, columns = MNIST.input_shape
    bytes_of = {file.name: file.size_bytes for file in MNIST.files}
    train, test = (
        next(size for name, size in bytes_of.items() if name.startswith(start))
        for start in ("train-im", "t10k-im")
    )
    header = 16  # a magic number and three sizes of four bytes each
    claimed: dict[str, Value] = {"training": 60_000, "test": 10_000, "size": "28×28"}
    computed: dict[str, Value] = {
        "training": (train - header) // (rows * columns),
        "test": (test - header) // (rows * columns),
        "size": f"{rows}×{columns}",
    }
    return Claim(
        "L29",
        "MNIST has 60,000 training and 10,000 test images of 28×28 pixels.",
        claimed,
        computed,
        judged(claimed == computed),
        "notebook, cells 3–6",
        "From the sizes of the published files, whose SHA-256 is checked whenever they are read.",
        (
            f"train-images: ({train:,} − {header})/(28·28) = {computed['training']:,}",
            f"t10k-images: ({test:,} − {header})/(28·28) = {computed['test']:,}",
        ),
    )
