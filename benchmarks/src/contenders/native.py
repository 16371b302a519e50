"""The native side: numpy for products and rows, torch for the rest. Speaks the protocol of src/protocol.ts."""
import json
import os
import sys
import time

threads = int(os.environ.get("BENCH_THREADS", "1"))
lib = sys.argv[1]
import numpy as np  # noqa: E402

if lib == "torch":
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(threads)


def numbers(size, seed, scale=1.0):
    i = np.arange(size, dtype=np.uint64) + np.uint64(seed)
    u = (i * np.uint64(2654435761)) % np.uint64(2**32)
    return ((u.astype(np.float64) / 2**32 - 0.5) * scale).astype(np.float32)


def integers(size, seed, below):
    i = np.arange(size, dtype=np.uint64) + np.uint64(seed)
    u = (i * np.uint64(2654435761)) % np.uint64(2**32)
    return np.floor(u.astype(np.float64) / 2**32 * below).astype(np.int64)


def ends(y):
    flat = np.asarray(y).reshape(-1)
    return [float(flat[0]), float(flat[len(flat) >> 1]), float(flat[-1])]


def product(row):
    parts = row.split("-")
    n = int(parts[1])
    a, b = numbers(n * n, 1).reshape(n, n), numbers(n * n, 2).reshape(n, n)
    if len(parts) > 2:
        a = a.T if parts[2][0] == "t" else a
        b = b.T if parts[2][1] == "t" else b
    if lib == "torch":
        ta, tb = torch.from_numpy(a), torch.from_numpy(b)
        return (lambda: ta @ tb), (lambda: ends((ta @ tb).numpy()))
    return (lambda: a @ b), (lambda: ends(a @ b))


def with_numpy(row):
    if row == "softmax":
        x = numbers(4096 * 1024, 1, 8).reshape(4096, 1024)

        def f():
            e = np.exp(x - x.max(-1, keepdims=True))
            return e / e.sum(-1, keepdims=True)

        return f, lambda: ends(f())
    if row == "layernorm":
        x = numbers(4096 * 1024, 1, 8).reshape(4096, 1024)
        w, b = numbers(1024, 2, 2), numbers(1024, 3, 2)

        def g():
            c = x - x.mean(-1, keepdims=True)
            return c / np.sqrt((c * c).mean(-1, keepdims=True) + 1e-5) * w + b

        return g, lambda: ends(g())
    return "numpy has no automatic differentiation" if row in ("mlp", "decoder") else "numpy has no erf"


def with_torch(row):
    if row == "chain":
        x, y, z = (torch.from_numpy(numbers(16777216, s, 4)) for s in (1, 2, 3))
        f = lambda: F.gelu(x * y + z)  # noqa: E731
    elif row == "softmax":
        x = torch.from_numpy(numbers(4096 * 1024, 1, 8).reshape(4096, 1024))
        f = lambda: torch.softmax(x, -1)  # noqa: E731
    elif row == "layernorm":
        x = torch.from_numpy(numbers(4096 * 1024, 1, 8).reshape(4096, 1024))
        w, b = torch.from_numpy(numbers(1024, 2, 2)), torch.from_numpy(numbers(1024, 3, 2))
        f = lambda: F.layer_norm(x, (1024,), w, b, 1e-5)  # noqa: E731
    elif row == "mlp":
        return mlp()
    elif row == "decoder":
        return decoder()
    else:
        return f"no row {row}"
    return f, lambda: ends(f().numpy())


def mlp():
    sizes = [784, 1024, 1024, 10]
    ws = []
    for i in range(3):
        n, m = sizes[i], sizes[i + 1]
        w = torch.from_numpy(numbers(n * m, 100 * (i + 1), 2 / n**0.5).reshape(m, n)).requires_grad_()
        ws += [w, torch.zeros(m, requires_grad=True)]
    x = torch.from_numpy(numbers(128 * 784, 7).reshape(128, 784))
    labels = torch.from_numpy(integers(128, 3, 10))
    opt = torch.optim.Adam(ws, lr=1e-3)

    def step():
        h = x
        for i in range(3):
            h = F.linear(h, ws[2 * i], ws[2 * i + 1])
            if i < 2:
                h = F.relu(h)
        loss = F.cross_entropy(h, labels)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return float(loss)

    return step, lambda: [step(), step(), step()]


