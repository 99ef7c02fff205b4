"""Fashion-MNIST: 70,000 pieces of clothing, 28×28, gray. Xiao, Rasul, Vollgraf (2017), MIT licence."""

from __future__ import annotations

from convscope.data import idx
from convscope.data.data_set import DataFile, DataSet, Download

FASHION_MNIST = DataSet(
    name="fashion-mnist",
    description="pieces of clothing, white on black",
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    input_shape=(1, 28, 28),
    num_train=60_000,
    num_test=10_000,
    mean=(0.286041,),
    std=(0.353024,),
    files=(
        DataFile(
            idx.TRAIN_IMAGES, 47_040_016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
        ),
        DataFile(
            idx.TRAIN_LABELS, 60_008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
        ),
        DataFile(
            idx.TEST_IMAGES, 7_840_016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
        ),
        DataFile(idx.TEST_LABELS, 10_008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
    ),
    downloads=(
        Download(
            f"{idx.TRAIN_IMAGES}.gz",
            26_421_880,
            "sha256:3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        Download(
            f"{idx.TRAIN_LABELS}.gz",
            29_515,
            "sha256:a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        ),
        Download(
            f"{idx.TEST_IMAGES}.gz",
            4_422_102,
            "sha256:346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        ),
        Download(
            f"{idx.TEST_LABELS}.gz",
            5_148,
            "sha256:67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ),
    mirrors=(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    read=idx.read_splits,
    folders=("fashion-mnist", "FashionMNIST/raw", "fashion_mnist", "fashion-mnist/raw"),
    system_folders=("/usr/share/datasets/fashion-mnist",),  # Debian's dataset-fashion-mnist
)
