import type { DType } from "@lowrank/tensor/backend";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { dense, expectClose, Machines, Numbers, stepOf } from "./kernel-case.js";

let machines: Machines;
beforeAll(async () => {
  machines = await Machines.create();
});
afterAll(() => machines.dispose());

const numbers = new Numbers(7);
const SIZES = [
  [1, 1],
  [3, 2],
  [5, 7],
  [2, 16],
  [4, 33],
  [700, 129],
  [3, 1000],
  [0, 5],
  [4, 0],
] as const;
const DTYPES = ["f32", "f16", "bf16"] as const;

const rowsOf = (x: ArrayLike<number>, n: number): number[][] =>
  Array.from({ length: n === 0 ? 0 : x.length / n }, (_, r) =>
    Array.from({ length: n }, (_, i) => x[r * n + i]!),
  );
const sum = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0);
const dot = (x: readonly number[], y: readonly number[]): number => sum(x.map((v, i) => v * y[i]!));

function softmax(row: readonly number[]): number[] {
  const top = Math.max(...row);
  const shift = top === Number.NEGATIVE_INFINITY ? 0 : top;
  const e = row.map((v) => Math.exp(v - shift));
  const total = sum(e) || 1;
  return e.map((v) => v / total);
}

describe("softmax", () => {
  for (const dtype of DTYPES) {
    test(`forward and backward in ${dtype}`, () => {
      for (const [rows, n] of SIZES) {
        const x = numbers.list(rows * n, dtype, 9);
        const out = { dtype, dims: [rows, n] };
        const [y] = machines.run("softmax", null, [dense(dtype, [rows, n], x)], [out]);
        expectClose(
          `softmax [${rows}, ${n}]`,
          y!,
          rowsOf(x, n).flatMap(softmax),
          2e-6 + stepOf(dtype),
          dtype === "f16" ? 1e-7 : 0,
        );
        const dy = numbers.list(rows * n, dtype);
        const [dx] = machines.run(
          "softmaxBackward",
          null,
          [dense(dtype, [rows, n], y!), dense(dtype, [rows, n], dy)],
          [out],
        );
        const dys = rowsOf(dy, n);
        const want = rowsOf(y!, n).flatMap((p, r) => p.map((v, i) => v * (dys[r]![i]! - dot(p, dys[r]!))));
        expectClose(`softmaxBackward [${rows}, ${n}]`, dx!, want, stepOf(dtype), 1e-6);
      }
    });
  }

  test("-inf weighs nothing, a row of -inf gives zeros, NaN spreads over its row", () => {
    const m = Number.NEGATIVE_INFINITY;
    const x = [
      0,
      m,
      1,
      m,
      2,
      m,
      m,
      m,
      m,
      m,
      m,
      m,
      m,
      m,
      m,
      1,
      2,
      3,
      4,
      Number.NaN,
      3,
      2,
      1,
      0,
      1e30,
      -1e30,
      0,
      0,
      0,
      0,
      0,
      0,
    ];
    const [y] = machines.run("softmax", null, [dense("f32", [4, 8], x)], [{ dtype: "f32", dims: [4, 8] }]);
    const rows = rowsOf(y!, 8);
    const finite = rowsOf(x, 8);
    expectClose("masked", rows[0]!, softmax(finite[0]!), 1e-6);
    expectClose("one left", rows[1]!, softmax(finite[1]!), 1e-6);
    expect(rows[2]!.every(Number.isNaN)).toBe(true);
    expect(rows[3]).toEqual([1, 0, 0, 0, 0, 0, 0, 0]);
    const [zeros] = machines.run(
      "softmax",
      null,
      [dense("f32", [1, 9], new Array(9).fill(m))],
      [{ dtype: "f32", dims: [1, 9] }],
    );
    expect([...zeros!]).toEqual(new Array(9).fill(0));
  });
});

interface Norm {
  y: number[];
  mean: number;
  rstd: number;
}

