// A long plan runs on a thread of its own: the event loop of the caller stays alive, and what is done meanwhile does no harm.
import {
  compile,
  evaluate,
  fromHost,
  key,
  matmul,
  normal,
  ones,
  parameter,
  setDefaultBackend,
  type Tensor,
} from "@lowrank/tensor";
import { afterEach, expect, test } from "vitest";
import type { NativeBackend } from "../src/index.js";
import { blas, noBlas } from "./blas.js";

let backend: NativeBackend;
afterEach(() => backend.dispose());

async function on(threads: number): Promise<void> {
  backend = await blas({ threads });
  setDefaultBackend(backend);
}

const N = 1024;
const start = (): Tensor => normal([N, N], { key: key(1) });

/** Products of matrices whose elements stay near 1: 24 take some hundred ms on any machine. */
function chain(x: Tensor, count: number): Tensor {
  const w = normal([N, N], { key: key(2), std: N ** -0.5 });
  let y = x;
  for (let i = 0; i < count; i++) y = matmul(y, w);
  return y;
}

const bits = async (x: Tensor): Promise<Buffer> =>
  Buffer.from(((await x.data()) as Float32Array).slice().buffer);

test.skipIf(noBlas).each([1, 2])(
  "timers tick during a long evaluation on %i threads, and its bits are those of short ones",
  async (threads) => {
    await on(threads);
    const x = start();
    await evaluate(chain(x, 1)); // kernels are linked
    let ticks = 0;
    const timer = setInterval(() => ticks++, 10);
    const began = performance.now();
    const y = chain(x, 24);
    await evaluate(y);
    const took = performance.now() - began;
    clearInterval(timer);
    expect(took).toBeGreaterThan(100);
    // One each 10 ms; less on a machine that has much else to do.
    expect(ticks).toBeGreaterThan(took / 100);
    let z = x;
    for (let i = 0; i < 24; i++) {
      z = chain(z, 1);
      await evaluate(z);
    }
    expect((await bits(y)).equals(await bits(z))).toBe(true);
  },
);

test.skipIf(noBlas)("evaluations, reads, plans and disposals in between do no harm", async () => {
  await on(2);
  const x = parameter(start());
  const w = fromHost("f32", [N, N], new Float32Array(N * N).fill(1 / N));
  const expected = [await bits(chain(x, 12)), await bits(matmul(x, w))];
  const used = backend.memory().ownedBytes;
  const step = compile((a: Tensor) => [x.assign(chain(x, 12)), a.mul(2)]);

  const long = evaluate(x.assign(chain(x, 12)));
  const read = new Promise<Buffer>((resolve, reject) => {
    setTimeout(() => bits(x).then(resolve, reject), 5); // while it is written
  });
  const others: Promise<unknown>[] = [];
  const product = matmul(x, w); // of the value before
  const late = ones([64, 64]).add(1);
  for (let i = 0; i < 20; i++) {
    await new Promise((resolve) => setTimeout(resolve, 2));
    const y = ones([N, 1 + i]).mul(i);
    others.push(evaluate(y).then(() => y.dispose()));
    const junk = fromHost("f32", [N, N], new Float32Array(N * N).fill(7));
    junk.dispose();
  }
  await expect(evaluate(product)).rejects.toThrow("version 0");
  await long;
  expect((await read).equals(expected[0]!)).toBe(true);
  await Promise.all(others);
  const [, doubled] = (await step(ones([3, 3]))) as [null, Tensor];
  expect(Array.from(await doubled.data())).toEqual(new Array(9).fill(2));
  expect(Array.from(await late.data()).every((v) => v === 2)).toBe(true);
  w.dispose();
  late.dispose();
  doubled.dispose();
  expect(backend.memory().ownedBytes).toBeLessThanOrEqual(used);
});

test.skipIf(noBlas)("what a running plan reads may be disposed of", async () => {
  await on(2);
  const x = start();
  await evaluate(x);
  const expected = await bits(chain(x, 12).add(x));
  const y = chain(x, 12).add(x);
  const run = evaluate(y);
  await new Promise((resolve) => setTimeout(resolve, 20));
  x.dispose();
  const block = backend.allocate(4 * N * N); // would take its place
  backend.write(block, new Float32Array(N * N).fill(5));
  await run;
  backend.free(block);
  expect((await bits(y)).equals(expected)).toBe(true);
});

test.skipIf(noBlas)("a loop of long steps is aborted by a timer", async () => {
  await on(1);
  const x = start();
  await evaluate(chain(x, 1));
  const signal = AbortSignal.timeout(50);
  let steps = 0;
  const loop = async (): Promise<void> => {
    for (let y = x; steps < 1000; steps++) {
      signal.throwIfAborted();
      y = chain(y, 8);
      await evaluate(y);
    }
  };
  await expect(loop()).rejects.toThrow("timeout");
  expect(steps).toBeLessThan(20);
});

test.skipIf(noBlas)(
  "a backend that is disposed of ends what it runs with an error that says so",
  async () => {
    await on(2);
    const run = evaluate(chain(start(), 60));
    const queued = evaluate(chain(start(), 2));
    setTimeout(() => backend.dispose(), 60);
    await expect(run).rejects.toThrow("one that was disposed");
    await expect(queued).rejects.toThrow("one that was disposed");
  },
);
