"""Our own compiled operations of a training step, and torch's operations made of them.

kernels.cpp              pool, relu, dropout, norm, the first convolution, Adadelta
winograd.h               3×3 convolutions by Winograd's method: winograd.cpp, winograd_bfloat16.cpp, winograd_half.cpp
products.cpp             other convolutions and dense layers, in float32
tiles.h                  products of tiles in bfloat16: tiles.cpp for convolutions, tile_products.cpp for dense layers
first.h                  the first convolution, image by image, in the pass of the second
vectors.h, dropout.h, few.h, turn.h   what these share
library.py               builds and loads them
*operations.py           autograd functions over them
"""
