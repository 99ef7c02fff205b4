"""The public data sets, one a file. To add one: write its file, add it to `ALL`."""

from __future__ import annotations

from convscope.data.data_set import DataSet
from convscope.data.sets.cifar10 import CIFAR10
from convscope.data.sets.fashion_mnist import FASHION_MNIST
from convscope.data.sets.mnist import MNIST
from convscope.data.sets.mnist_10k import MNIST_10K

ALL = (MNIST, MNIST_10K, FASHION_MNIST, CIFAR10)
BY_NAME: dict[str, DataSet] = {data_set.name: data_set for data_set in ALL}
