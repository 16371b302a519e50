import type { DType } from "@lowrank/tensor/backend";
import { afterAll, beforeAll, describe, test } from "vitest";
import { dense, expectClose, Machines, Numbers, sizeOf, stepOf } from "./kernel-case.js";
import type { TestInput } from "./run-kernel.js";

let machines: Machines;
beforeAll(async () => {
  machines = await Machines.create();
});
afterAll(() => machines.dispose());

const numbers = new Numbers(5);
const DTYPES: readonly DType[] = ["f32", "f16", "f64", "i8"];

const values = (count: number, dtype: DType): number[] =>
  dtype === "i8" ? numbers.integers(count, 200).map((v) => v - 100) : numbers.list(count, dtype);
const strideOf = (dims: readonly number[]): number[] => dims.map((_, d) => sizeOf(dims.slice(d + 1)));

/** Calls `f` with every index of a shape and its row-major place. */
function each(dims: readonly number[], f: (index: number[], at: number) => void): void {
  const total = sizeOf(dims);
  const strides = strideOf(dims);
  for (let at = 0; at < total; at++)
    f(
      dims.map((n, d) => Math.floor(at / strides[d]!) % n),
      at,
    );
}

const read = (x: TestInput, index: readonly number[]): number =>
  x.numbers[index.reduce((at, i, d) => at + i * x.strides![d]!, x.offset ?? 0)]!;

/** A view of a shape: as it is, with its axes turned round in memory, flipped, broadcast, or with gaps. */
function view(dims: readonly number[], kind: number, dtype: DType): TestInput {
  if (kind === 0) return { dtype, dims, numbers: values(sizeOf(dims), dtype), strides: strideOf(dims) };
  if (kind === 1) {
    const strides = strideOf([...dims].reverse()).reverse();
    return { dtype, dims, numbers: values(sizeOf(dims), dtype), strides };
  }
  if (kind === 2) {
    const strides = strideOf(dims).map((s) => -s);
    const offset = dims.reduce((at, n, d) => at - Math.max(0, n - 1) * strides[d]!, 0);
    return { dtype, dims, numbers: values(Math.max(1, sizeOf(dims)), dtype), strides, offset };
  }
  if (kind === 3) {
    const stored = dims.map((n, d) => (d === 0 ? 1 : n));
    const strides = strideOf(stored).map((s, d) => (d === 0 ? 0 : s));
    return { dtype, dims, numbers: values(sizeOf(stored), dtype), strides };
  }
  const wide = dims.map((n) => 2 * n + 1);
  return {
    dtype,
    dims,
    numbers: values(sizeOf(wide), dtype),
    strides: strideOf(wide).map((s) => 2 * s),
    offset: 1,
  };
}

describe("concat", () => {
  for (const dtype of DTYPES) {
    test(`of views of ${dtype} along every axis`, () => {
      for (const [base, sizes] of [
        [[3], [2, 0, 5]],
        [
          [2, 3],
          [1, 4],
        ],
        [
          [4, 1, 5],
          [3, 3, 1],
        ],
        [
          [2, 3, 2, 4],
          [2, 1],
        ],
        [
          [400, 70],
          [300, 1, 99],
        ],
      ] as const) {
        for (let axis = 0; axis < base.length; axis++) {
          const parts = sizes.map((n, i) =>
            view(
              base.map((m, d) => (d === axis ? n : m)),
              (i + axis) % 5,
              dtype,
            ),
          );
          const total = sizes.reduce((a: number, b) => a + b, 0);
          const dims = base.map((m, d) => (d === axis ? total : m));
          const [y] = machines.run("concat", { axis }, parts, [{ dtype, dims }]);
          const want = new Float64Array(sizeOf(dims));
          each(dims, (index, at) => {
            let place = index[axis]!;
            let part = 0;
            while (place >= sizes[part]!) place -= sizes[part++]!;
            want[at] = read(
              parts[part]!,
              index.map((i, d) => (d === axis ? place : i)),
            );
          });
          expectClose(`concat [${dims}] along ${axis}`, y!, want, 0);
        }
      }
    });
  }

  test("one long run is cut for the threads and loses nothing", () => {
    const x = view([300007], 0, "f32");
    const [y] = machines.run(
      "concat",
      { axis: 0 },
      [x, view([3], 0, "f32")],
      [{ dtype: "f32", dims: [300010] }],
    );
    expectClose("concat", y!.subarray(0, 300007), x.numbers, 0);
  });
});

