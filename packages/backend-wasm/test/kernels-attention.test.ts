import type { DType } from "@lowrank/tensor/backend";
import { afterAll, beforeAll, describe, test } from "vitest";
import { expectClose, Machines, Numbers, sizeOf, stepOf } from "./kernel-case.js";
import type { TestInput } from "./run-kernel.js";

let machines: Machines;
beforeAll(async () => {
  machines = await Machines.create();
});
afterAll(() => machines.dispose());

const numbers = new Numbers(11);

interface Case {
  b: number;
  t: number;
  s: number;
  h: number;
  hk: number;
  d: number;
  dv: number;
  causal?: boolean;
  offset?: number;
  /** Which axes of the mask [B, H, T, S] are broadcast. */
  mask?: readonly [boolean, boolean, boolean, boolean];
  /** Length of texts that the mask keeps apart; default: a random mask. */
  texts?: number;
  dtype?: DType;
  cacheDtype?: DType;
  fused?: boolean;
}

const strideOf = (dims: readonly number[]): number[] => dims.map((_, d) => sizeOf(dims.slice(d + 1)));

/** An operand [b, n, heads, width] that is dense, or a slice of a wider tensor (a fused projection). */
function operand(
  dims: number[],
  dtype: DType,
  fused: boolean,
): TestInput & { strides: number[]; offset: number } {
  const [b, n, heads, width] = dims as [number, number, number, number];
  if (!fused)
    return { dtype, dims, numbers: numbers.list(sizeOf(dims), dtype), strides: strideOf(dims), offset: 0 };
  const row = heads * width * 2 + 3;
  return {
    dtype,
    dims,
    numbers: numbers.list(b * n * row + 7, dtype),
    strides: [n * row, row, width, 1],
    offset: 7,
  };
}

const read = (x: TestInput, ...index: number[]): number =>
  x.numbers[index.reduce((at, i, d) => at + i * x.strides![d]!, x.offset ?? 0)]!;

function maskOperand(c: Case): TestInput | null {
  const { b, h, t, s, mask } = c;
  if (!mask) return null;
  const dims = [b, h, t, s];
  const stored = dims.map((n, d) => (mask[d] ? 1 : n));
  const strides = strideOf(stored).map((stride, d) => (mask[d] ? 0 : stride));
  // Texts packed into rows see only themselves; the gaps between may leave a query without any key.
  const text = (i: number) => Math.floor((i + 5) / c.texts!);
  const values = c.texts
    ? numbers.list(sizeOf(stored)).map((_, at) => {
        const [i, j] = [Math.floor(at / stored[3]!) % stored[2]!, at % stored[3]!];
        return Number(text(i) === text(j) && text(i) % 3 !== 2);
      })
    : numbers.list(sizeOf(stored)).map((v) => Number(v > -0.3));
  return { dtype: "bool", dims, numbers: values, strides };
}

/** Attention and its gradients by plain loops. */
function plain(
  c: Case,
  q: TestInput,
  k: TestInput,
  v: TestInput,
  mask: TestInput | null,
  grad: TestInput,
  scale: number,
) {
  const { b, t, s, h, hk, d, dv, causal = false, offset = 0 } = c;
  const o = new Float64Array(b * t * h * dv);
  const lse = new Float64Array(b * h * t);
  const dq = new Float64Array(b * t * h * d);
  const dk = new Float64Array(b * s * hk * d);
  const dvs = new Float64Array(b * s * hk * dv);
  for (let n = 0; n < b; n++)
    for (let head = 0; head < h; head++) {
      const kh = Math.floor(head / (h / hk));
      for (let i = 0; i < t; i++) {
        const scores = Array.from({ length: s }, (_, j) => {
          if ((causal && j > i + offset) || (mask && !read(mask, n, head, i, j)))
            return Number.NEGATIVE_INFINITY;
          let sum = 0;
          for (let e = 0; e < d; e++) sum += read(q, n, i, head, e) * read(k, n, j, kh, e);
          return sum * scale;
        });
        const top = scores.reduce((m, x) => Math.max(m, x), Number.NEGATIVE_INFINITY);
        const shift = top === Number.NEGATIVE_INFINITY ? 0 : top;
        const total = scores.reduce((sum, x) => sum + Math.exp(x - shift), 0);
        lse[(n * h + head) * t + i] = Math.log(total) + shift;
        const p = scores.map((x) => (total === 0 ? 0 : Math.exp(x - shift) / total));
        const at = ((n * t + i) * h + head) * dv;
        const dp = p.map((weight, j) => {
          let sum = 0;
          for (let e = 0; e < dv; e++) {
            o[at + e]! += weight * read(v, n, j, kh, e);
            sum += read(grad, n, i, head, e) * read(v, n, j, kh, e);
            dvs[((n * s + j) * hk + kh) * dv + e]! += weight * read(grad, n, i, head, e);
          }
          return sum;
        });
        const delta = p.reduce((sum, weight, j) => sum + weight * dp[j]!, 0);
        p.forEach((weight, j) => {
          const slope = weight * (dp[j]! - delta) * scale;
          for (let e = 0; e < d; e++) {
            dq[((n * t + i) * h + head) * d + e]! += slope * read(k, n, j, kh, e);
            dk[((n * s + j) * hk + kh) * d + e]! += slope * read(q, n, i, head, e);
          }
        });
      }
    }
  return { o, lse, dq, dk, dv: dvs };
}

