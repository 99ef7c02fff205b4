"""MNIST: 70,000 handwritten digits, 28×28, gray. LeCun, Cortes, Burges (1998)."""

from __future__ import annotations

from convscope.data import idx
from convscope.data.data_set import DataFile, DataSet, Download

MNIST = DataSet(
    name="mnist",
    description="handwritten digits, white on black",
    class_names=tuple("0123456789"),
    input_shape=(1, 28, 28),
    num_train=60_000,
    num_test=10_000,
    mean=(0.130660,),
    std=(0.308108,),
    files=(
        DataFile(
            idx.TRAIN_IMAGES, 47_040_016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
        ),
        DataFile(
            idx.TRAIN_LABELS, 60_008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
        ),
        DataFile(
            idx.TEST_IMAGES, 7_840_016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
        ),
        DataFile(idx.TEST_LABELS, 10_008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    ),
    downloads=(
        Download(
            f"{idx.TRAIN_IMAGES}.gz",
            9_912_422,
            "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        Download(
            f"{idx.TRAIN_LABELS}.gz",
            28_881,
            "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
        Download(
            f"{idx.TEST_IMAGES}.gz",
            1_648_877,
            "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        Download(
            f"{idx.TEST_LABELS}.gz",
            4_542,
            "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://raw.githubusercontent.com/fgnt/mnist/master/",
    ),
    read=idx.read_splits,
    folders=("mnist", "MNIST/raw", "mnist/raw", "MNIST"),
)
