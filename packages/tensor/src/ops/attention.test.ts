import { expect, test } from "vitest";
import { checkGradients, draw, expectClose, ints, numbers } from "../../test/check-gradients.js";
import { gradients } from "../autograd.js";
import { applyMulti, type Tensor } from "../tensor.js";
import { attention, attentionOp, scaledDotProductAttention } from "./attention.js";
import { concat } from "./concat.js";
import { arange, ones, scalar, tensor, zeros } from "./create.js";
import { add, and, eq, ge, gt, le, mul } from "./elementwise.js";
import { matmul } from "./matmul.js";
import { permute, repeat, reshape, slice, transpose } from "./movement.js";
import { softmax } from "./softmax.js";

/** Rows of queries by plain loops: [B, T, H, D] with every key in a list of visible ones. */
function naive(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  sees: (b: number, h: number, i: number, j: number) => boolean,
): number[] {
  const [b, t, h, d] = q.shape as [number, number, number, number];
  const [, s, hk] = k.shape as [number, number, number];
  const dv = v.shape[3]!;
  const [qn, kn, vn] = [numbers(q), numbers(k), numbers(v)];
  const out: number[] = [];
  for (let n = 0; n < b; n++)
    for (let i = 0; i < t; i++)
      for (let a = 0; a < h; a++) {
        const c = Math.floor(a / (h / hk));
        const weights = Array.from({ length: s }, (_, j) => {
          if (!sees(n, a, i, j)) return 0;
          let dot = 0;
          for (let x = 0; x < d; x++)
            dot += qn[((n * t + i) * h + a) * d + x]! * kn[((n * s + j) * hk + c) * d + x]!;
          return Math.exp(dot / Math.sqrt(d));
        });
        const total = weights.reduce((x, y) => x + y, 0);
        for (let x = 0; x < dv; x++) {
          let y = 0;
          for (let j = 0; j < s; j++)
            y += (weights[j]! / (total || 1)) * vn[((n * s + j) * hk + c) * dv + x]!;
          out.push(y);
        }
      }
  return out;
}

const qkv = (
  b: number,
  t: number,
  s: number,
  h: number,
  hk: number,
  d = 4,
  dv = 3,
): [Tensor, Tensor, Tensor] => [draw([b, t, h, d], 1), draw([b, s, hk, d], 2), draw([b, s, hk, dv], 3)];

test("attention agrees with plain loops, with and without causality, groups and an offset", () => {
  const [q, k, v] = qkv(2, 3, 5, 4, 2);
  expectClose(
    numbers(attention(q, k, v)),
    naive(q, k, v, () => true),
  );
  expectClose(
    numbers(attention(q, k, v, { causal: true })),
    naive(q, k, v, (_b, _h, i, j) => j <= i),
  );
  expectClose(
    numbers(attention(q, k, v, { causal: true, offset: 2 })),
    naive(q, k, v, (_b, _h, i, j) => j <= i + 2),
  );
  const lazy = scalar(2, { dtype: "i32" });
  expectClose(
    numbers(attention(q, k, v, { causal: true, offset: lazy })),
    naive(q, k, v, (_b, _h, i, j) => j <= i + 2),
  );
});

test("the scale is a factor of the scores", () => {
  const [q, k, v] = qkv(1, 2, 3, 1, 1);
  expectClose(numbers(attention(q, k, v, { scale: 1 })), numbers(attention(mul(q, 2), k, v)));
});

test("grouped queries equal repeated key heads", () => {
  const [q, k, v] = qkv(2, 3, 3, 6, 2);
  const many = attention(q, repeat(k, 3, 2), repeat(v, 3, 2), { causal: true });
  expectClose(numbers(attention(q, k, v, { causal: true })), numbers(many));
});

test("PyTorch's layout is the same numbers in another order", () => {
  const [q, k, v] = qkv(2, 3, 3, 2, 2).map((t) => permute(t, [0, 2, 1, 3])) as [Tensor, Tensor, Tensor];
  const y = scaledDotProductAttention(q, k, v);
  const p = softmax(mul(matmul(q, transpose(k)), 0.5));
  expectClose(numbers(y), numbers(matmul(p, v)));
  const [q2, k2, v2] = [q, k, v].map((t) => slice(t, [0, 0])) as [Tensor, Tensor, Tensor];
  expectClose(numbers(scaledDotProductAttention(q2, k2, v2)), numbers(slice(y, [0, 0])));
});