function check(c: Case): void {
  const {
    b,
    t,
    s,
    h,
    hk,
    d,
    dv,
    causal = false,
    offset = 0,
    dtype = "f32",
    cacheDtype = dtype,
    fused = false,
  } = c;
  const what = JSON.stringify(c);
  const q = operand([b, t, h, d], dtype, fused);
  const k = operand([b, s, hk, d], cacheDtype, fused);
  const v = operand([b, s, hk, dv], cacheDtype, fused);
  const mask = maskOperand(c);
  const grad = operand([b, t, h, dv], "f32", fused);
  const scale = d ** -0.5 * 3;
  const want = plain(c, q, k, v, mask, grad, scale);
  const arg = { scale, causal, mask: mask !== null };
  const inputs = [q, k, v, { scalar: offset, dtype: "i32" as const }, ...(mask ? [mask] : [])];
  const outDims = [b, t, h, dv];
  const [o, lse] = machines.run("attention", arg, inputs, [
    { dtype, dims: outDims },
    { dtype: "f32", dims: [b, h, t] },
  ]);
  expectClose(`o ${what}`, o!, want.o, stepOf(dtype), 3e-6);
  expectClose(`lse ${what}`, lse!, want.lse, 1e-6, 2e-6);
  if (dtype !== "f32" || cacheDtype !== "f32") return;
  const gradients = machines.run(
    "attentionBackward",
    arg,
    [
      ...inputs,
      { dtype, dims: outDims, numbers: o! },
      { dtype: "f32", dims: [b, h, t], numbers: lse! },
      grad,
    ],
    [q, k, v].map((x) => ({ dtype, dims: x.dims })),
  );
  expectClose(`dq ${what}`, gradients[0]!, want.dq, 1e-5, 1e-5);
  expectClose(`dk ${what}`, gradients[1]!, want.dk, 1e-5, 1e-5);
  expectClose(`dv ${what}`, gradients[2]!, want.dv, 1e-5, 1e-5);
}

