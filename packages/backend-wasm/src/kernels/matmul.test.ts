import { type DType, type OpDef, roundTo } from "@lowrank/tensor/backend";
import { matmul, setDefaultBackend, tensor } from "@lowrank/tensor";
import { reference } from "@lowrank/tensor/reference";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runKernel, type TestInput } from "../../test/run-kernel.js";
import { wasm } from "../backend.js";
import { Machine } from "../machine.js";
import { matmulKernel } from "./matmul.js";

const op: OpDef<null> = { name: "matmul", kind: "kernel", infer: () => [] };

let seed = 1;
const random = (): number => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 2 ** 31 - 1;
};
const numbers = (count: number, dtype: DType): Float64Array =>
  Float64Array.from({ length: count }, () => roundTo(dtype, random()));

let machine: Machine;
beforeAll(async () => {
  machine = await Machine.create({ threads: 2, maxMemoryBytes: 2 ** 30 });
});
afterAll(() => machine.dispose());

type Layout = "rows" | "columns" | "gaps" | "flipped";

/** A matrix batch in one of the layouts that a view can have. */
function operand(batch: number[], rows: number, columns: number, layout: Layout, dtype: DType): TestInput {
  const dims = [...batch, rows, columns];
  const inner =
    layout === "gaps" ? [2 * columns + 3, 2] : layout === "columns" ? [1, rows + 1] : [columns, 1];
  const matrix =
    layout === "gaps"
      ? rows * (2 * columns + 3)
      : layout === "columns"
        ? columns * (rows + 1)
        : rows * columns;
  let step = matrix;
  const outer = batch.map(() => 0);
  for (let axis = batch.length - 1; axis >= 0; axis--) {
    outer[axis] = step;
    step *= batch[axis]!;
  }
  const all = numbers(Math.max(1, step), dtype);
  if (layout === "flipped") {
    // the rows backwards: negative stride
    const strides = [...outer, -columns, 1];
    return { dtype, numbers: all, dims, strides, offset: Math.max(0, rows - 1) * columns };
  }
  return { dtype, numbers: all, dims, strides: [...outer, ...inner] };
}

function naive(a: TestInput, b: TestInput): Float64Array {
  const rank = a.dims.length;
  const [M, K, N] = [a.dims[rank - 2]!, a.dims[rank - 1]!, b.dims[rank - 1]!];
  const batch = a.dims.slice(0, -2);
  const count = batch.reduce((x, y) => x * y, 1);
  const [rowA, stepA] = a.strides!.slice(-2) as [number, number];
  const [stepB, columnB] = b.strides!.slice(-2) as [number, number];
  const out = new Float64Array(count * M * N);
  for (let n = 0; n < count; n++) {
    let [fromA, fromB, rest] = [a.offset ?? 0, b.offset ?? 0, n];
    for (let axis = batch.length - 1; axis >= 0; axis--) {
      fromA += (rest % batch[axis]!) * a.strides![axis]!;
      fromB += (rest % batch[axis]!) * b.strides![axis]!;
      rest = Math.floor(rest / batch[axis]!);
    }
    for (let i = 0; i < M; i++)
      for (let j = 0; j < N; j++) {
        let sum = 0;
        for (let k = 0; k < K; k++) {
          sum += a.numbers[fromA + i * rowA + k * stepA]! * b.numbers[fromB + k * stepB + j * columnB]!;
        }
        out[(n * M + i) * N + j] = sum;
      }
  }
  return out;
}

function check(a: TestInput, b: TestInput, dtype: DType, what: string): void {
  const rank = a.dims.length;
  const K = a.dims[rank - 1]!;
  const dims = [...a.dims.slice(0, -1), b.dims[rank - 1]!];
  const run = runKernel(machine, matmulKernel, op, null, [a, b], [{ dtype, dims }]);
  const got = run.results[0]!;
  const want = naive(a, b);
  run.dispose();
  expect(got.length).toBe(want.length);
  const last = dtype === "f64" ? 2 ** -52 : dtype === "f32" ? 2 ** -23 : dtype === "f16" ? 2 ** -10 : 2 ** -7;
  // sums of K products of numbers up to 1, each step rounded in f32 (f64)
  const tolerance = (K + 2) * (dtype === "f64" ? 2 ** -52 : 2 ** -23);
  for (let i = 0; i < want.length; i++) {
    const error = Math.abs(got[i]! - want[i]!);
    if (!(error <= tolerance + last * Math.abs(want[i]!))) {
      throw new Error(`${what}: element ${i} of [${dims}]: got ${got[i]}, want ${want[i]}`);
    }
  }
}