test("a masked packed sequence equals its pieces one by one, gradients too", () => {
  const lengths = [2, 3, 1];
  const [q, k, v] = qkv(1, 6, 6, 4, 2);
  const piece = ints([0, 0, 1, 1, 1, 2]);
  const mask = eq(reshape(piece, [6, 1]), piece);
  const packed = attention(q, k, v, { mask, causal: true });
  let at = 0;
  const parts = lengths.map((n) => {
    const range = [null, [at, (at += n)]] as const;
    return attention(slice(q, range), slice(k, range), slice(v, range), { causal: true });
  });
  const alone = concat(parts, 1);
  expectClose(numbers(packed), numbers(alone));
  const dy = draw(packed.shape, 4);
  const [a, b] = [packed, alone].map((y) => gradients(y, [q, k, v], dy));
  for (let i = 0; i < 3; i++) expectClose(numbers(a![i]!), numbers(b![i]!));
});

test("a mask may differ between heads and rows of the batch", () => {
  const [q, k, v] = qkv(2, 2, 3, 4, 2);
  const mask = gt(draw([2, 4, 2, 3], 5), -0.3);
  const m = numbers(mask);
  expectClose(
    numbers(attention(q, k, v, { mask })),
    naive(q, k, v, (b, h, i, j) => m[((b * 4 + h) * 2 + i) * 3 + j] === 1),
  );
});

test("a query that sees nothing gives 0, log-sum-exp minus infinity and no gradient", () => {
  const [q, k, v] = qkv(1, 2, 2, 1, 1);
  const inputs = [q, k, v, scalar(-1, { dtype: "i32" })];
  const [o, lse] = applyMulti(attentionOp, inputs, { scale: 1, causal: true, mask: false });
  expectClose(numbers(o!).slice(0, 3), [0, 0, 0]);
  expect(numbers(lse!)[0]).toBe(-Infinity);
  const [dq, dk] = gradients(o!, [q, k], ones(o!.shape, { dtype: "f64" })).map(numbers);
  expectClose(dq!.slice(0, 4), [0, 0, 0, 0]);
  expect(dk!.every(Number.isFinite)).toBe(true);
});

test("decoding a step with a cache equals the last row of the whole", () => {
  const [q, k, v] = qkv(1, 5, 5, 4, 2);
  const whole = attention(q, k, v, { causal: true });
  const cacheK = concat([k, zeros([1, 3, 2, 4], { dtype: "f64" })], 1);
  const cacheV = concat([v, zeros([1, 3, 2, 3], { dtype: "f64" })], 1);
  const step = attention(slice(q, [null, [4, 5]]), cacheK, cacheV, { causal: true, offset: 4 });
  expectClose(numbers(step), numbers(slice(whole, [null, [4, 5]])));
});

test("gradients agree with differences, twice", () => {
  const at = qkv(1, 2, 3, 2, 1, 2, 2);
  checkGradients((q, k, v) => attention(q!, k!, v!), at, { second: true });
  checkGradients((q, k, v) => attention(q!, k!, v!, { causal: true, offset: 1 }), at, { second: true });
  const mask = ge(arange(3), tensor([[1], [2]], { dtype: "i32" }));
  checkGradients((q, k, v) => attention(q!, k!, v!, { mask, causal: true, offset: 1 }), at, { second: true });
});

test("the log-sum-exp has gradients of its own", () => {
  const offset = scalar(0, { dtype: "i32" });
  checkGradients(
    (q, k, v) => {
      const [o, lse] = applyMulti(attentionOp, [q!, k!, v!, offset], {
        scale: 0.7,
        causal: true,
        mask: false,
      });
      return add(o!, reshape(permute(lse!, [0, 2, 1]), [1, 2, 2, 1]));
    },
    qkv(1, 2, 2, 2, 2, 2, 2),
    { second: true },
  );
});

test("what does not fit is named", () => {
  const [q, k, v] = qkv(1, 2, 2, 3, 2);
  expect(() => attention(q, k, v)).toThrow(/multiple of the 2 key heads, got 3/);
  const [a, b, c] = qkv(1, 2, 2, 2, 2);
  expect(() =>
    attention(a, b, c, {
      mask: tensor([
        [0, 1],
        [1, 1],
      ]),
    }),
  ).toThrow(/a bool mask/);
  expect(() => attention(a, b, c, { mask: and(le(arange(3), 1), le(arange(3), 1)) })).toThrow(
    /attention mask/,
  );
  expect(() => attention(a, slice(b, [null, null, null, [0, 3]]), c)).toThrow(
    /k of shape \[1, 2, 2, 4\], got \[1, 2, 2, 3\]/,
  );
  expect(() => scaledDotProductAttention(tensor([1]), tensor([1]), tensor([1]))).toThrow(
    /scaledDotProductAttention/,
  );
});
