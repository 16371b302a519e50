# What LAPACK makes of the families of test/suite/families.ts, which are written here once more: every element is exact in
# both, so that no input has to be kept.
#
# Singular values and eigenvalues up to a side of 64 come from mpmath with 40 digits, rounded once. Those of larger squares
# are u^T a v with LAPACK's vectors, summed in 80-bit floats: the error is of second order in that of the vectors. "lapack" is
# the error of LAPACK's own values in units of eps times the largest.
#
#   python make.py [--squares 8 64] [--rectangles 20x12 12x20] [--large 128 256 512 1024]

import argparse
import json
import math
import platform

import mpmath as mp
import numpy as np
import scipy
import scipy.linalg as sl


def sequence(seed):
    state = (seed * 2654435761 + 12345) & 0xFFFFFFFF or 1

    def step():
        nonlocal state
        state ^= (state << 13) & 0xFFFFFFFF
        state ^= state >> 17
        state ^= (state << 5) & 0xFFFFFFFF
        return state / 2**31 - 1

    for _ in range(8):
        step()
    return step


def random(m, n, seed=1):
    draw = sequence(seed + 31 * m + n)
    return np.array([[draw() for _ in range(n)] for _ in range(m)]).reshape(m, n)


def integers(m, n, seed):
    return np.floor(random(m, n, seed) * 4.5 + 0.5)


def falling(n, most):
    return np.array([2.0 ** -math.floor(most * i / (n - 1)) if n > 1 else 1.0 for i in range(n)])


def cluster(n):
    out = np.zeros((n, n))
    values = [1, 1 + 2.0**-30, 2.0**-10]
    start, left = 0, n
    while left:
        size = 2 ** int(math.log2(left))
        d = np.array([values[k % 3] for k in range(size)])
        sign = lambda x: -1.0 if bin(x).count("1") % 2 else 1.0
        row = [sum(d[k] * sign(k & x) for k in range(size)) / size for x in range(size)]
        for i in range(size):
            for j in range(size):
                out[start + i, start + j] = row[i ^ j]
        start += size
        left -= size
    return out


def padded(square, m, n):
    out = np.zeros((m, n))
    k = len(square)
    out[:k, :k] = square
    return out


def kahan(m, n):
    power, out = 1.0, np.zeros((m, n))
    for i in range(m):
        for j in range(i, n):
            out[i, j] = power * (1 if i == j else -0.28)
        power *= 0.96
    return out


def diagonal(m, n):
    out = np.zeros((m, n))
    for i in range(min(m, n)):
        out[i, i] = 0 if i % 3 == 2 else (-1 if i % 2 else 1) * 2.0**-i
    return out


