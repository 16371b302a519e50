"""Makes the files of derived/: results of methods that PEFT does not have, by their equations in numpy and float64.

    venv/bin/python make_derived.py

A file holds W [6, 12], b [6], x [5, 12], y [5, 6], of a convolution what its function says, and the trained parameters by their names, with the decomposition of W made
here by LAPACK.
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

HERE = Path(__file__).parent / "derived"
rng = np.random.default_rng(7)
W, b, x = rng.normal(size=(6, 12)), rng.normal(size=6), rng.normal(size=(5, 12))


def save(name: str, merged: np.ndarray, **parameters: np.ndarray) -> None:
    save_result(name, x @ merged.T + b, **parameters)


def save_result(name: str, y: np.ndarray, **parameters: np.ndarray) -> None:
    tensors = {"W": W, "b": b, "x": x, "y": y, **parameters}
    save_file({key: np.ascontiguousarray(value, dtype=np.float32) for key, value in tensors.items()}, HERE / f"{name}.safetensors")


def rotation(n: int) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(n, n)))[0]


def edora() -> None:
    U, S, Vt = np.linalg.svd(W, full_matrices=False)
    A, B, s = S[:3, None] * Vt[:3], U[:, :3], 6 / 3
    R, m = rng.normal(size=(3, 3)), rng.normal(size=6)
    V = W + s * B @ R @ A
    save("edora", np.diag(m / np.linalg.norm(V, axis=1)) @ V, A=A, B=B, R=R, m=m)


def soda() -> None:
    U, S, Vt = np.linalg.svd(W, full_matrices=False)
    Q1, Q2, Q3, delta = rotation(2), rotation(2), rotation(3), rng.normal(size=6)
    K = np.kron(np.kron(Q1, Q2), Q3)
    save("soda", U @ np.diag(np.maximum(S + delta, 0)) @ Vt @ K.T, Q1=Q1, Q2=Q2, Q3=Q3, delta=delta)
    Q, R = np.linalg.qr(W.T)
    sign = np.sign(np.diag(R))
    L, Q = (sign[:, None] * R).T, (Q * sign).T
    save("soda-lq", (L + np.diag(delta)) @ Q @ K.T, Q1=Q1, Q2=Q2, Q3=Q3, delta=delta)


def fedpara() -> None:
    X1, X2, Y1, Y2 = (rng.normal(size=(n, 2)) for n in (6, 6, 12, 12))
    factors = {"X1": X1, "Y1": Y1, "X2": X2, "Y2": Y2}
    first, second = X1 @ Y1.T, X2 @ Y2.T
    save("fedpara", W + first * second, **factors)
    save("fedpara-personal", W + first * (second + 1), **factors)
    save("fedpara-tanh", W + np.tanh(first) * np.tanh(second), **factors)


def fedpara_conv() -> None:
    """W [6, 2, 3, 2], x [5, 2, 6, 5], a step of 2 down, rows of zeros around."""
    R = 2
    K, images = rng.normal(size=(6, 2, 3, 2)), rng.normal(size=(5, 2, 6, 5))
    X1, X2, Y1, Y2 = (rng.normal(size=(n, R)) for n in (6, 6, 2, 2))
    T1, T2 = (rng.normal(size=(R, R, 3, 2)) for _ in range(2))
    factors = {"X1": X1, "Y1": Y1, "T1": T1, "X2": X2, "Y2": Y2, "T2": T2}
    first, second = (np.einsum("abhw,oa,cb->ochw", t, x, y) for t, x, y in ((T1, X1, Y1), (T2, X2, Y2)))
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (0, 0)))
    for name, update in (
        ("fedpara-conv", first * second),
        ("fedpara-conv-personal", first * (second + 1)),
        ("fedpara-conv-tanh", np.tanh(first) * np.tanh(second)),
    ):
        y = np.zeros((5, 6, 3, 4)) + b[:, None, None]
        for v in range(3):
            for u in range(4):
                patch = padded[:, :, 2 * v : 2 * v + 3, u : u + 2]
                y[:, :, v, u] += np.einsum("nchw,ochw->no", patch, K + update)
        tensors = {"W": K, "b": b, "x": images, "y": y, **factors}
        save_file({key: np.ascontiguousarray(value, dtype=np.float32) for key, value in tensors.items()}, HERE / f"{name}.safetensors")


def fedpara_jacobian() -> None:
    """Gradients of mean((x W'^T + b - t)^2) with the correction, eta 0.1 and lambda 0.5; t [5, 6]."""
    eta, strength, t = 0.1, 0.5, rng.normal(size=(5, 6))
    X1, X2, Y1, Y2 = (rng.normal(size=(n, 2)) for n in (6, 6, 12, 12))

    def compose(X1, Y1, X2, Y2):
        return (X1 @ Y1.T) * (X2 @ Y2.T)

    def gradients(J, X1, Y1, X2, Y2):
        J1, J2 = J * (X2 @ Y2.T), J * (X1 @ Y1.T)
        return J1 @ Y1, J1.T @ X1, J2 @ Y2, J2.T @ X2

    factors = (X1, Y1, X2, Y2)
    residual = x @ (W + compose(*factors)).T + b - t
    J = 2 / residual.size * residual.T @ x
    plain = gradients(J, *factors)
    following = tuple(f - eta * g for f, g in zip(factors, plain))
    left = compose(*following) - (compose(*factors) - eta * J)
    correction = gradients(strength * left, *following)
    names = ("X1", "Y1", "X2", "Y2")
    tensors = {"W": W, "b": b, "x": x, "t": t} | dict(zip(names, factors))
    tensors |= {f"grad.{n}": g + c for n, g, c in zip(names, plain, correction)}
    save_file({key: np.ascontiguousarray(value, dtype=np.float32) for key, value in tensors.items()}, HERE / "fedpara-jacobian.safetensors")


def capaboost() -> None:
    A, B, s = rng.normal(size=(2, 12)), rng.normal(size=(6, 2)), 3 / 2
    masks = {name: (rng.random((3, *of.shape)) < 0.5).astype(float) for name, of in (("A", A), ("B", B))}
    merged = W + s * sum((B * b) @ (A * a) for a, b in zip(masks["A"], masks["B"]))
    save("capaboost", merged, A=A, B=B, mask_A=masks["A"], mask_B=masks["B"])


def dylora() -> None:
    A, B = rng.normal(size=(4, 12)), rng.normal(size=(6, 4))
    merged = W + 6 / 3 * sum(np.outer(B[:, i], A[i]) for i in range(3))
    save("dylora", merged, A=A, B=B)


def flix() -> None:
    factors = {f: (rng.normal(size=(2, 12)), rng.normal(size=(6, 2))) for f in ("sw", "bn", "qa")}
    merged = W + 3 / 2 * sum(factors[f][1] @ factors[f][0] for f in ("sw", "qa"))
    A, B = np.concatenate([a for a, _ in factors.values()]), np.concatenate([b for _, b in factors.values()], axis=1)
    save("flix", merged, A=A, B=B)


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def sira() -> None:
    """Five experts of rank 2, two per token; then the same where an expert takes ceil(1 * 2 * 5 / 5) = 2 tokens."""
    rng = np.random.default_rng(8)
    G, A, B, s = rng.normal(size=(5, 12)), rng.normal(size=(5, 2, 12)), rng.normal(size=(5, 6, 2)), 3 / 2
    g = softmax(x @ G.T)
    order = np.argsort(-g, axis=1, kind="stable")[:, :2]
    for name, places in (("sira", 5), ("sira-capacity", 2)):
        y, taken = x @ W.T + b, np.zeros(5, dtype=int)
        for choice in range(2):
            for token, e in enumerate(order[:, choice]):
                if taken[e] == places:
                    continue
                taken[e] += 1
                y[token] += g[token, e] * s * B[e] @ (A[e] @ x[token])
        save_result(name, y, G=G, A=A.reshape(10, 12), B=np.concatenate(B, axis=1))


def autolora() -> None:
    """The merged result, and the hypergradient of a step by complex differentiation: no step to choose, no rounding of a difference."""
    rng = np.random.default_rng(9)
    A, B, beta, s = rng.normal(size=(3, 12)), rng.normal(size=(6, 3)), rng.normal(size=3), 6 / 3
    save("autolora", W + s * B @ np.diag(softmax(beta)) @ A, A=A, B=B, beta=beta)

    data = {name: rng.normal(size=(9, n)) for name, n in (("x.train", 12), ("t.train", 6), ("x.validation", 12), ("t.validation", 6))}

    def weights(beta: np.ndarray) -> np.ndarray:
        e = np.exp(beta)  # complex; the variables are small
        return e / e.sum()

    def error(part: str, A: np.ndarray, B: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        return data[f"x.{part}"] @ (W + s * (B * alpha) @ A).T + b - data[f"t.{part}"]

    def after_step(beta: np.ndarray) -> complex:
        alpha, eta = weights(beta), 0.05
        G = 2 / (9 * 6) * error("train", A, B, alpha).T @ data["x.train"]  # dL/dW'
        ahead_A, ahead_B = A - eta * s * (B * alpha).T @ G, B - eta * s * G @ (alpha[:, None] * A).T
        return (error("validation", ahead_A, ahead_B, alpha) ** 2).mean()

    g = np.array([after_step(beta + 1e-30j * unit).imag / 1e-30 for unit in np.eye(3)])
    save_result("autolora-step", np.zeros(1), A=A, B=B, beta=beta, g=g, value=np.array([after_step(beta).real]), **data)


def colora() -> None:
    """Integrated gradients of sum((U tanh(V x + c) - t)^2) on two batches at five points, and ranks by trying every factor."""
    rng = np.random.default_rng(10)
    V, c, U = rng.normal(size=(8, 12)), rng.normal(size=8), rng.normal(size=(6, 8))
    to = {name: value + 0.3 * rng.normal(size=value.shape) for name, value in (("V", V), ("c", c), ("U", U))}
    x, t = rng.normal(size=(2, 4, 12)), rng.normal(size=(2, 4, 6))
    start, points = {"V": V, "c": c, "U": U}, 5
    sizes, total = {"V": 0.0, "U": 0.0}, 0.0
    for batch in range(2):
        slopes = {name: np.zeros_like(value) for name, value in start.items()}
        for n in range(points):
            at = {name: value + (1 - n / points) * (to[name] - value) for name, value in start.items()}
            h = np.tanh(x[batch] @ at["V"].T + at["c"])
            dy = 2 * (h @ at["U"].T - t[batch])
            dh = dy @ at["U"] * (1 - h**2)
            for name, g in (("U", dy.T @ h), ("V", dh.T @ x[batch]), ("c", dh.sum(axis=0))):
                slopes[name] += g / points
        for name, value in start.items():
            IG = (to[name] - value) * slopes[name]
            total += IG.sum() / 2
            if name in sizes:
                sizes[name] += np.abs(IG).mean() / 2
    names = {f"to.{name}": value for name, value in to.items()}
    tensors = {"V": V, "c": c, "U": U, "x.0": x[0], "x.1": x[1], "t.0": t[0], "t.1": t[1], **names}
    tensors |= {"contribution.V": np.array([sizes["V"]]), "contribution.U": np.array([sizes["U"]]), "total": np.array([total])}

    rows, columns, values = np.array([16, 24, 8, 32, 16]), np.array([144, 216, 72, 96, 16]), rng.gamma(1.0, size=5)
    shares = np.minimum(1, values / np.quantile(values, 0.9))

    def ranks_at(a: float) -> np.ndarray:
        full = np.minimum(1, a * shares) * rows * columns / (rows + columns)
        return np.minimum(np.maximum(1, np.floor(full + 1e-9)), np.minimum(rows, columns))

    # The ranks change only where some share reaches a whole rank.
    steps = sorted(r * (m + n) / (m * n) / s for m, n, s in zip(rows, columns, shares) for r in range(1, min(m, n) + 1))
    fitting = [a for a in [0.0, *steps] if (ranks_at(a) * (rows + columns)).sum() <= 0.15 * (rows * columns).sum()]
    tensors |= {"rows": rows, "columns": columns, "values": values, "ranks": ranks_at(max(fitting))}
    save_file({key: np.ascontiguousarray(value, dtype=np.float32) for key, value in tensors.items()}, HERE / "colora.safetensors")


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    edora()
    soda()
    fedpara()
    capaboost()
    flix()
    sira()
    fedpara_conv()
    dylora()
    fedpara_jacobian()
    autolora()
    colora()
