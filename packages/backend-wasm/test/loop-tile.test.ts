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
