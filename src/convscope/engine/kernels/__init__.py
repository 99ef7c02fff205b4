"""Our own compiled operations of a training step, and torch's operations made of them.

kernels.cpp              pool, relu, dropout, norm, the first convolution, Adadelta
winograd.cpp             3×3 convolutions by Winograd's method
products.cpp             other convolutions and dense layers
first.h                  the first convolution, image by image, in the pass of the second
vectors.h, dropout.h, few.h, turn.h   what these share
library.py               builds and loads them
*operations.py           autograd functions over them
"""
