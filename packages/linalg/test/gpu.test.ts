import { dawn, type DawnBackend } from "@lowrank/backend-dawn";
import { wasm, type WasmBackend } from "@lowrank/backend-wasm";
import { DeviceError, grad, matmul, setDefaultBackend, type Tensor, tensor } from "@lowrank/tensor";
import { withCompanion } from "@lowrank/tensor/backend";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { noGpu } from "../../backend-dawn/test/gpu.js";
import { cholesky, NumericalError, singularValues, svd } from "../src/index.js";

describe.skipIf(noGpu)("decompositions on a GPU", { timeout: 120_000 }, () => {
  let gpu: DawnBackend;
  let cpu: WasmBackend;
  beforeAll(async () => {
    gpu = await dawn();
    cpu = await wasm({ threads: 1 });
  });
  afterAll(async () => {
    await gpu.dispose();
    cpu.dispose();
  });
  const product = (): Tensor =>
    matmul(
      tensor([
        [0, 2],
        [1, 0],
      ]),
      tensor([
        [3, 0],
        [0, 2],
      ]),
    );

  test("are refused with what to do, then done by the companion in the middle of a plan", async () => {
    setDefaultBackend(gpu);
    const refused = svd(product()).s.data();
    await expect(refused).rejects.toThrow(DeviceError);
    await expect(refused).rejects.toThrow(/svd on webgpu: .*withCompanion/);

    setDefaultBackend(withCompanion(gpu, cpu));
    const { u, s, vt } = svd(product());
    expect(await s.mul(2).toArray()).toEqual([8, 6].map((x) => expect.closeTo(x, 5)));
    const again = await u.mul(s).matmul(vt).toArray();
    expect(again).toEqual([
      [expect.closeTo(0, 5), expect.closeTo(4, 5)],
      [expect.closeTo(3, 5), expect.closeTo(0, 5)],
    ]);
    const slope = await grad((x: Tensor) => singularValues(x).sum())(product()).toArray();
    expect(slope).toEqual([
      [expect.closeTo(0, 5), expect.closeTo(1, 5)],
      [expect.closeTo(1, 5), expect.closeTo(0, 5)],
    ]);
  });

  test("refuse numbers as on the companion", async () => {
    setDefaultBackend(withCompanion(gpu, cpu));
    await expect(cholesky(product()).data()).rejects.toThrow(NumericalError);
  });
});