def decoder():
    L, D, H, I, V, B, T = 2, 256, 4, 768, 4096, 8, 128
    shapes = [("model.embed_tokens.weight", (V, D))]
    for n in range(L):
        at = f"model.layers.{n}"
        shapes.append((f"{at}.input_layernorm.weight", (D,)))
        shapes += [(f"{at}.self_attn.{p}_proj.weight", (D, D)) for p in "qkvo"]
        shapes.append((f"{at}.post_attention_layernorm.weight", (D,)))
        shapes += [(f"{at}.mlp.gate_proj.weight", (I, D)), (f"{at}.mlp.up_proj.weight", (I, D)), (f"{at}.mlp.down_proj.weight", (D, I))]
    shapes += [("model.norm.weight", (D,)), ("lm_head.weight", (V, D))]
    p = {}
    for i, (name, shape) in enumerate(shapes):
        size = int(np.prod(shape))
        v = np.ones(size, np.float32) if len(shape) == 1 else numbers(size, 1000 * (i + 1), 0.12)
        p[name] = torch.from_numpy(v.reshape(shape)).requires_grad_()
    ids = torch.from_numpy(integers(B * T, 11, V).reshape(B, T))
    freq = 1.0 / (10000.0 ** (torch.arange(0, D // H, 2).float() / (D // H)))
    angle = torch.outer(torch.arange(T).float(), freq)
    cos, sin = torch.cat([angle.cos()] * 2, -1), torch.cat([angle.sin()] * 2, -1)

    def norm(x, w):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * w

    def rope(x):
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat([-b, a], -1) * sin

    def step():
        h = F.embedding(ids, p["model.embed_tokens.weight"])
        for n in range(L):
            w = lambda s: p[f"model.layers.{n}.{s}.weight"]  # noqa: E731, B023
            x = norm(h, w("input_layernorm"))
            q, k, v = (F.linear(x, w(f"self_attn.{s}_proj")).view(B, T, H, D // H).transpose(1, 2) for s in "qkv")
            o = F.scaled_dot_product_attention(rope(q), rope(k), v, is_causal=True)
            h = h + F.linear(o.transpose(1, 2).reshape(B, T, D), w("self_attn.o_proj"))
            x = norm(h, w("post_attention_layernorm"))
            h = h + F.linear(F.silu(F.linear(x, w("mlp.gate_proj"))) * F.linear(x, w("mlp.up_proj")), w("mlp.down_proj"))
        logits = F.linear(norm(h, p["model.norm.weight"]), p["lm_head.weight"])
        loss = F.cross_entropy(logits[:, :-1].reshape(-1, V), ids[:, 1:].reshape(-1))
        for t in p.values():
            t.grad = None
        loss.backward()
        return float(loss)

    def check():
        loss = step()
        names = ["model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight"]
        return [loss] + [float(p[n].grad.norm()) for n in names]

    return step, check


def reply(r):
    sys.stdout.write(json.dumps(r) + "\n")
    sys.stdout.flush()


version = np.__version__ if lib == "numpy" else torch.__version__
reply({"hello": lib, "details": f"{lib} {version}"})
run = None
for line in sys.stdin:
    request = json.loads(line)
    try:
        if "prepare" in request:
            row = request["prepare"]
            job = product(row) if row.startswith("matmul") else (with_torch if lib == "torch" else with_numpy)(row)
            if isinstance(job, str):
                reply({"cannot": job})
                continue
            run, check = job
            reply({"ready": check()})
        else:
            ms = []
            for _ in range(request["run"]):
                began = time.perf_counter()
                run()
                ms.append((time.perf_counter() - began) * 1000)
            reply({"ms": ms})
    except Exception as error:  # told to the parent, which reports it
        reply({"cannot": str(error).split("\n")[0]})
