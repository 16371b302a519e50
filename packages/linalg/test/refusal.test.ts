import { expect, test } from "vitest";
import { evaluate, parameter, setDefaultBackend, tensor } from "@lowrank/tensor";
import { wasm } from "@lowrank/backend-wasm";
import { cholesky, NumericalError } from "../src/index.js";

test("a matrix that is refused leaves every parameter of the evaluation as it was", async () => {
  const backend = await wasm();
  setDefaultBackend(backend);
  const counter = parameter(tensor([1, 2]));
  const matrix = parameter(
    tensor([
      [1, 2],
      [2, 1],
    ]),
  );
  const step = (shift: number) =>
    evaluate(
      counter.assign(counter.add(1)),
      matrix.assign(
        cholesky(
          matrix.add(
            tensor([
              [shift, 0],
              [0, shift],
            ]),
          ),
        ),
      ),
    );
  await expect(step(0)).rejects.toThrow(NumericalError);
  expect(await counter.toArray()).toEqual([1, 2]);
  expect(await matrix.toArray()).toEqual([
    [1, 2],
    [2, 1],
  ]);
  await step(3);
  expect(await counter.toArray()).toEqual([2, 3]);
  expect(await matrix.toArray()).toEqual([
    [2, 0],
    [1, expect.closeTo(Math.sqrt(3), 6)],
  ]);
  backend.dispose();
});
