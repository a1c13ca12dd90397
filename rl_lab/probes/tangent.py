"""Tangent vectors with all their lengths and angles: what a covariant vector or a singular value needs."""

from collections.abc import Iterable

import numpy as np

from envs.system import Floats, System
from rl_lab.probes.blocks import block_stderr
from rl_lab.probes.rates import Rates


def orthonormal(vectors: Floats) -> tuple[Floats, Floats]:
    """Gram-Schmidt: vectors [D, k] = Q [D, k] · R [k, k], the diagonal of R positive."""
    frame, triangle = np.linalg.qr(vectors)
    sign = np.where(np.diag(triangle) < 0, -1.0, 1.0)
    return frame * sign, triangle * sign[:, None]


def carry(system: System, state: Floats, vectors: Floats, steps: int) -> tuple[Floats, Floats]:
    """Move tangent vectors [D, k] by `steps` steps without turning or shortening them: DF^steps · vectors.

    One vector at a time, since `stretch` orthonormalises what it gets. Their lengths must fit a float: at most
    about 700 / exponent of time.
    """
    moved, carried = state, np.empty_like(vectors)
    for j in range(vectors.shape[1]):
        moved, direction, growth = system.stretch(state, vectors[:, j : j + 1], steps, steps)
        carried[:, j] = direction[:, 0] * np.exp(growth[0])
    return moved, carried


def exponents_of_product(
    matrices: Iterable[Floats], vectors: int, blocks: int = 20, settle: int = 100
) -> Rates:
    """Lyapunov exponents of a product ... M3 M2 M1 of matrices [D, D], per factor.

    The first `settle` factors only turn the frame into place; what does not fill the last block is left out.
    """
    growth, frame = [], None
    for matrix in matrices:
        if frame is None:
            frame = np.eye(matrix.shape[1])[:, :vectors]
        frame, triangle = orthonormal(matrix @ frame)
        growth.append(np.log(np.diag(triangle)))
    kept = np.array(growth[settle:])
    length = len(kept) // blocks
    if length < 1:
        raise ValueError(
            f"{len(growth)} matrices are too few for {blocks} blocks after {settle} to turn the frame into place"
        )
    rates = kept[: blocks * length].reshape(blocks, length, -1).mean(axis=1)
    return Rates(
        tuple(rates.mean(axis=0).tolist()), tuple(block_stderr(rates).tolist()), 1.0, "nats per factor"
    )
