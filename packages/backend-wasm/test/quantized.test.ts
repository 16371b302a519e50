import { afterEach, describe, expect, test, vi } from "vitest";
import { wasm } from "@lowrank/backend-wasm";
import { evaluate, quantizedMatmul, setDefaultBackend, tensor } from "@lowrank/tensor";
import { checkOp, drawCase, opCases } from "@lowrank/tensor/testing";

const entry = opCases().find((one) => one.op.name === "quantizedMatmul")!;
const FLOATS = ["f32", "f16", "bf16"] as const;

afterEach(() => vi.restoreAllMocks());

describe.each(["relaxed", "plain"])("products with codes agree with their meaning, %s kernels", (kind) => {
  test.each(FLOATS)("x in %s", async (dtype) => {
    if (kind === "plain") vi.spyOn(WebAssembly, "validate").mockReturnValue(false);
    const backend = await wasm({ threads: 1 });
    expect(backend.relaxed).toBe(kind === "relaxed");
    for (let seed = 1; seed <= 150; seed++) await checkOp(backend, drawCase(entry, dtype, seed));
    backend.dispose();
  });
});

/** A product that is large enough to be shared out. */
async function product(threads: number, rows: number, options: Parameters<typeof quantizedMatmul>[3]) {
  const backend = await wasm({ threads });
  setDefaultBackend(backend);
  const [out, columns] = [1030, 1024];
  const bytes = Uint8Array.from(
    { length: (out * columns * options.bits) / 8 },
    (_, i) => (i * 197) ^ (i >> 7),
  );
  const codes = options.bits === 8 ? new Int8Array(bytes.buffer) : bytes;
  const weight = tensor(codes, { shape: [out, (columns * options.bits) / 8] });
  const scales = tensor(
    Float32Array.from({ length: (out * columns) / 32 }, (_, i) => 0.01 + (i % 7) / 100),
    {
      shape: [out, columns / 32],
    },
  );
  const x = tensor(
    Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i)),
    {
      shape: [rows, columns],
    },
  );
  const y = quantizedMatmul(x, weight, scales, options);
  await evaluate(y);
  const numbers = await y.data();
  backend.dispose();
  return numbers;
}

test.each([
  { bits: 8, rows: 1, activations: "f32" },
  { bits: 4, rows: 3, activations: "f32" },
  { bits: 8, rows: 2, activations: "int16" },
  { bits: 4, rows: 1, activations: "int16" },
  { bits: 8, rows: 1, activations: "int8" },
  { bits: 4, rows: 4, activations: "int8" },
  { bits: 4, rows: 40, activations: "int8" },
  { bits: 4, rows: 40, activations: "f32" },
  { bits: 8, rows: 200, activations: "f32" },
] as const)("one thread and three give the same bits: $bits bits, $rows rows, $activations", async (c) => {
  const { bits, rows, activations } = c;
  expect(await product(3, rows, { bits, activations })).toEqual(
    await product(1, rows, { bits, activations }),
  );
});

test("a NaN and an infinity in a row reach its results and no others", async () => {
  const backend = await wasm({ threads: 1 });
  setDefaultBackend(backend);
  const weight = tensor(new Int8Array(64 * 4).fill(3), { shape: [4, 64] });
  const scales = tensor(new Float32Array(8).fill(1), { shape: [4, 2] });
  const x = new Float32Array(3 * 64).fill(1);
  x[5] = Number.NaN;
  x[64 + 9] = Number.POSITIVE_INFINITY;
  const y = quantizedMatmul(tensor(x, { shape: [3, 64] }), weight, scales, { bits: 8 });
  const numbers = Array.from(await y.data());
  expect(numbers.slice(0, 4).every(Number.isNaN)).toBe(true);
  expect(numbers.slice(4, 8)).toEqual(new Array(4).fill(Number.POSITIVE_INFINITY));
  expect(numbers.slice(8)).toEqual(new Array(4).fill(192));
  backend.dispose();
});