// biome-ignore format: M, K, N
const SHAPES: [number, number, number][] = [
  [1, 1, 1], [1, 7, 5], [5, 7, 1], [1, 300, 67], [2, 3, 2], [3, 129, 70], [4, 8, 8], [5, 9, 13], [7, 1, 9],
  [31, 64, 33], [40, 40, 40], [33, 600, 8], [8, 600, 200], [200, 5, 190], [129, 257, 65], [150, 700, 43], [257, 64, 300],
  [41, 70, 10], [51, 37, 4], [4, 63, 600], [7, 66, 530], [16, 31, 64], [300, 9, 5],
];

/** So deep and wide that the right operand is packed in parts of its depth. */
const DEEP = [130, 4100, 1024] as const;

describe("matmul on wasm agrees with plain loops", () => {
  const layouts: Layout[] = ["rows", "columns", "gaps", "flipped"];
  for (const [M, K, N] of SHAPES) {
    test(`[${M}, ${K}] by [${K}, ${N}] in every layout`, () => {
      for (const la of layouts)
        for (const lb of layouts)
          check(operand([], M, K, la, "f32"), operand([], K, N, lb, "f32"), "f32", `${la} by ${lb}`);
    });
  }

  test("a depth that is cut", () => {
    const [M, K, N] = DEEP;
    check(operand([], M, K, "rows", "f32"), operand([], K, N, "columns", "f32"), "f32", "deep");
  });

  test("half operands are widened while packing, and half results are rounded", () => {
    for (const [M, K, N] of [
      [1, 40, 33],
      [3, 65, 40],
      [140, 70, 50],
      [40, 300, 9],
    ] as const)
      for (const layout of ["rows", "columns", "gaps"] as const)
        for (const half of ["f16", "bf16"] as const) {
          check(operand([], M, K, layout, half), operand([], K, N, layout, "f32"), "f32", `${half} by f32`);
          check(operand([], M, K, "rows", "f32"), operand([], K, N, layout, half), "f32", `f32 by ${half}`);
          check(operand([], M, K, layout, half), operand([], K, N, layout, half), half, `${half} by ${half}`);
        }
  });

  test("batches with strides, shared operands and more than one batch axis", () => {
    for (const [M, K, N] of [
      [1, 20, 30],
      [5, 9, 13],
      [130, 40, 50],
      [6, 300, 4],
    ] as const)
      for (const layout of ["rows", "columns"] as const) {
        const a = operand([3, 2], M, K, layout, "f32");
        const b = operand([3, 2], K, N, layout, "f32");
        const shared = operand([], K, N, layout, "f32");
        const stretch = (x: TestInput): TestInput => ({
          ...x,
          dims: [3, 2, ...x.dims],
          strides: [0, 0, ...x.strides!],
        });
        const grouped = { ...b, strides: [b.strides![0]!, 0, ...b.strides!.slice(2)] };
        const swapped = {
          ...a,
          dims: [2, 3, M, K],
          strides: [a.strides![1]!, a.strides![0]!, ...a.strides!.slice(2)],
        };
        const swappedB = {
          ...b,
          dims: [2, 3, K, N],
          strides: [b.strides![1]!, b.strides![0]!, ...b.strides!.slice(2)],
        };
        check(a, b, "f32", `batch ${layout}`);
        check(a, stretch(shared), "f32", `shared b ${layout}`);
        check(stretch(operand([], M, K, layout, "f32")), b, "f32", `shared a ${layout}`);
        check(a, grouped, "f32", `grouped ${layout}`);
        check(swapped, swappedB, "f32", `swapped ${layout}`);
      }
  });

  test("f64", () => {
    check(operand([], 9, 33, "columns", "f64"), operand([], 33, 17, "gaps", "f64"), "f64", "f64");
    check(operand([], 130, 300, "rows", "f64"), operand([], 300, 71, "columns", "f64"), "f64", "f64 blocks");
    check(operand([2], 9, 33, "rows", "f64"), operand([2], 33, 17, "flipped", "f64"), "f64", "f64 batch");
  });

  test("an inner size of 0 gives zeros, an empty result nothing", () => {
    for (const dtype of ["f32", "f16", "f64"] as const) {
      const run = runKernel(
        machine,
        matmulKernel,
        op,
        null,
        [operand([], 3, 0, "rows", dtype), operand([], 0, 5, "rows", dtype)],
        [{ dtype, dims: [3, 5] }],
      );
      expect(Array.from(run.results[0]!)).toEqual(new Array(15).fill(0));
      run.dispose();
    }
    check(operand([], 0, 4, "rows", "f32"), operand([], 4, 5, "rows", "f32"), "f32", "no rows");
    check(operand([0], 3, 4, "rows", "f32"), operand([0], 4, 5, "rows", "f32"), "f32", "no matrices");
  });
});

