"""CIFAR-10: 60,000 photos of ten kinds of things, 32×32, RGB. Krizhevsky (2009)."""

from __future__ import annotations

from convscope.data import cifar
from convscope.data.data_set import DataFile, DataSet, Download

BATCH_BYTES = 10_000 * cifar.RECORD_BYTES

CIFAR10 = DataSet(
    name="cifar10",
    description="small photos of animals and vehicles",
    class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    input_shape=(3, 32, 32),
    num_train=50_000,
    num_test=10_000,
    mean=(0.491400, 0.482158, 0.446531),
    std=(0.247032, 0.243485, 0.261588),
    files=(
        DataFile(
            "data_batch_1.bin",
            BATCH_BYTES,
            "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        ),
        DataFile(
            "data_batch_2.bin",
            BATCH_BYTES,
            "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        ),
        DataFile(
            "data_batch_3.bin",
            BATCH_BYTES,
            "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        ),
        DataFile(
            "data_batch_4.bin",
            BATCH_BYTES,
            "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        ),
        DataFile(
            "data_batch_5.bin",
            BATCH_BYTES,
            "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        ),
        DataFile(
            "test_batch.bin", BATCH_BYTES, "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"
        ),
    ),
    # Only an MD5 of the archive is published; what comes out of it is pinned by SHA-256 above.
    downloads=(Download("cifar-10-binary.tar.gz", 170_052_171, "md5:c32a1d4ab5d03f1284b67883e8d87530"),),
    mirrors=(
        "https://www.cs.toronto.edu/~kriz/",
        "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
        "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/",
    ),
    read=cifar.read_splits,
    folders=("cifar10/cifar-10-batches-bin", "cifar10", "cifar-10-batches-bin", "CIFAR10", "."),
)
