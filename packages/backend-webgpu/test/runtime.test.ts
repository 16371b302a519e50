import {
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
import { afterEach, describe, expect, test } from "vitest";
import { chromeTrace, formatProfile, type WebGpuBackend, type WebGpuOptions, webgpu } from "../src/index.js";
import { FaultyDevice } from "./faulty-device.js";
import { noGpu } from "../../backend-dawn/test/gpu.js";

const started: { dispose(): unknown }[] = [];
afterEach(async () => {
  for (const backend of started.splice(0).reverse()) await backend.dispose();
});

async function start(options: WebGpuOptions = {}): Promise<{ backend: WebGpuBackend; fault: FaultyDevice }> {
  const owner = await dawn();
  const fault = new FaultyDevice(owner.device);
  const backend = await webgpu({ ...options, device: fault.device });
  started.push(owner, backend);
  setDefaultBackend(backend);
  return { backend, fault };
}

const ramp = (...shape: number[]): Tensor =>
  tensor(
    Float32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, (_, i) => ((i * 7) % 31) / 31),
    { shape },
  );

describe.skipIf(noGpu !== null)("a device's work", () => {
  test("a plan is one submit, cut into several where it would take longer than submitMs, with the same results", async () => {
    const submits: number[] = [];
    const results: Float32Array[] = [];
    for (const submitMs of [Number.POSITIVE_INFINITY, 0.02]) {
      const { fault } = await start({ submitMs });
      let count = 0;
      fault.onSubmit = () => count++;
      const x = ramp(96, 64).sub(0.5);
      const y = softmax(matmul(x, x.T)).add(1);
      await evaluate(y);
      submits.push(count);
      results.push((await y.data()) as Float32Array);
    }
    expect(submits[0]).toBe(1);
    expect(submits[1]).toBeGreaterThan(5); // more than there are dispatches: they are cut too
    expect(results[1]).toEqual(results[0]);
  });

  test("memory stays flat while shapes change from step to step", async () => {
    const { backend } = await start();
    const w = parameter(ramp(8, 8));
    const step = async (rows: number): Promise<void> => {
      const loss = matmul(ramp(rows, 8), w).square().mean();
      const [g] = gradients(loss, [w]);
      await evaluate(loss, w.assign(w.sub(g!.mul(0.01))));
      await loss.data();
      loss.dispose();
    };
    const round = async (): Promise<number> => {
      for (let rows = 1; rows <= 12; rows++) await step(rows * 3);
      return backend.heldBytes;
    };
    await round();
    const held = await round();
    for (let i = 0; i < 20; i++) await round();
    expect(backend.heldBytes).toBeLessThanOrEqual(held * 1.01);
    expect(backend.memory().ownedBytes).toBeLessThan(20_000);
  });

  test("uploads and reads are exact for odd lengths, odd offsets and shared memory", async () => {
    const { backend } = await start();
    const bytes = Uint8Array.from({ length: 103 }, (_, i) => i * 5);
    const shared = new Uint8Array(new SharedArrayBuffer(103));
    shared.set(bytes);
    const odd = new Uint8Array(120).subarray(3, 106);
    odd.set(bytes);
    for (const host of [bytes, shared, odd, bytes.subarray(0, 1)]) {
      const buffer = backend.allocate(host.length);
      backend.write(buffer, host);
      expect([...new Uint8Array(await backend.read(buffer, host.length))]).toEqual([...host]);
      backend.free(buffer);
    }
    const empty = backend.allocate(0);
    expect((await backend.read(empty, 0)).byteLength).toBe(0);
  });

  test("a buffer that is freed while a run waits is still that run's; what is written then comes after it", async () => {
    const { backend, fault } = await start();
    let open: () => void = () => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    fault.hooks = {
      async createComputePipelineAsync(real, descriptor) {
        await gate;
        return real.createComputePipelineAsync(descriptor);
      },
    };
    const x = parameter(tensor([1, 2, 3, 4]));
    const y = x.mul(10);
    const done = evaluate(y);
    await new Promise((resolve) => setTimeout(resolve, 100)); // the run waits for its shader
    x.dispose();
    const other = backend.allocate(16); // of the size of the freed one
    backend.write(other, Float32Array.of(9, 9, 9, 9));
    open();
    await done;
    expect([...(await y.data())]).toEqual([10, 20, 30, 40]);
    expect([...new Float32Array(await backend.read(other, 16))]).toEqual([9, 9, 9, 9]);
  });

  test("limits of memory are kept, with the numbers", async () => {
    await start({ maxMemoryBytes: 1 << 20 });
    const big = ramp(300_000).add(1);
    await expect(evaluate(big)).rejects.toMatchObject({
      where: "allocate on webgpu",
      expected: "at most 1048576 bytes in use, the limit maxMemoryBytes",
    });
    expect((await ramp(10).add(1).data()).length).toBe(10);
  });
});

describe.skipIf(noGpu !== null)("profile", () => {
  test("rows give time, bytes and operations by group and shape, as those of the wasm backend do", async () => {
    const { backend } = await start({ profile: true });
    for (let i = 0; i < 3; i++) await evaluate(matmul(ramp(64, 32), ramp(32, 16)));
    const rows = await backend.profile();
    const row = rows.find(({ name }) => name === "matmul of 64×32, 32×16")!;
    expect(row).toMatchObject({ kind: "group", runs: 3, flops: 3 * 2 * 64 * 32 * 16 });
    expect(row.bytes).toBe(3 * 4 * (64 * 32 + 32 * 16 + 64 * 16));
    expect(row.ms).toBeGreaterThan(0);
    expect(row.gflopsPerSecond).toBeCloseTo(row.flops / row.ms / 1e6, 9);
    expect(rows.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1, 9);
    expect(rows.some(({ kind }) => kind === "host")).toBe(true);
    expect(formatProfile(rows)).toContain("matmul of 64×32, 32×16");
    const { spans } = await backend.timeline();
    expect(spans.filter(({ name }) => name === "matmul of 64×32, 32×16")).toHaveLength(3);
    expect(chromeTrace({ spans, dropped: 0 }).traceEvents.length).toBe(spans.length + 2);
    expect(await backend.profile()).toEqual([]);
  });

  test("a profile that is never taken holds bounded memory", async () => {
    const { backend } = await start({ profile: true });
    const x = parameter(ramp(4));
    for (let i = 0; i < 60; i++) await evaluate(x.assign(x.add(1)));
    const rows = await backend.profile();
    const { dropped } = await backend.timeline();
    const runs = rows.filter(({ kind }) => kind === "group").reduce((sum, row) => sum + row.runs, 0);
    expect(runs + dropped).toBeGreaterThanOrEqual(60);
    expect(runs).toBeGreaterThan(0);
  });

  test("a device without timestamps is refused; without the option there is nothing", async () => {
    const { backend, fault } = await start();
    expect(await backend.profile()).toEqual([]);
    expect(await backend.timeline()).toEqual({ spans: [], dropped: 0 });
    const bare = new Proxy(fault.device, {
      get: (target, name) => (name === "features" ? new Set() : Reflect.get(target, name, target)),
    });
    await expect(webgpu({ device: bare, profile: true })).rejects.toMatchObject({
      code: "LOWRANK_CONFIG",
      expected: "a device with the feature timestamp-query for the option profile",
    });
  });
});
