"""How fast is a Lyapunov spectrum? Prints one JSON document of ratios measured side by side.

    python benchmarks/lyapunov_speed.py [--repetitions 9] [--steps 100000] [--numpy-steps 2000]

Lorenz, all three exponents: RK4 of state and tangent, and an orthonormalisation after every step.
`System.stretch` runs against a plain numpy loop with numpy.linalg.qr (over `--numpy-steps`, as its time per step
does not change) and against a numba kernel written by hand for this one system. Every repetition times each once,
in turn, so that a busy machine slows all of them alike; the ratio is taken within a repetition and reported as
median, min, max. Times are processor time of this process, after compilation. `spectrum` says what each found.
"""

import argparse
import json
import time
from collections.abc import Callable
from math import log, sqrt
from statistics import median
from typing import Any

import numpy as np
from numba import njit

import envs

REQUIRED = {"numpy": 300.0, "by_hand": 1 / 1.5}
"""How many times as fast as each of them stretch has to be."""


def numpy_loop(state: Any, steps: int, h: float, sigma: float, rho: float, beta: float) -> Any:
    """State and tangent as one array [3, 4], moved by RK4; growth [3] of an orthonormal frame."""

    def rate(both: Any) -> Any:
        x, y, z = both[:, 0]
        jacobian = np.array([[-sigma, sigma, 0.0], [rho - z, -1.0, -x], [y, x, -beta]])
        law = np.array([sigma * (y - x), x * (rho - z) - y, x * y - beta * z])
        return np.column_stack([law, jacobian @ both[:, 1:]])

    both, growth = np.column_stack([state, np.eye(3)]), np.zeros(3)
    for _ in range(steps):
        a = rate(both)
        b = rate(both + 0.5 * h * a)
        c = rate(both + 0.5 * h * b)
        d = rate(both + h * c)
        both = both + h / 6.0 * (a + 2.0 * (b + c) + d)
        both[:, 1:], triangle = np.linalg.qr(both[:, 1:])
        growth += np.log(np.abs(np.diag(triangle)))
    return growth


@njit(error_model="numpy")
def by_hand(state: Any, steps: Any, h: Any, sigma: Any, rho: Any, beta: Any) -> Any:
    """Everything in local variables: nothing is read from memory, three vectors are written out."""
    x, y, z = state[0], state[1], state[2]
    ux, uy, uz, vx, vy, vz, wx, wy, wz = 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0
    one = two = three = 0.0
    half, sixth = 0.5 * h, h / 6.0
    for _ in range(steps):
        ax, ay, az = sigma * (y - x), x * (rho - z) - y, x * y - beta * z
        xb, yb, zb = x + half * ax, y + half * ay, z + half * az
        bx, by, bz = sigma * (yb - xb), xb * (rho - zb) - yb, xb * yb - beta * zb
        xc, yc, zc = x + half * bx, y + half * by, z + half * bz
        cx, cy, cz = sigma * (yc - xc), xc * (rho - zc) - yc, xc * yc - beta * zc
        xd, yd, zd = x + h * cx, y + h * cy, z + h * cz
        dx, dy, dz = sigma * (yd - xd), xd * (rho - zd) - yd, xd * yd - beta * zd
        ra, rb, rc, rd = rho - z, rho - zb, rho - zc, rho - zd

        px, py, pz = sigma * (uy - ux), ra * ux - uy - x * uz, y * ux + x * uy - beta * uz
        ex, ey, ez = ux + half * px, uy + half * py, uz + half * pz
        qx, qy, qz = sigma * (ey - ex), rb * ex - ey - xb * ez, yb * ex + xb * ey - beta * ez
        ex, ey, ez = ux + half * qx, uy + half * qy, uz + half * qz
        sx, sy, sz = sigma * (ey - ex), rc * ex - ey - xc * ez, yc * ex + xc * ey - beta * ez
        ex, ey, ez = ux + h * sx, uy + h * sy, uz + h * sz
        tx, ty, tz = sigma * (ey - ex), rd * ex - ey - xd * ez, yd * ex + xd * ey - beta * ez
        ux += sixth * (px + 2.0 * (qx + sx) + tx)
        uy += sixth * (py + 2.0 * (qy + sy) + ty)
        uz += sixth * (pz + 2.0 * (qz + sz) + tz)

        px, py, pz = sigma * (vy - vx), ra * vx - vy - x * vz, y * vx + x * vy - beta * vz
        ex, ey, ez = vx + half * px, vy + half * py, vz + half * pz
        qx, qy, qz = sigma * (ey - ex), rb * ex - ey - xb * ez, yb * ex + xb * ey - beta * ez
        ex, ey, ez = vx + half * qx, vy + half * qy, vz + half * qz
        sx, sy, sz = sigma * (ey - ex), rc * ex - ey - xc * ez, yc * ex + xc * ey - beta * ez
        ex, ey, ez = vx + h * sx, vy + h * sy, vz + h * sz
        tx, ty, tz = sigma * (ey - ex), rd * ex - ey - xd * ez, yd * ex + xd * ey - beta * ez
        vx += sixth * (px + 2.0 * (qx + sx) + tx)
        vy += sixth * (py + 2.0 * (qy + sy) + ty)
        vz += sixth * (pz + 2.0 * (qz + sz) + tz)

        px, py, pz = sigma * (wy - wx), ra * wx - wy - x * wz, y * wx + x * wy - beta * wz
        ex, ey, ez = wx + half * px, wy + half * py, wz + half * pz
        qx, qy, qz = sigma * (ey - ex), rb * ex - ey - xb * ez, yb * ex + xb * ey - beta * ez
        ex, ey, ez = wx + half * qx, wy + half * qy, wz + half * qz
        sx, sy, sz = sigma * (ey - ex), rc * ex - ey - xc * ez, yc * ex + xc * ey - beta * ez
        ex, ey, ez = wx + h * sx, wy + h * sy, wz + h * sz
        tx, ty, tz = sigma * (ey - ex), rd * ex - ey - xd * ez, yd * ex + xd * ey - beta * ez
        wx += sixth * (px + 2.0 * (qx + sx) + tx)
        wy += sixth * (py + 2.0 * (qy + sy) + ty)
        wz += sixth * (pz + 2.0 * (qz + sz) + tz)

        x += sixth * (ax + 2.0 * (bx + cx) + dx)
        y += sixth * (ay + 2.0 * (by + cy) + dy)
        z += sixth * (az + 2.0 * (bz + cz) + dz)

        size = sqrt(ux * ux + uy * uy + uz * uz)
        one += log(size)
        ux, uy, uz = ux / size, uy / size, uz / size
        overlap = ux * vx + uy * vy + uz * vz
        vx, vy, vz = vx - overlap * ux, vy - overlap * uy, vz - overlap * uz
        size = sqrt(vx * vx + vy * vy + vz * vz)
        two += log(size)
        vx, vy, vz = vx / size, vy / size, vz / size
        overlap = ux * wx + uy * wy + uz * wz
        wx, wy, wz = wx - overlap * ux, wy - overlap * uy, wz - overlap * uz
        overlap = vx * wx + vy * wy + vz * wz
        wx, wy, wz = wx - overlap * vx, wy - overlap * vy, wz - overlap * vz
        size = sqrt(wx * wx + wy * wy + wz * wz)
        three += log(size)
        wx, wy, wz = wx / size, wy / size, wz / size
    return np.array([one, two, three])