test("many rows in integers are each what they are alone", async () => {
  const backend = await wasm({ threads: 1 });
  setDefaultBackend(backend);
  const [rows, out, columns] = [70, 33, 256];
  const data = Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i * i));
  const weight = tensor(
    Uint8Array.from({ length: (out * columns) / 2 }, (_, i) => i * 91),
    { shape: [out, columns / 2] },
  );
  for (const [activations, groupSize, dtype] of [
    ["int8", 128, "f16"],
    ["int16", 32, "bf16"],
    ["int8", 32, "f32"],
    ["int16", 64, "f16"],
  ] as const) {
    const shape = [out, columns / groupSize];
    const count = out * (columns / groupSize);
    const scales = tensor(
      Float32Array.from({ length: count }, (_, i) => 0.25 + (i % 5) / 16),
      { shape, dtype },
    );
    const mins = tensor(
      Float32Array.from({ length: count }, (_, i) => (i % 3) - 1),
      { shape, dtype },
    );
    const options = { bits: 4, groupSize, mins, activations } as const;
    const all = await quantizedMatmul(
      tensor(data, { shape: [rows, columns] }),
      weight,
      scales,
      options,
    ).data();
    for (const row of [0, 31, 32, 69]) {
      const x = tensor(data.slice(row * columns, (row + 1) * columns), { shape: [1, columns] });
      const one = await quantizedMatmul(x, weight, scales, options).data();
      expect(all.slice(row * out, (row + 1) * out)).toEqual(one);
    }
    // Half a step of each number, times the largest weights, and those of one sign at most.
    const exact = await quantizedMatmul(tensor(data, { shape: [rows, columns] }), weight, scales, {
      ...options,
      activations: "f32",
    }).data();
    const most = (0.5 / (activations === "int8" ? 127 : 32767)) * columns * 5.5;
    exact.forEach((v, i) => expect(Math.abs(v - all[i]!)).toBeLessThan(most + 1e-3));
  }
  backend.dispose();
});

test.each(["relaxed", "plain"])("the largest integers add up without an error, %s kernels", async (kind) => {
  if (kind === "plain") vi.spyOn(WebAssembly, "validate").mockReturnValue(false);
  const backend = await wasm({ threads: 1 });
  setDefaultBackend(backend);
  const columns = 160;
  const signs = Array.from({ length: columns }, (_, k) => (k % 3 ? 1 : -1));
  for (let out = 1; out <= 9; out++) {
    // Every number of x is the largest of its block, so it is taken as it is.
    const x = tensor(
      signs.map((sign) => 127 * sign),
      { shape: [1, columns] },
    );
    const scales = tensor(new Float32Array((out * columns) / 32).fill(1), { shape: [out, columns / 32] });
    for (const bits of [8, 4] as const) {
      const most = 2 ** (bits - 1);
      const code = (n: number, k: number) =>
        [-most, most - 1, signs[k]! < 0 ? -most : most - 1, signs[k]! < 0 ? most - 1 : -most][n % 4]!;
      const all = Array.from({ length: out * columns }, (_, i) => code(Math.floor(i / columns), i % columns));
      const codes =
        bits === 8
          ? Int8Array.from(all)
          : Uint8Array.from(
              { length: all.length / 2 },
              (_, i) => all[2 * i]! + 8 + 16 * (all[2 * i + 1]! + 8),
            );
      const weight = tensor(codes, { shape: [out, (columns * bits) / 8] });
      const want = Array.from({ length: out }, (_, n) =>
        signs.reduce((sum, sign, k) => sum + 127 * sign * code(n, k), 0),
      );
      for (const activations of ["int8", "int16"] as const) {
        const y = await quantizedMatmul(x, weight, scales, { bits, activations }).data();
        want.forEach((v, n) => expect(Math.abs(y[n]! - v)).toBeLessThan(1e-5 * Math.abs(v) + 1e-3));
      }
    }
  }
  backend.dispose();
});

test("columns that are no whole fours of blocks count once", async () => {
  const backend = await wasm({ threads: 1 });
  setDefaultBackend(backend);
  const [rows, out] = [2, 5];
  for (const columns of [32, 96, 160, 224]) {
    const x = tensor(
      Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i * i)),
      { shape: [rows, columns] },
    );
    const parts = (step: number) =>
      tensor(
        Float32Array.from({ length: (out * columns) / 32 }, (_, i) => (i % step) / 4 - 0.5),
        { shape: [out, columns / 32] },
      );
    const [scales, mins] = [parts(5), parts(3)];
    for (const bits of [8, 4] as const) {
      const bytes = Uint8Array.from({ length: (out * columns * bits) / 8 }, (_, i) => i * 91);
      const weight = tensor(bits === 8 ? new Int8Array(bytes.buffer) : bytes, {
        shape: [out, (columns * bits) / 8],
      });
      const product = (activations: "f32" | "int16" | "int8") =>
        quantizedMatmul(x, weight, scales, { bits, mins, activations }).data();
      const exact = await product("f32");
      for (const [activations, largest] of [
        ["int16", 32767],
        ["int8", 127],
      ] as const) {
        // Half a step of each number, times the largest weights.
        const most = (0.5 / largest) * columns * (2 ** (bits - 1) * 0.5 + 0.5);
        (await product(activations)).forEach((v, i) =>
          expect(Math.abs(v - exact[i]!)).toBeLessThan(most + 1e-3),
        );
      }
    }
  }
  backend.dispose();
});
