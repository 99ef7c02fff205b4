"""Our own compiled steps between convolutions, and torch's operations made of them.

kernels.cpp     the arithmetic
library.py      builds and loads it
operations.py   autograd functions over it
"""