def summary(values: list[float]) -> dict[str, float]:
    """Median and range to three digits."""
    return {n: float(f"{f(values):.3g}") for n, f in (("median", median), ("min", min), ("max", max))}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--numpy-steps", type=int, default=2_000)
    chosen = parser.parse_args()
    system = envs.systems()["Lorenz"]()
    start = system.orbit(np.array(system.start), 1, 20_000)[0]
    sigma, rho, beta = (system.parameters[name] for name in ("sigma", "rho", "beta"))
    runs: dict[str, tuple[int, Callable[[int], Any]]] = {
        "stretch": (chosen.steps, lambda n: system.stretch(start, np.eye(3), n, 1)[2]),
        "numpy": (chosen.numpy_steps, lambda n: numpy_loop(start, n, system.dt, sigma, rho, beta)),
        "by_hand": (chosen.steps, lambda n: by_hand(start, n, system.dt, sigma, rho, beta)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    spectrum: dict[str, Any] = {}
    for _, run in runs.values():
        run(10)
    for _ in range(chosen.repetitions):
        for name, (steps, run) in runs.items():
            begin = time.process_time()
            growth = run(steps)
            seconds[name].append((time.process_time() - begin) / steps)
            spectrum[name] = [float(f"{value:.5g}") for value in growth / (steps * system.dt)]
    ratios = {name: (np.array(seconds[name]) / np.array(seconds["stretch"])).tolist() for name in REQUIRED}
    document = {
        "seconds_per_step": {name: summary(own) for name, own in seconds.items()},
        "spectrum": spectrum,
        "targets": [
            {
                "claim": f"stretch is at least {required:.3g} times as fast as {name}",
                "ratio": summary(ratios[name]),
                "required": float(f"{required:.3g}"),
                "met": median(ratios[name]) >= required,
            }
            for name, required in REQUIRED.items()
        ],
        "settings": {
            "system": str(system),
            "dt": system.dt,
            "steps": {name: steps for name, (steps, _) in runs.items()},
            "repetitions": chosen.repetitions,
        },
    }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