function norm(
  row: readonly number[],
  weight: readonly number[],
  bias: readonly number[],
  eps: number,
  centred: boolean,
): Norm {
  const mean = centred ? sum(row) / row.length : 0;
  const rstd = 1 / Math.sqrt(sum(row.map((v) => (v - mean) ** 2)) / row.length + eps);
  return { y: row.map((v, i) => (v - mean) * rstd * weight[i]! + bias[i]!), mean, rstd };
}

function normGradient(
  row: readonly number[],
  weight: readonly number[],
  dy: readonly number[],
  { mean, rstd }: Norm,
  centred: boolean,
): number[] {
  const n = row.length;
  const unit = row.map((v) => (v - mean) * rstd);
  const g = dy.map((v, i) => v * weight[i]!);
  const shift = centred ? sum(g) / n : 0;
  return g.map((v, i) => rstd * (v - shift - (unit[i]! * dot(g, unit)) / n));
}

describe("norms", () => {
  const kinds: [string, boolean, boolean][] = [
    ["layerNorm", true, true],
    ["layerNorm", true, false],
    ["rmsNorm", false, true],
  ];
  for (const [name, centred, affine] of kinds) {
    for (const dtype of DTYPES) {
      test(`${name}${centred && affine ? " with weight and bias" : ""} in ${dtype}`, () => {
        for (const [rows, n] of SIZES.filter(([, n]) => n > 1)) {
          const eps = 1e-5;
          const x = numbers.list(rows * n, dtype, 3);
          const weightDtype: DType = n % 2 ? dtype : "f32";
          const weight = affine ? numbers.list(n, weightDtype) : new Array<number>(n).fill(1);
          const bias = affine && centred ? numbers.list(n, weightDtype) : new Array<number>(n).fill(0);
          const weights = affine ? [dense(weightDtype, [n], weight)] : [];
          const biases = affine && centred ? [dense(weightDtype, [n], bias)] : [];
          const full = { dtype, dims: [rows, n] };
          const stat = { dtype: "f32" as const, dims: [rows] };
          const arg = { eps, affine };
          const got = machines.run(
            name,
            arg,
            [dense(dtype, [rows, n], x), ...weights, ...biases],
            centred ? [full, stat, stat] : [full, stat],
          );
          const want = rowsOf(x, n).map((row) => norm(row, weight, bias, eps, centred));
          expectClose(
            `y [${rows}, ${n}]`,
            got[0]!,
            want.flatMap((w) => w.y),
            stepOf(dtype),
            1e-5,
          );
          const rstd = got[got.length - 1]!;
          expectClose(
            "rstd",
            rstd,
            want.map((w) => w.rstd),
            1e-5,
          );
          if (centred)
            expectClose(
              "mean",
              got[1]!,
              want.map((w) => w.mean),
              1e-6,
              1e-6,
            );
          const dy = numbers.list(rows * n, dtype);
          const stats = [...(centred ? [dense("f32", [rows], got[1]!)] : []), dense("f32", [rows], rstd)];
          const [dx] = machines.run(
            `${name}Backward`,
            arg,
            [dense(dtype, [rows, n], x), ...weights, ...stats, dense(dtype, [rows, n], dy)],
            [full],
          );
          const dys = rowsOf(dy, n);
          const gradient = rowsOf(x, n).flatMap((row, r) =>
            normGradient(row, weight, dys[r]!, want[r]!, centred),
          );
          const largest = gradient.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
          expectClose(`dx [${rows}, ${n}]`, dx!, gradient, stepOf(dtype), 1e-5 * (1 + largest));
        }
      });
    }
  }
});

