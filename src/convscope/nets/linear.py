"""The linear classifier: the lecture's "fully connected net on stretched pixels", 3072 → 10.

    3×32×32 → 3072 → 10        a_k = Σ_{i=1}^{3072} w_ki·x_i + b_k

Each class has one template the size of the whole picture. 30,730 parameters for 32×32×3; it takes any other size too.
"""

from convscope.layers import classes, dense, flatten
from convscope.net import Net
from convscope.nets._entry import Entry

ENTRIES = (
    Entry(
        name="linear",
        family="linear",
        make=lambda: Net(flatten, dense(classes)),
        input_shape=(3, 32, 32),
        classes=10,
        year=None,
        description="One template a class over all pixels",
    ),
)
