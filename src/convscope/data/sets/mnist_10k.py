"""mnist-10k: the first 10,000 training images of MNIST, inside this package: no network needed."""

from __future__ import annotations

from convscope.data import idx
from convscope.data.data_set import DataFile, DataSet

MNIST_10K = DataSet(
    name="mnist-10k",
    description="the first 10,000 of MNIST's training digits, shipped with convscope",
    class_names=tuple("0123456789"),
    input_shape=(1, 28, 28),
    num_train=9_000,
    num_test=1_000,
    mean=(0.131225,),
    std=(0.308826,),
    files=(
        DataFile(
            idx.TRAIN_IMAGES, 7_056_016, "8b76db8cad39732fe9c97e06e433543b435dad4d432cee80bc873287ef012fb3"
        ),
        DataFile(idx.TRAIN_LABELS, 9_008, "e90805fad7a6d19127a6c1a2d21364c9ae307ff4eed70355977a96a5b6e7b03e"),
        DataFile(
            idx.TEST_IMAGES, 784_016, "07a5ac2ea4ed915f72be861ae81a70ac68a515be182667717e4e27142fb9df49"
        ),
        DataFile(idx.TEST_LABELS, 1_008, "3dfc4742d4f93fa73b3ee9a2035f18e9c7c8efcf39e7e851d3cbfdc3efbca7af"),
    ),
    read=idx.read_splits,
    bundled=True,
    note=(
        "mnist-10k is judged on 1,000 digits held out from MNIST's training images: compare its accuracy "
        "with other runs on mnist-10k, not with MNIST's own test set."
    ),
)