def low_rank(m, n):
    rank = max(1, min(m, n) // 2)
    return integers(m, rank, 4) @ integers(rank, n, 5)


hilbert = lambda m, n: np.array([[1 / (i + j + 1) for j in range(n)] for i in range(m)]).reshape(m, n)

FAMILIES = {
    "random": random,
    "graded": lambda m, n: random(m, n, 2) * falling(n, 40)[None, :],
    "gradedBoth": lambda m, n: random(m, n, 3) * falling(m, 20)[:, None] * falling(n, 20)[None, :],
    "rankDeficient": low_rank,
    "clustered": lambda m, n: padded(cluster(min(m, n)), m, n),
    "hilbert": hilbert,
    "kahan": kahan,
    "diagonal": diagonal,
    "zero": lambda m, n: np.zeros((m, n)),
    "identity": lambda m, n: np.eye(m, n),
    "ones": lambda m, n: np.ones((m, n)),
}


def symmetric_random(n):
    a = random(n, n, 6)
    return a + a.T


def gram(n):
    b = integers(n, max(1, n // 2), 7)
    return b @ b.T


def wilkinson(n):
    return np.diag([abs(i - (n - 1) / 2) for i in range(n)]) + np.eye(n, k=1) + np.eye(n, k=-1)


SYMMETRIC = {
    "random": symmetric_random,
    "graded": lambda n: symmetric_random(n) * falling(n, 20)[:, None] * falling(n, 20)[None, :],
    "rankDeficient": gram,
    "clustered": cluster,
    "hilbert": lambda n: hilbert(n, n),
    "wilkinson": wilkinson,
    "diagonal": lambda n: diagonal(n, n),
    "zero": lambda n: np.zeros((n, n)),
    "identity": np.eye,
    "ones": lambda n: np.ones((n, n)),
}


def positive(n):
    b = integers(n, n, 8)
    return b @ b.T + n * np.eye(n)


def signed_qr(a):
    q, r = sl.qr(a, mode="economic")
    turn = np.where(np.diag(r) < 0, -1.0, 1.0)
    return q * turn[None, :], r * turn[:, None]


def small(m, n):
    """Whole results where they are unique, of one matrix each."""
    a, b, spd = random(m, n), random(m, 2, 9), positive(n)
    square = random(n, n, 10)
    q, r = signed_qr(a)
    u, p = sl.polar(a)
    sign, log = np.linalg.slogdet(square)
    x, _, rank, s = sl.lstsq(a, b)
    low = FAMILIES["rankDeficient"](m, n)
    return {
        "m": m,
        "n": n,
        "q": q,
        "r": r,
        "polarU": u,
        "polarP": p,
        "cholesky": sl.cholesky(spd, lower=True),
        "logdet": np.linalg.slogdet(spd)[1],
        "sqrtm": sl.sqrtm(spd).real,
        "invSqrtm": sl.inv(sl.sqrtm(spd)).real,
        "logm": sl.logm(spd).real,
        "expmSymmetric": sl.expm(symmetric_random(n)),
        "expm": sl.expm(square * 3),
        "inverse": sl.inv(square),
        "det": sl.det(square),
        "sign": sign,
        "logAbsDet": log,
        "solve": sl.solve(square, b[:n]),
        "lstsq": x,
        "pinv": np.linalg.pinv(a),
        "pinvOfLowRank": np.linalg.pinv(low),
        "rankOfLowRank": int(np.linalg.matrix_rank(low)),
        "lu": sl.lu_factor(square)[0],
    }


mp.mp.dps = 40


def error(exact, lapack):
    """How far LAPACK's values are off, in eps times the largest."""
    top = max((abs(v) for v in exact), default=0)
    worst = max((abs(v - type(v)(w)) for v, w in zip(exact, lapack)), default=0)
    return round(float(worst / top) * 2.0**52, 2) if top else 0


def singular_values(a):
    tall = a if a.shape[0] >= a.shape[1] else a.T
    exact = sorted(mp.svd_r(mp.matrix(tall.tolist()), compute_uv=False), reverse=True)
    return {"values": [float(v) for v in exact], "lapack": error(exact, sl.svdvals(a))}


def eigenvalues(a):
    exact = sorted(mp.eigsy(mp.matrix(a.tolist()), eigvals_only=True))
    return {"values": [float(v) for v in exact], "lapack": error(exact, sl.eigvalsh(a))}


def refined(left, a, right, lapack, falling):
    u, v = left.astype(np.longdouble), right.astype(np.longdouble)
    along = (u * (a.astype(np.longdouble) @ v)).sum(0)
    exact = along / np.sqrt((u * u).sum(0) * (v * v).sum(0))
    exact = np.sort(np.abs(exact))[::-1] if falling else np.sort(exact)
    at = sorted({round(i * (len(lapack) - 1) / 16) for i in range(17)})
    return {"at": at, "values": [float(exact[i]) for i in at], "lapack": error(list(exact), lapack)}


def large_singular_values(a):
    u, s, vt = sl.svd(a)
    return refined(u, a, vt.T, s, True)


def large_eigenvalues(a):
    w, v = sl.eigh(a)
    return refined(v, a, v, w, False)


def plain(value):
    if isinstance(value, np.ndarray):
        return value.ravel().tolist()
    if isinstance(value, np.generic):
        return value.item()
    return value


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--squares", type=int, nargs="*", default=[8, 64])
    parser.add_argument("--rectangles", nargs="*", default=["20x12", "12x20"])
    parser.add_argument("--large", type=int, nargs="*", default=[128, 256, 512, 1024])
    options = parser.parse_args()
    made = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "mpmath": mp.__version__,
    }
    shapes = [(n, n) for n in options.squares] + [tuple(map(int, r.split("x"))) for r in options.rectangles]
    write(
        "lapack.json",
        {
            "made": made,
            "singularValues": [
                {"family": name, "m": m, "n": n, **singular_values(f(m, n))}
                for m, n in shapes
                for name, f in FAMILIES.items()
            ],
            "eigenvalues": [
                {"family": name, "n": n, **eigenvalues(f(n))}
                for n in options.squares
                for name, f in SYMMETRIC.items()
            ],
            "results": [{k: plain(v) for k, v in small(m, n).items()} for m, n in [(4, 4), (6, 3)]],
        },
    )
    write(
        "lapack-large.json",
        {
            "made": made,
            "singularValues": [
                {"family": name, "n": n, **large_singular_values(f(n, n))}
                for n in options.large
                for name, f in FAMILIES.items()
            ],
            "eigenvalues": [
                {"family": name, "n": n, **large_eigenvalues(f(n))}
                for n in options.large
                for name, f in SYMMETRIC.items()
            ],
        },
    )


def write(name, value):
    with open(name, "w") as out:
        json.dump(value, out)
        out.write("\n")


main()