describe("cross-entropy", () => {
  for (const dtype of DTYPES) {
    test(`forward and backward in ${dtype}, with ignored and unknown labels`, () => {
      for (const [rows, n] of [
        [1, 1],
        [5, 3],
        [9, 31],
        [300, 515],
        [0, 4],
      ] as const) {
        const ignoreIndex = -100;
        const x = numbers.list(rows * n, dtype, 8);
        const labels = numbers
          .integers(rows, n)
          .map((label, r) => (r % 5 === 3 ? ignoreIndex : r % 7 === 4 ? n + r : label));
        const inputs = [dense(dtype, [rows, n], x), dense("i32", [rows], labels)];
        const stat = { dtype: "f32" as const, dims: [rows] };
        const [loss, lse] = machines.run("crossEntropy", { ignoreIndex }, inputs, [stat, stat]);
        const wantLse = rowsOf(x, n).map(
          (row) => Math.max(...row) + Math.log(sum(row.map((v) => Math.exp(v - Math.max(...row))))),
        );
        const known = labels.map((label) => label >= 0 && label < n);
        expectClose("lse", lse!, wantLse, 1e-6, 1e-6);
        const wantLoss = labels.map((label, r) =>
          label === ignoreIndex ? 0 : known[r] ? wantLse[r]! - x[r * n + label]! : Number.NaN,
        );
        expectClose("loss", loss!, wantLoss, 1e-6, 3e-6);
        const dy = numbers.list(rows);
        const [dx] = machines.run(
          "crossEntropyBackward",
          { ignoreIndex },
          [...inputs, dense("f32", [rows], lse!), dense("f32", [rows], dy)],
          [{ dtype, dims: [rows, n] }],
        );
        const want = rowsOf(x, n).flatMap((row, r) =>
          row.map((v, i) =>
            labels[r] === ignoreIndex ? 0 : (Math.exp(v - wantLse[r]!) - Number(i === labels[r])) * dy[r]!,
          ),
        );
        expectClose("dlogits", dx!, want, stepOf(dtype) + 3e-6, 1e-6);
      }
    });
  }

  test("a row of -inf has lse -inf and no probabilities", () => {
    const m = Number.NEGATIVE_INFINITY;
    const inputs = [dense("f32", [1, 5], [m, m, m, m, m]), dense("i32", [1], [-100])];
    const stat = { dtype: "f32" as const, dims: [1] };
    const [loss, lse] = machines.run("crossEntropy", { ignoreIndex: -100 }, inputs, [stat, stat]);
    expect([loss![0], lse![0]]).toEqual([0, m]);
  });
});

describe("rope", () => {
  for (const dtype of DTYPES) {
    for (const interleaved of [false, true]) {
      test(`${interleaved ? "neighbours" : "halves"} in ${dtype}`, () => {
        for (const [b, t, h, d, shared] of [
          [2, 3, 2, 8, true],
          [1, 5, 3, 6, false],
          [3, 70, 4, 64, true],
          [2, 2, 1, 2, false],
        ] as const) {
          for (const inverse of [false, true]) {
            // x is the middle third of a fused projection
            const x = numbers.list(b * t * 3 * h * d, dtype);
            const strides = [t * 3 * h * d, 3 * h * d, d, 1];
            const rows = shared ? 1 : b;
            const positions = numbers.integers(rows * t, 130000);
            const frequencies = Array.from({ length: d / 2 }, (_, i) => Math.fround(10000 ** ((-2 * i) / d)));
            const [y] = machines.run(
              "rope",
              { interleaved, inverse },
              [
                { dtype, numbers: x, dims: [b, t, h, d], strides, offset: h * d },
                dense("i32", [rows, t], positions),
                dense("f32", [d / 2], frequencies),
              ],
              [{ dtype, dims: [b, t, h, d] }],
            );
            const want = new Float64Array(b * t * h * d);
            for (let n = 0; n < b; n++)
              for (let s = 0; s < t; s++)
                for (let k = 0; k < h; k++)
                  for (let i = 0; i < d / 2; i++) {
                    const [p, q] = interleaved ? [2 * i, 2 * i + 1] : [i, i + d / 2];
                    const from = h * d + n * strides[0]! + s * strides[1]! + k * d;
                    const to = ((n * t + s) * h + k) * d;
                    const angle = positions[(shared ? 0 : n) * t + s]! * frequencies[i]! * (inverse ? -1 : 1);
                    const [c, sine] = [Math.cos(angle), Math.sin(angle)];
                    want[to + p] = x[from + p]! * c - x[from + q]! * sine;
                    want[to + q] = x[from + q]! * c + x[from + p]! * sine;
                  }
            expectClose(`rope [${b}, ${t}, ${h}, ${d}]`, y!, want, stepOf(dtype), 3e-7);
          }
        }
      });
    }
  }
});