describe("pad", () => {
  for (const dtype of DTYPES) {
    test(`of ${dtype}, before, after and between`, () => {
      for (const [dims, low, high, interior] of [
        [[3], [0], [2], [0]],
        [
          [3, 4],
          [1, 0],
          [0, 2],
          [2, 1],
        ],
        [
          [2, 3, 5],
          [0, 1, 2],
          [3, 0, 1],
          [0, 3, 0],
        ],
        [
          [1, 1],
          [4, 0],
          [0, 0],
          [3, 3],
        ],
        [
          [0, 2],
          [1, 1],
          [0, 0],
          [2, 0],
        ],
        [
          [200, 300],
          [3, 4],
          [5, 6],
          [0, 0],
        ],
      ] as const) {
        for (const kind of [0, 1, 2, 4]) {
          const x = view(dims, kind, dtype);
          const out = dims.map((n, d) => low[d]! + high[d]! + n + Math.max(0, n - 1) * interior[d]!);
          const [y] = machines.run("pad", { low, high, interior }, [x], [{ dtype, dims: out }]);
          const want = new Float64Array(sizeOf(out));
          const strides = strideOf(out);
          each(dims, (index) => {
            want[index.reduce((at, i, d) => at + (low[d]! + i * (interior[d]! + 1)) * strides[d]!, 0)] = read(
              x,
              index,
            );
          });
          expectClose(`pad [${dims}] to [${out}]`, y!, want, 0);
        }
      }
    });
  }
});

describe("updateSlice", () => {
  for (const dtype of DTYPES) {
    test(`of ${dtype}, inside and over the ends`, () => {
      for (const [dims, axis, m] of [
        [[6], 0, 2],
        [[3, 5, 4], 1, 3],
        [[2, 4], 1, 4],
        [[4, 3], 0, 0],
        [[2, 600, 64], 1, 400],
      ] as const) {
        for (const start of [0, 1, -1, dims[axis]! - 1, -50, 2147483647, -2147483648]) {
          const base = view(dims, start & 1, dtype);
          const value = view(
            dims.map((n, d) => (d === axis ? m : n)),
            0,
            dtype,
          );
          const [y] = machines.run(
            "updateSlice",
            { axis },
            [base, value, { scalar: start, dtype: "i32" }],
            [{ dtype, dims }],
          );
          const want = new Float64Array(sizeOf(dims));
          each(dims, (index, at) => {
            const i = index[axis]! - start;
            want[at] =
              i >= 0 && i < m
                ? read(
                    value,
                    index.map((j, d) => (d === axis ? i : j)),
                  )
                : read(base, index);
          });
          expectClose(`updateSlice [${dims}] at ${start}`, y!, want, 0);
        }
      }
    });
  }
});

interface Window {
  kernel: readonly [number, number];
  stride: readonly [number, number];
  padding: readonly [readonly [number, number], readonly [number, number]];
  dilation: readonly [number, number];
}

