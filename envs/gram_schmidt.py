"""Orthonormal frames for tangent vectors: compiled once, for all lattices."""

from math import log, sqrt

import numpy as np
from numba import njit

from envs.system import Floats


@njit(cache=True, error_model="numpy")
def orthonormalise(frame: Floats) -> Floats:
    """Modified Gram-Schmidt of the columns of a frame [D, k] in place; the logarithms of their lengths, [k].

    Row by row, in the order of memory; unsigned indices for the sake of vector instructions.
    """
    vectors = np.uint64(frame.shape[1])
    lengths, overlap = np.empty(frame.shape[1]), np.empty(frame.shape[1])
    for i in range(vectors):
        square = 0.0
        for d in range(frame.shape[0]):
            square += frame[d, i] ** 2
        length = sqrt(square)
        lengths[i] = log(length)
        overlap[:] = 0.0
        for d in range(frame.shape[0]):
            frame[d, i] /= length
            own = frame[d, i]
            for j in range(i + np.uint64(1), vectors):
                overlap[j] += own * frame[d, j]
        for d in range(frame.shape[0]):
            own = frame[d, i]
            for j in range(i + np.uint64(1), vectors):
                frame[d, j] -= own * overlap[j]
    return lengths
