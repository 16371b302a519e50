import { afterAll, beforeAll, expect, test } from "vitest";
import { wasm } from "@lowrank/backend-wasm";
import type { Backend, DType, Tensor } from "@lowrank/tensor";
import * as t from "@lowrank/tensor";
import { encodeHost } from "@lowrank/tensor/backend";
import { reference, Rng, runOn } from "@lowrank/tensor/testing";

let backend: Backend;
let more: Backend;
beforeAll(async () => {
  backend = await wasm({ threads: 1 });
  more = await wasm({ threads: 3 });
});
afterAll(() => {
  backend.dispose();
  more.dispose();
});

/** Small integers, so that every dtype holds them and sums are exact. */
function leaf(rng: Rng, dtype: DType, dims: readonly number[]): Tensor {
  const numbers = Array.from({ length: dims.reduce((n, d) => n * d, 1) }, () => rng.int(0, 15));
  return t.fromHost(dtype, dims, encodeHost(dtype, numbers));
}

const DTYPES: readonly DType[] = ["f32", "i32", "u32", "f16", "bf16", "u8", "bool", "f64"];
const SHAPES: readonly (readonly [number, number])[] = [
  [4, 33],
  [17, 32],
  [100, 129],
  [33, 1030],
  [130, 100],
  [3, 64],
];

for (const dtype of DTYPES) {
  test(`transposed operands of ${dtype} are read in tiles with the same result`, async () => {
    const rng = new Rng(5);
    for (const [rows, columns] of SHAPES) {
      const x = leaf(rng, dtype, [columns, rows]);
      const y = leaf(rng, dtype, [rows, columns]);
      const z = leaf(rng, dtype, [columns, rows]);
      const batch = leaf(rng, dtype, [2, columns, rows]);
      const build = () => {
        const turned = t.transpose(x);
        const pair = t.where(t.gt(turned, y), turned, t.transpose(z));
        return [
          turned,
          pair,
          turned.astype("f32").add(y.astype("f32")),
          t.transpose(batch).astype("f32").mul(2),
        ];
      };
      const want = await runOn(reference(), build);
      const got = await runOn(backend, build);
      const spread = await runOn(more, build);
      want.forEach((w, i) => {
        expect(Array.from(got[i]!.data), `${dtype} [${rows}, ${columns}], result ${i}`).toEqual(
          Array.from(w.data),
        );
        expect(Array.from(spread[i]!.data)).toEqual(Array.from(w.data));
      });
    }
  });
}

for (const dtype of DTYPES) {
  test(`reductions of transposed and straight operands of ${dtype} read tiles with the same result`, async () => {
    const rng = new Rng(6);
    for (const [rows, columns] of [...SHAPES, [16, 600], [40, 2100]] as const) {
      const x = leaf(rng, dtype, [columns, rows]).astype("i32");
      const y = leaf(rng, dtype, [rows, columns]).astype("i32");
      const batch = leaf(rng, dtype, [3, columns, rows]).astype("i32");
      const straight = leaf(rng, dtype, [3, rows, columns]).astype("i32");
      const build = () => {
        const product = t.transpose(x).mul(y);
        const products = t.transpose(batch).mul(straight);
        return [
          t.sum(product, [1]),
          t.sum(product.add(1), [0]),
          t.max(product.add(2)),
          t.sum(products, [2]),
          t.sum(products.add(1), [1]),
          t.sum(products.add(2), [0]),
          t.sum(products.add(3), [0, 2]),
          t.sum(products.add(4), [1, 2]),
          t.sum(products.add(5), [0, 1]),
        ];
      };
      // with results stored beside the reductions, too
      const stored = () => {
        const product = t.transpose(x).mul(y);
        return [product, t.sum(product, [1]), t.min(product), t.sum(product, [0])];
      };
      for (const make of [build, stored]) {
        const want = await runOn(reference(), make);
        for (const [backendName, some] of [
          ["one", backend],
          ["three", more],
        ] as const) {
          const got = await runOn(some, make);
          want.forEach((w, i) => {
            expect(
              Array.from(got[i]!.data),
              `${dtype} [${rows}, ${columns}], result ${i}, ${backendName} threads`,
            ).toEqual(Array.from(w.data));
          });
        }
      }
    }
  });
}
