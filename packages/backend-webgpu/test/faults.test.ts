import {
  compile,
  evaluate,
  gradients,
  matmul,
  parameter,
  setDefaultBackend,
  softmax,
  type Tensor,
  tensor,
} from "@lowrank/tensor";
import { dawn } from "@lowrank/backend-dawn";
import { afterEach, expect, test as anyTest } from "vitest";
import { type WebGpuBackend, type WebGpuOptions, webgpu } from "../src/index.js";
import { FaultyDevice } from "./faulty-device.js";
import { noGpu } from "../../backend-dawn/test/gpu.js";

const test = anyTest.skipIf(noGpu !== null);

const started: { dispose(): unknown }[] = [];
afterEach(async () => {
  for (const backend of started.splice(0).reverse()) await backend.dispose();
});

/** A backend on a device that can be made to fail. */
async function faulty(
  options: WebGpuOptions = {},
): Promise<{ backend: WebGpuBackend; fault: FaultyDevice; real: GPUDevice }> {
  const owner = await dawn();
  const fault = new FaultyDevice(owner.device);
  const backend = await webgpu({ ...options, device: fault.device });
  started.push(owner, backend);
  setDefaultBackend(backend);
  return { backend, fault, real: owner.device };
}

const ramp = (...shape: number[]): Tensor =>
  tensor(
    Float32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, (_, i) => (i % 17) / 17),
    { shape },
  );

const breakMatmul: NonNullable<FaultyDevice["hooks"]["createShaderModule"]> = (real, descriptor) =>
  real.createShaderModule(
    descriptor.label === "matmul"
      ? { ...descriptor, code: `fn oh() {\n\n  let x = ;\n}\n${descriptor.code}` }
      : descriptor,
  );