const WINDOWS: [readonly [number, number, number, number], Window][] = [
  [
    [1, 1, 3, 3],
    {
      kernel: [1, 1],
      stride: [1, 1],
      padding: [
        [0, 0],
        [0, 0],
      ],
      dilation: [1, 1],
    },
  ],
  [
    [2, 3, 8, 9],
    {
      kernel: [3, 3],
      stride: [1, 1],
      padding: [
        [1, 1],
        [1, 1],
      ],
      dilation: [1, 1],
    },
  ],
  [
    [1, 2, 9, 7],
    {
      kernel: [3, 2],
      stride: [2, 3],
      padding: [
        [2, 0],
        [0, 3],
      ],
      dilation: [1, 2],
    },
  ],
  [
    [2, 1, 5, 6],
    {
      kernel: [2, 3],
      stride: [1, 2],
      padding: [
        [3, 4],
        [5, 5],
      ],
      dilation: [3, 2],
    },
  ],
  [
    [1, 5, 1, 40],
    {
      kernel: [1, 5],
      stride: [1, 1],
      padding: [
        [0, 0],
        [4, 0],
      ],
      dilation: [1, 1],
    },
  ],
  [
    [3, 8, 32, 32],
    {
      kernel: [3, 3],
      stride: [1, 1],
      padding: [
        [1, 1],
        [1, 1],
      ],
      dilation: [1, 1],
    },
  ],
];

function windowsOf([, , h, w]: readonly [number, number, number, number], z: Window): [number, number] {
  return [h, w].map(
    (n, a) =>
      Math.floor(
        (n + z.padding[a]![0] + z.padding[a]![1] - z.dilation[a]! * (z.kernel[a]! - 1) - 1) / z.stride[a]!,
      ) + 1,
  ) as [number, number];
}

/** For each place of the columns the pixel it reads, or -1. */
function taps(dims: readonly [number, number, number, number], z: Window): number[] {
  const [n, c, h, w] = dims;
  const [oh, ow] = windowsOf(dims, z);
  const out: number[] = [];
  each([n * c, z.kernel[0], z.kernel[1], oh, ow], ([image, ky, kx, oy, ox]) => {
    const y = oy! * z.stride[0] - z.padding[0][0] + ky! * z.dilation[0];
    const x = ox! * z.stride[1] - z.padding[1][0] + kx! * z.dilation[1];
    out.push(y >= 0 && y < h && x >= 0 && x < w ? (image! * h + y) * w + x : -1);
  });
  return out;
}

describe("im2col and col2im", () => {
  for (const dtype of ["f32", "f16", "bf16", "f64", "i32", "u8"] as const) {
    test(`of ${dtype}`, () => {
      for (const [dims, window] of WINDOWS) {
        const map = taps(dims, window);
        const [oh, ow] = windowsOf(dims, window);
        const columns = [dims[0], dims[1], window.kernel[0] * window.kernel[1], oh * ow];
        const small = (count: number) =>
          stepOf(dtype) > 0 ? numbers.list(count, dtype) : numbers.integers(count, 5);
        const x = small(sizeOf(dims));
        for (const fill of stepOf(dtype) > 0 ? ([0, "-inf"] as const) : ([0] as const)) {
          const [y] = machines.run(
            "im2col",
            { ...window, fill },
            [dense(dtype, dims, x)],
            [{ dtype, dims: columns }],
          );
          const outside = fill === 0 ? 0 : Number.NEGATIVE_INFINITY;
          expectClose(
            `im2col [${dims}]`,
            y!,
            map.map((pixel) => (pixel < 0 ? outside : x[pixel]!)),
            0,
          );
        }
        const dy = small(sizeOf(columns));
        const size = [dims[2], dims[3]];
        const [dx] = machines.run(
          "col2im",
          { ...window, size },
          [dense(dtype, columns, dy)],
          [{ dtype, dims }],
        );
        const want = new Float64Array(sizeOf(dims));
        map.forEach((pixel, at) => {
          if (pixel >= 0) want[pixel]! += dy[at]!;
        });
        expectClose(
          `col2im [${dims}]`,
          dx!,
          want,
          stepOf(dtype),
          8 * stepOf(dtype === "f64" ? "f64" : "f32"),
        );
      }
    });
  }
});
