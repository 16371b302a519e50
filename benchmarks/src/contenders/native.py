"""The native side: numpy for products and rows, torch for all. Speaks the protocol of src/protocol.ts."""

import itertools
import json
import os
import sys
import time

LIB = sys.argv[1]
THREADS = int(os.environ.get("BENCH_THREADS", "1"))

import numpy as np  # noqa: E402

if LIB == "torch":
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(THREADS)


def unit(size, seed):
    """Elements of a stream in [0, 1): the same bits as in src/inputs.ts."""
    h = np.arange(size, dtype=np.uint32) + np.uint32((seed * 0x9E3779B9) % 2**32)
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return (h ^ (h >> np.uint32(16))).astype(np.float64) / 2**32


def fill(f):
    u = unit(int(np.prod(f["shape"])), f["seed"])
    return (f["offset"] + (u - 0.5) * f["scale"]).astype(np.float32).reshape(f["shape"])


def draw(d):
    u = unit(int(np.prod(d["shape"])), d["seed"])
    return np.floor(u * d["below"]).astype(np.int64).reshape(d["shape"])


def digest(values):
    flat = np.asarray(values).reshape(-1)
    wide = flat.astype(np.float64)
    spread = [float(flat[(k * (flat.size - 1)) // 60]) for k in range(61)]
    return {"elements": [float(np.sqrt(np.mean(wide * wide))), float(wide.mean()), *spread]}


class Parts:
    """Does f, which gives named arrays, and reads the last number of y."""

    def __init__(self, f):
        self.f = f

    def run(self):
        y = self.f()["y"]
        return float(y[(-1,) * y.ndim])

    def check(self):
        made = self.f()
        arrays = {k: v if isinstance(v, np.ndarray) else v.detach().float().numpy() for k, v in made.items()}
        return {k: digest(v)["elements"] for k, v in arrays.items()}


def single(f):
    return Parts(lambda: {"y": f()})


def rotated(copies, f):
    """f of the next copy at each run."""
    turn = itertools.cycle(copies)
    return single(lambda: f(next(turn)))


def transposed(x, flag):
    return x.T if flag else x


def numpy_matmul(s):
    a, b = transposed(fill(s["a"]), s["transposeA"]), transposed(fill(s["b"]), s["transposeB"])
    return single(lambda: a @ b)


def numpy_rank(s):
    x, a, b = (fill(s[n]) for n in "xab")
    if not s["dy"]:
        return single(lambda: (x @ a) @ b)
    dy = fill(s["dy"])

    def f():
        low = x @ a
        dlow = dy @ b.T
        return {"y": low @ b, "dx": dlow @ a.T, "da": x.T @ dlow, "db": low.T @ dy}

    return Parts(f)


def numpy_softmax(s):
    if s["dy"]:
        return NO_GRADIENTS
    x = fill(s["x"])

    def f():
        e = np.exp(x - x.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    return single(f)


def numpy_layernorm(s):
    if s["dy"]:
        return NO_GRADIENTS
    x, w, b = fill(s["x"]), fill(s["weight"]), fill(s["bias"])

    def f():
        c = x - x.mean(-1, keepdims=True)
        return c / np.sqrt((c * c).mean(-1, keepdims=True) + np.float32(s["eps"])) * w + b

    return single(f)


def numpy_matvec(s):
    w = s["weights"]
    if w["dtype"] != "f32":
        return f"numpy has no fast product with {w['dtype']} weights"
    x, first = fill(s["x"]), fill(w["values"])
    return rotated([first.copy() for _ in range(s["copies"])], lambda c: x @ c.T)


def randomized(a, rank=32, oversample=10, power_steps=2):
    """The SVD of a cut to `rank`, as Halko, Martinsson and Tropp 2011 describe it."""
    w = np.random.default_rng(1).standard_normal((a.shape[1], rank + oversample)).astype(a.dtype)
    q = np.linalg.qr(a @ w)[0]
    for _ in range(power_steps):
        q = np.linalg.qr(a.T @ q)[0]
        q = np.linalg.qr(a @ q)[0]
    u, values, vt = np.linalg.svd(q.T @ a, full_matrices=False)
    return (q @ u)[:, :rank], values[:rank], vt[:rank]


def numpy_decomposition(s):
    dtype = np.float64 if s["dtype"] == "f64" else np.float32
    a = fill(s["a"]).astype(np.float64)
    n = a.shape[0]
    if s["what"] in ("eigh", "cholesky"):
        a = (a + a.T) / 2 + (n * np.eye(n) if s["what"] == "cholesky" else 0)
    a, b = a.astype(dtype), fill(s["b"]).astype(dtype)
    f = {
        "svd": lambda: np.linalg.svd(a, full_matrices=False)[1][::-1],
        "eigh": lambda: np.linalg.eigh(a)[0],
        "qr": lambda: abs(np.linalg.qr(a)[1].diagonal()),
        "cholesky": lambda: np.linalg.cholesky(a),
        "solve": lambda: np.linalg.solve(a, b),
        "randomized": lambda: randomized(a)[1][::-1],
    }
    job = single(f[s["what"]])
    job.cpu = True
    return job


NO_GRADIENTS = "numpy has no gradients"
NUMPY = {
    "matmul": numpy_matmul,
    "rank": numpy_rank,
    "softmax": numpy_softmax,
    "layernorm": numpy_layernorm,
    "chain": lambda s: "numpy has no erf",
    "mlp": lambda s: NO_GRADIENTS,
    "decoder": lambda s: NO_GRADIENTS,
    "matvec": numpy_matvec,
    "decomposition": numpy_decomposition,
}


def torch_fill(f):
    return torch.from_numpy(fill(f))


def torch_matmul(s):
    a, b = torch_fill(s["a"]), torch_fill(s["b"])
    a, b = transposed(a, s["transposeA"]), transposed(b, s["transposeB"])
    return single(lambda: a @ b)


def torch_chain(s):
    x, y, z = (torch_fill(s[n]) for n in "xyz")
    return single(lambda: F.gelu(x * y + z))


def differentiated(f, inputs, dy):
    """y = f(inputs), and where dy arrives at it the gradients for the inputs, by their names."""
    if not dy:
        return single(lambda: f(*inputs.values()))
    xs, dy = [t.requires_grad_() for t in inputs.values()], torch_fill(dy)

    def both():
        y = f(*xs)
        return {"y": y, **{f"d{n}": g for n, g in zip(inputs, torch.autograd.grad(y, xs, dy))}}

    return Parts(both)


def torch_rank(s):
    return differentiated(lambda x, a, b: (x @ a) @ b, {n: torch_fill(s[n]) for n in "xab"}, s["dy"])


def torch_softmax(s):
    return differentiated(lambda x: torch.softmax(x, -1), {"x": torch_fill(s["x"])}, s["dy"])


def torch_layernorm(s):
    inputs = {n: torch_fill(s[n]) for n in ("x", "weight", "bias")}
    return differentiated(lambda x, w, b: F.layer_norm(x, w.shape, w, b, s["eps"]), inputs, s["dy"])


def torch_matvec(s):
    w = s["weights"]
    if "values" not in w:
        return f"torch has no public product with {w['dtype']} weights in groups"
    dtype = torch.float32 if w["dtype"] == "f32" else torch.float16
    x, first = torch_fill(s["x"]).to(dtype), torch_fill(w["values"]).to(dtype)
    return rotated([first.clone() for _ in range(s["copies"])], lambda c: F.linear(x, c))


class Mlp:
    def __init__(self, s):
        self.p = []
        for f in s["weights"]:
            self.p += [torch_fill(f).requires_grad_(), torch.zeros(f["shape"][0], requires_grad=True)]
        self.x, self.labels = torch_fill(s["x"]), torch.from_numpy(draw(s["labels"]))
        self.opt = torch.optim.Adam(self.p, lr=s["lr"], betas=(s["beta1"], s["beta2"]), eps=s["eps"])
        self.losses = []

    def run(self):
        h = self.x
        for i in range(0, len(self.p), 2):
            h = F.linear(h, self.p[i], self.p[i + 1])
            if i + 2 < len(self.p):
                h = F.relu(h)
        loss = F.cross_entropy(h, self.labels)
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()
        if len(self.losses) < 5:
            self.losses.append(loss.item())
        return loss.item()

    def check(self):
        while len(self.losses) < 5:
            self.run()
        return {f"loss {i}": [x] for i, x in enumerate(self.losses)}


class Decoder:
    def __init__(self, s):
        self.s = s
        self.p = {name: torch_fill(f).requires_grad_() for name, f in s["weights"].items()}
        self.ids = torch.from_numpy(draw(s["ids"]))
        size = s["width"] // s["heads"]
        frequencies = s["theta"] ** (-torch.arange(0, size, 2).float() / size)
        angle = torch.outer(torch.arange(s["length"]).float(), frequencies)
        self.cos, self.sin = torch.cat([angle.cos()] * 2, -1), torch.cat([angle.sin()] * 2, -1)

    def norm(self, x, name):
        w = self.p[f"{name}.weight"]
        return F.rms_norm(x, w.shape, w, self.s["eps"])

    def linear(self, x, name):
        return F.linear(x, self.p[f"{name}.weight"])

    def rope(self, x):
        a, b = x.chunk(2, -1)
        return x * self.cos + torch.cat([-b, a], -1) * self.sin

    def loss(self):
        batch, length, heads, width = (self.s[n] for n in ("batch", "length", "heads", "width"))
        h = F.embedding(self.ids, self.p["model.embed_tokens.weight"])
        for n in range(self.s["layers"]):
            at = f"model.layers.{n}"
            x = self.norm(h, f"{at}.input_layernorm")
            q, k, v = (
                self.linear(x, f"{at}.self_attn.{c}_proj").view(batch, length, heads, -1).transpose(1, 2) for c in "qkv"
            )
            o = F.scaled_dot_product_attention(self.rope(q), self.rope(k), v, is_causal=True)
            h = h + self.linear(o.transpose(1, 2).reshape(batch, length, width), f"{at}.self_attn.o_proj")
            y = self.norm(h, f"{at}.post_attention_layernorm")
            inner = F.silu(self.linear(y, f"{at}.mlp.gate_proj")) * self.linear(y, f"{at}.mlp.up_proj")
            h = h + self.linear(inner, f"{at}.mlp.down_proj")
        logits = self.linear(self.norm(h, "model.norm")[:, :-1], "lm_head")
        return F.cross_entropy(logits.reshape(-1, self.s["vocabulary"]), self.ids[:, 1:].reshape(-1))

    def run(self):
        for t in self.p.values():
            t.grad = None
        loss = self.loss()
        loss.backward()
        return loss.item()

    def check(self):
        loss = self.run()
        return {"loss": [loss], **{name: digest(t.grad.numpy())["elements"] for name, t in self.p.items()}}


TORCH = {
    "matmul": torch_matmul,
    "rank": torch_rank,
    "chain": torch_chain,
    "softmax": torch_softmax,
    "layernorm": torch_layernorm,
    "mlp": Mlp,
    "decoder": Decoder,
    "matvec": torch_matvec,
}


def blas():
    """The library behind numpy's products, as numpy was built."""
    try:
        found = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return f"{found['name']} {found['version']}"
    except (TypeError, KeyError):  # older than 1.25
        return "BLAS unknown"


def repeat(job, at_least_ms, at_most):
    ms, cpu_ms = [], []
    start = time.perf_counter()
    while True:
        worked, began = time.process_time(), time.perf_counter()
        job.run()
        ended = time.perf_counter()
        ms.append((ended - began) * 1000)
        cpu_ms.append((time.process_time() - worked) * 1000)
        if len(ms) >= at_most or (ended - start) * 1000 >= at_least_ms:
            return {"ms": ms, "cpu_ms": cpu_ms} if getattr(job, "cpu", False) else {"ms": ms}


def answer(state, request):
    if "prepare" in request:
        job = (TORCH if LIB == "torch" else NUMPY)[request["prepare"]["kind"]](request["prepare"])
        if isinstance(job, str):
            return {"cannot": job}
        began = time.perf_counter()
        job.run()
        state["job"] = job
        return {"first": (time.perf_counter() - began) * 1000}
    if "check" in request:
        return {"check": state["job"].check()}
    return repeat(state["job"], request["run"]["atLeastMs"], request["run"]["atMost"])


def reply(r):
    print(json.dumps(r), flush=True)


version = f"{np.__version__} with {blas()}" if LIB == "numpy" else torch.__version__
reply({"hello": LIB, "details": f"{LIB} {version}, Python {sys.version.split()[0]}", "threads": THREADS})
state = {"job": None}
for line in sys.stdin:
    try:
        reply(answer(state, json.loads(line)))
    except Exception as error:  # told to the parent, which reports it
        reply({"cannot": f"{type(error).__name__}: {error}".split("\n")[0]})