test("a shader that does not compile is told at its op, with the line; the plan works once it does", async () => {
  const { fault } = await faulty();
  fault.hooks = { createShaderModule: breakMatmul };
  const [a, b] = [ramp(3, 4), ramp(4, 5)];
  const y = matmul(a, b);
  await expect(evaluate(y)).rejects.toMatchObject({
    code: "LOWRANK_DEVICE",
    where: "matmul of 3×4, 4×5 on webgpu, kernel matmul",
    got: expect.stringMatching(/^line 3:\d+, .*'let'.* in "/),
  });
  expect(await ramp(3).add(1).data()).toHaveLength(3);
  fault.hooks = {};
  expect((await y.data())[0]).toBeCloseTo((0 * 0 + 1 * 5 + 2 * 10 + 3 * 15) / 17 ** 2, 5);
});

test("memory that is refused once is asked for again when freed buffers have been given back", async () => {
  const { backend, fault } = await faulty();
  (await evaluateNew(40_000)).dispose(); // waits in the pool
  const before = backend.heldBytes;
  let refusals = 0;
  fault.refuses = (size) => size >= 200_000 && backend.heldBytes >= before && refusals++ === 0;
  const y = ramp(50_000).add(1);
  expect((await y.data())[49_999]).toBeCloseTo(1 + (49_999 % 17) / 17);
  expect(refusals).toBeGreaterThan(0);
});

async function evaluateNew(size: number): Promise<Tensor> {
  const y = ramp(size).mul(2);
  await evaluate(y);
  return y;
}

test("memory that stays refused is an error with the sizes; nothing is leaked and a smaller plan works", async () => {
  const { backend, fault } = await faulty();
  await evaluateNew(10);
  const { ownedBytes } = backend.memory();
  fault.refuses = (size) => size > 100_000;
  for (let i = 0; i < 3; i++) {
    const big = ramp(50_000).mul(3);
    await expect(big.data()).rejects.toMatchObject({
      code: "LOWRANK_DEVICE",
      where: "allocate on webgpu",
      expected: expect.stringMatching(/^2\d{5} more bytes/),
    });
  }
  expect(backend.memory().ownedBytes).toBe(ownedBytes);
  expect(backend.heldBytes).toBeLessThan(100_000);
  expect([...(await tensor([1, 2]).mul(3).data())]).toEqual([3, 6]);
});

test("temporaries that are refused are an error; a smaller plan works", async () => {
  const { backend, fault } = await faulty();
  const chain = (n: number): Tensor => {
    const x = ramp(n, 1).add(ramp(1, n));
    return softmax(matmul(x, x)).sum();
  };
  fault.refuses = (size) => size > 60_000;
  const bytes = backend.memory().ownedBytes;
  await expect(chain(128).data()).rejects.toMatchObject({ where: "allocate on webgpu" });
  expect(backend.memory().ownedBytes).toBe(bytes);
  expect((await chain(16).data())[0]).toBeCloseTo(16, 4);
});

test("a tensor whose upload was refused gives no numbers, alone or in a plan", async () => {
  const { fault } = await faulty();
  fault.refuses = (size) => size > 100_000;
  const w = parameter(ramp(50_000));
  await expect(w.data()).rejects.toMatchObject({ where: "allocate on webgpu" });
  await expect(w.sum().data()).rejects.toMatchObject({ where: "allocate on webgpu" });
  fault.refuses = () => false;
  w.replace(ramp(50_000));
  expect((await w.data())[16]).toBeCloseTo(16 / 17);
});

const breakBinding: NonNullable<FaultyDevice["hooks"]["createBindGroup"]> = (real, descriptor) =>
  real.createBindGroup(
    descriptor.label === "softmax"
      ? { ...descriptor, entries: [...descriptor.entries].slice(1) }
      : descriptor,
  );

test("a refused dispatch ends the backend before a number is handed out, and is told at its op", async () => {
  const { backend, fault } = await faulty();
  const w = parameter(ramp(4));
  await evaluate(w);
  fault.hooks = { createBindGroup: breakBinding };
  const y = softmax(ramp(4, 8).add(w.reshape([4, 1])));
  const told = { code: "LOWRANK_DEVICE", where: "softmax of 4×8, kernel softmax, on webgpu" };
  await expect(y.data()).rejects.toMatchObject(told);
  await expect(w.data()).rejects.toMatchObject(told);
  await expect(ramp(3).add(1).data()).rejects.toMatchObject(told);
  expect(await backend.lost).toMatchObject(told);
});

test("with validate a refused dispatch is told before anything has happened, and the backend lives on", async () => {
  const { fault } = await faulty({ validate: true });
  const w = parameter(ramp(4));
  await evaluate(w);
  fault.hooks = { createBindGroup: breakBinding };
  const y = softmax(ramp(4, 8).add(w.reshape([4, 1])));
  const step = evaluate(y, w.assign(w.add(1)));
  await expect(step).rejects.toMatchObject({ where: "softmax of 4×8, kernel softmax, on webgpu" });
  fault.hooks = {};
  expect((await w.data())[1]).toBeCloseTo(1 / 17);
  expect((await y.sum().data())[0]).toBeCloseTo(4, 5);
});

/** A step of training: forward, backward, update. */
async function train(w: ReturnType<typeof parameter>): Promise<number> {
  const loss = matmul(ramp(4, 6), w).square().mean();
  const [g] = gradients(loss, [w]);
  await evaluate(loss, w.assign(w.sub(g!.mul(0.1))));
  return (await loss.data())[0]!;
}

test("a device that is destroyed at any call ends in its error or in right numbers, never in silence", async () => {
  const { fault } = await faulty();
  const w = parameter(ramp(6, 3));
  const right = [await train(w), await train(w)];
  const calls = fault.calls;
  expect(calls).toBeGreaterThan(20);
  let refused = 0;
  for (let at = 1; at <= calls + 2; at += 3) {
    const { fault, real, backend } = await faulty();
    fault.onCall = (call) => {
      if (call === at) real.destroy();
    };
    const v = parameter(ramp(6, 3));
    try {
      for (const loss of right) expect(await train(v)).toBe(loss);
    } catch (error) {
      expect(error).toMatchObject({ code: "LOWRANK_DEVICE", got: "one that was destroyed" });
      await expect(train(v)).rejects.toMatchObject({ code: "LOWRANK_DEVICE", got: "one that was destroyed" });
      expect((await backend.lost).message).toContain("checkpoint");
      refused++;
    }
  }
  expect(refused).toBeGreaterThan(5);
});

test("what waits for the GPU is rejected when the device goes, or the backend is disposed", async () => {
  for (const end of ["lost", "disposed"] as const) {
    const { backend, real } = await faulty();
    const y = ramp(64, 64);
    await evaluate(y);
    const reads = [matmul(y, y).data(), y.data()];
    const told = Promise.allSettled(reads);
    await new Promise((resolve) => setTimeout(resolve));
    if (end === "lost") real.destroy();
    else backend.dispose();
    for (const outcome of await told) {
      if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ code: "LOWRANK_DEVICE" });
    }
    expect((await told).some(({ status }) => status === "rejected")).toBe(true);
    await expect(matmul(y, y).data()).rejects.toMatchObject({
      code: "LOWRANK_DEVICE",
      got: end === "lost" ? "one that was destroyed" : "one that was disposed",
    });
  }
});

test("disposing a backend on the caller's device leaves the device, and no buffer", async () => {
  const { backend, real } = await faulty();
  await evaluateNew(1000);
  backend.dispose();
  expect(backend.heldBytes).toBe(0);
  const second = await webgpu({ device: real });
  setDefaultBackend(second);
  expect([...(await tensor([1, 2]).add(1).data())]).toEqual([2, 3]);
  second.dispose();
});

test("runs keep their order when the shaders of the first are compiled late", async () => {
  const { fault } = await faulty();
  const p = parameter(tensor([1, 2]));
  await evaluate(p);
  fault.hooks = {
    async createComputePipelineAsync(real, descriptor) {
      const pipeline = await real.createComputePipelineAsync(descriptor);
      if (descriptor.label!.includes("mul")) await new Promise((resolve) => setTimeout(resolve, 300));
      return pipeline;
    },
  };
  const double = compile(() => p.assign(p.mul(2)));
  const increment = compile(() => p.assign(p.add(1)));
  // 2 p + 1, not 2 (p + 1), and each plan once more
  await Promise.all([double(), increment(), double(), increment()]);
  expect([...(await p.data())]).toEqual([7, 11]);
});