describe("attention", () => {
  test("one block and many, heads alone and grouped, widths odd and unlike", () => {
    check({ b: 1, t: 1, s: 1, h: 1, hk: 1, d: 1, dv: 1 });
    check({ b: 2, t: 3, s: 5, h: 2, hk: 1, d: 3, dv: 2 });
    check({ b: 2, t: 9, s: 9, h: 4, hk: 2, d: 8, dv: 8 });
    check({ b: 1, t: 65, s: 130, h: 2, hk: 2, d: 16, dv: 24 });
    check({ b: 2, t: 70, s: 67, h: 6, hk: 2, d: 20, dv: 33 });
    check({ b: 1, t: 128, s: 128, h: 1, hk: 1, d: 64, dv: 64 });
    check({ b: 1, t: 7, s: 200, h: 3, hk: 1, d: 128, dv: 40 });
  });

  test("causal, with keys before the first query and without", () => {
    check({ b: 1, t: 5, s: 5, h: 1, hk: 1, d: 4, dv: 4, causal: true });
    check({ b: 2, t: 130, s: 130, h: 2, hk: 1, d: 16, dv: 16, causal: true });
    check({ b: 1, t: 70, s: 200, h: 4, hk: 2, d: 16, dv: 16, causal: true, offset: 130 });
    check({ b: 1, t: 70, s: 200, h: 2, hk: 2, d: 12, dv: 16, causal: true, offset: 20 });
    // the first rows see nothing
    check({ b: 1, t: 90, s: 90, h: 2, hk: 2, d: 8, dv: 8, causal: true, offset: -10 });
    check({ b: 1, t: 6, s: 4, h: 2, hk: 2, d: 8, dv: 8, causal: true, offset: -100 });
  });

  test("boolean masks with any axes broadcast", () => {
    for (const mask of [
      [false, false, false, false],
      [false, true, true, false],
      [true, true, false, false],
      [false, false, false, true],
      [true, true, true, true],
    ] as const) {
      check({ b: 2, t: 9, s: 70, h: 4, hk: 2, d: 8, dv: 8, mask });
      check({ b: 2, t: 66, s: 66, h: 2, hk: 1, d: 8, dv: 8, mask, causal: true });
      check({ b: 2, t: 1, s: 70, h: 2, hk: 2, d: 8, dv: 8, mask });
    }
  });

  test("packed texts, whose blocks see few of the keys or none", () => {
    const mask = [false, true, false, false] as const;
    check({ b: 2, t: 300, s: 300, h: 4, hk: 2, d: 16, dv: 8, mask, texts: 40, causal: true });
    check({ b: 1, t: 290, s: 290, h: 1, hk: 1, d: 8, dv: 16, mask, texts: 70 });
    check({ b: 1, t: 131, s: 400, h: 2, hk: 1, d: 12, dv: 12, mask, texts: 90, causal: true, offset: 200 });
    check({ b: 1, t: 50, s: 17, h: 2, hk: 2, d: 8, dv: 8, mask, texts: 9 });
  });

  test("few heads with many queries, whose gradients are summed in parts", () => {
    check({ b: 1, t: 300, s: 300, h: 1, hk: 1, d: 16, dv: 12, causal: true });
    check({ b: 1, t: 260, s: 100, h: 4, hk: 2, d: 9, dv: 16 });
  });

  test("operands that are slices of a fused projection", () => {
    check({ b: 2, t: 40, s: 40, h: 4, hk: 4, d: 16, dv: 16, fused: true, causal: true });
    check({ b: 2, t: 1, s: 90, h: 4, hk: 2, d: 16, dv: 16, fused: true });
    check({ b: 1, t: 2, s: 33, h: 2, hk: 2, d: 7, dv: 5, fused: true, causal: true, offset: 31 });
  });

  test("one query over a long cache, in f32 and in half types", () => {
    for (const cacheDtype of ["f32", "f16", "bf16"] as const) {
      check({ b: 1, t: 1, s: 1000, h: 4, hk: 4, d: 64, dv: 64, cacheDtype, causal: true, offset: 700 });
      check({ b: 2, t: 1, s: 333, h: 8, hk: 2, d: 32, dv: 48, cacheDtype });
      check({ b: 1, t: 3, s: 130, h: 1, hk: 1, d: 10, dv: 6, cacheDtype, causal: true, offset: 127 });
      check({ b: 1, t: 20, s: 130, h: 9, hk: 3, d: 24, dv: 16, cacheDtype, causal: true, offset: 110 });
    }
  });

  test("half results", () => {
    for (const dtype of ["f16", "bf16"] as const) {
      check({ b: 1, t: 1, s: 40, h: 2, hk: 1, d: 16, dv: 10, dtype });
      check({ b: 2, t: 17, s: 40, h: 2, hk: 1, d: 16, dv: 16, dtype, causal: true, offset: 23 });
    }
  });

  test("no queries, no keys", () => {
    check({ b: 2, t: 0, s: 3, h: 2, hk: 1, d: 4, dv: 4 });
    check({ b: 2, t: 3, s: 0, h: 2, hk: 1, d: 4, dv: 4 });
    check({ b: 0, t: 3, s: 3, h: 2, hk: 1, d: 4, dv: 4 });
  });
});