test("one row by columns of f16 with infinities, NaN, subnormals and numbers from 2 on, in walks of eight and beside them", () => {
  for (const [N, K] of [
    [1, 24],
    [7, 40],
    [70, 67],
  ] as const) {
    const b = numbers(N * K, "f16").map((v, i) => (i % 5 === 0 ? v * 4 : v));
    const specials = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN];
    specials.forEach((v, i) => {
      if (i + 2 < N) b[(i + 2) * K + 3 * i] = v;
      if (N > 9) b[(N - 1 - i) * K + 3 * i] = v;
    });
    for (let k = 0; k < K; k++) b[k] = (k % 7 === 0 ? -1 : 1) * (k + 1) * 2 ** -24;
    for (const scale of [1, 1e6]) {
      const a = numbers(K, "f32").map((v) => Math.fround(v * scale));
      const run = runKernel(
        machine,
        matmulKernel,
        op,
        null,
        [
          { dtype: "f32", numbers: a, dims: [1, K] },
          { dtype: "f16", numbers: b.map((v) => roundTo("f16", v)), dims: [K, N], strides: [1, K] },
        ],
        [{ dtype: "f32", dims: [1, N] }],
      );
      for (let n = 0; n < N; n++) {
        let want = 0;
        let size = 0;
        for (let k = 0; k < K; k++) {
          const product = a[k]! * roundTo("f16", b[n * K + k]!);
          want += product;
          size += Math.abs(product);
        }
        const got = run.results[0]![n]!;
        if (Number.isFinite(want)) expect(Math.abs(got - want)).toBeLessThan(1e-6 * size);
        else expect(got).toBe(want);
      }
      run.dispose();
    }
  }
});

test("results do not depend on the number of threads", async () => {
  const one = await Machine.create({ threads: 1, maxMemoryBytes: 2 ** 28 });
  while (machine.arrived < machine.threads - 1) await new Promise((done) => setTimeout(done, 5));
  for (const [M, K, N, layout] of [
    [300, 300, 300, "columns"],
    [700, 500, 8, "columns"],
    [1, 900, 3000, "columns"],
    [8, 900, 1500, "rows"],
  ] as const) {
    const a = operand([], M, K, "rows", "f32");
    const b = operand([], K, N, layout, "f32");
    const outputs = [machine, one].map((m) => {
      const run = runKernel(m, matmulKernel, op, null, [a, b], [{ dtype: "f32", dims: [M, N] }]);
      run.dispose();
      return run.raw[0]!;
    });
    expect(outputs[0]).toEqual(outputs[1]);
  }
  one.dispose();
});

test("an epilogue gives what the product and a loop after it give, on every road", async () => {
  const backend = await wasm({ threads: 1 });
  const plain = reference();
  for (const [M, K, N] of [...SHAPES, [140, 300, 600], DEEP] as const)
    for (const turned of [false, true]) {
      const [a, b] = [numbers(M * K, "f32"), numbers(K * N, "f32")];
      const [bias, rest] = [numbers(N, "f32"), numbers(M * N, "f32")];
      const results: Float32Array[] = [];
      for (const on of [backend, plain]) {
        setDefaultBackend(on);
        const host = (data: Float64Array, shape: number[]) => tensor(Float32Array.from(data), { shape });
        const right = turned ? host(b, [N, K]).T : host(b, [K, N]);
        const y = matmul(host(a, [M, K]), right)
          .add(host(bias, [N]))
          .mul(2)
          .sub(host(rest, [M, N]));
        results.push((await y.data()) as Float32Array);
      }
      const [got, want] = results as [Float32Array, Float32Array];
      for (let i = 0; i < want.length; i++) {
        const error = Math.abs(got[i]! - want[i]!);
        if (!(error <= (K + 4) * 2 ** -21))
          throw new Error(`[${M}, ${K}, ${N}] at ${i}: ${got[i]}, not ${want[i]}`);
      }
    }
  backend.dispose();
});

test("a sum of a product and a thin one is one product, on every road", async () => {
  const backend = await wasm({ threads: 1, profile: true });
  const plain = reference();
  for (const [M, K, N, rank, ways, ...afters] of [
    [129, 40, 33, 1, "nn nt", "nothing", "a bias", "a sum"],
    [300, 577, 200, 8, "nt nt", "nothing", "a bias", "a sum"],
    [200, 576, 43, 5, "nn nn", "nothing", "a bias", "a sum"],
    [131, 700, 530, 64, "tn nt", "nothing", "a bias", "a sum"],
    [...DEEP, 7, "nt nn", "a sum"],
  ] as const)
    for (const after of afters) {
      const of = (way: string, rows: number, inner: number, columns: number) => {
        const [a, b] = [numbers(rows * inner, "f32"), numbers(inner * columns, "f32")];
        return () => {
          const host = (data: Float64Array, shape: number[]) => tensor(Float32Array.from(data), { shape });
          const left = way[0] === "t" ? host(a, [inner, rows]).T : host(a, [rows, inner]);
          return matmul(left, way[1] === "t" ? host(b, [columns, inner]).T : host(b, [inner, columns]));
        };
      };
      const [large, thin] = [of(ways.slice(0, 2), M, K, N), of(ways.slice(3), M, rank, N)];
      const rest = Float32Array.from(numbers(M * N, "f32"));
      const results: Float32Array[] = [];
      for (const on of [backend, plain]) {
        setDefaultBackend(on);
        backend.profile();
        const more = tensor(rest, { shape: [M, N] });
        const y =
          after === "a sum" ? more.add(thin()).add(large()).mul(2) : large().add(thin()).reshape([N, M]);
        results.push((await (after === "a bias" ? y.add(more.reshape([N, M])) : y).data()) as Float32Array);
        const runs = backend.profile().flatMap(({ name, runs }) => (name.startsWith("matmul") ? runs : []));
        if (on === backend) expect(runs).toEqual([1]);
      }
      const [got, want] = results as [Float32Array, Float32Array];
      for (let i = 0; i < want.length; i++) {
        const error = Math.abs(got[i]! - want[i]!);
        if (!(error <= (K + rank + 4) * 2 ** -21))
          throw new Error(`[${M}, ${K}, ${N}] with ${rank} and ${after} at ${i}: ${got[i]}, not ${want[i]}`);
      }
    }
  backend.dispose();
});

test("a sum of a product and several thin ones has all of them, in any order", async () => {
  const backend = await wasm({ threads: 1 });
  const plain = reference();
  const [M, N] = [150, 70];
  const orders = [40, 8, 300].flatMap((a, i, all) => {
    const [b, c] = all.filter((_, j) => j !== i) as [number, number];
    return [
      [a, b, c],
      [a, c, b],
      [a, b, 20, c],
    ];
  });
  for (const depths of orders) {
    const factors = depths.map((K) => [numbers(M * K, "f32"), numbers(K * N, "f32")] as const);
    const results: Float32Array[] = [];
    for (const on of [backend, plain]) {
      setDefaultBackend(on);
      const terms = factors.map(([a, b], i) => {
        const host = (data: Float64Array, shape: number[]) => tensor(Float32Array.from(data), { shape });
        return matmul(host(a, [M, depths[i]!]), host(b, [depths[i]!, N]));
      });
      results.push((await terms.reduce((sum, term) => sum.add(term)).data()) as Float32Array);
    }
    const [got, want] = results as [Float32Array, Float32Array];
    for (let i = 0; i < want.length; i++)
      if (!(Math.abs(got[i]! - want[i]!) <= 400 * 2 ** -21))
        throw new Error(`depths ${depths} at ${i}: ${got[i]}, not ${want[i]}`);
  }
  backend.dispose();
});
