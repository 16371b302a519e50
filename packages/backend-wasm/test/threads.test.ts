import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import {
  argmax,
  attention,
  concat,
  conv2d,
  crossEntropy,
  cumsum,
  exp,
  gelu,
  gradients,
  inverseFrequencies,
  key,
  layerNorm,
  matmul,
  max,
  normal,
  pad,
  parameter,
  quantizedMatmul,
  randint,
  relu,
  rmsNorm,
  rope,
  softmax,
  sort,
  sqrt,
  sum,
  take,
  takeAlongAxis,
  type Tensor,
  tensor,
  transpose,
  updateSlice,
} from "@lowrank/tensor";
import { runOn, type Wanted } from "@lowrank/tensor/testing";
import { wasm, type WasmBackend } from "../src/index.js";
import { PlanBuilder } from "../src/plan-builder.js";
import * as ids from "../assembly/ids.js";

const THREADS = [1, 2, 3, 8];
let backends: WasmBackend[];
beforeAll(async () => {
  backends = await Promise.all(THREADS.map((threads) => wasm({ threads })));
});
afterAll(() => backends.forEach((backend) => backend.dispose()));

/** Kernels that some plan of this file has cut into several chunks. */
const cut = new Set<number>();
const command = PlanBuilder.prototype.command;
vi.spyOn(PlanBuilder.prototype, "command").mockImplementation(function (this: PlanBuilder, ...args) {
  if (args[2] > 1) cut.add(args[0]);
  return command.apply(this, args);
});

const bits = (data: ArrayBufferView): Buffer =>
  Buffer.from(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);

/** Evaluates the same graph on every number of threads and compares the results bit by bit. */
async function expectSameBits(build: () => readonly Wanted[]): Promise<void> {
  const [first, ...others] = backends;
  const expected = await runOn(first!, build);
  for (const backend of others) {
    const found = await runOn(backend, build);
    found.forEach(({ data }, i) => {
      const [got, want] = [bits(data as Float32Array), bits(expected[i]!.data as Float32Array)];
      const at = got.findIndex((byte, b) => byte !== want[b]);
      expect(at, `byte of result ${i} that differs on ${backend.threads} threads`).toBe(-1);
    });
  }
}

let seed = 0;
const draw = (...shape: number[]): Tensor => normal(shape, { key: key(++seed) });
const index = (count: number, below: number): Tensor => randint([count], { key: key(++seed), max: below });
/** A graph whose random inputs are the same each time it is built. */
const seeded = (build: () => readonly Wanted[]) => () => {
  seed = 0;
  return build();
};

const CASES: Record<string, () => readonly Wanted[]> = {
  "element-wise, and views of other shapes": () => {
    const [x, y] = [draw(500, 400), draw(400, 500)];
    return [gelu(x.mul(transpose(y)).add(draw(400))), exp(x.astype("f64")).mul(0.5), x.astype("f16").mul(3)];
  },
  "sums over long and short axes": () => {
    const x = draw(3000, 301);
    return [sum(x), sum(x, 0), sum(x, 1), max(x, 0), sum(draw(2, 40000, 5), 1), sum(x.astype("f64"), 0)];
  },
  "random numbers": () => [draw(300_000)],
  "products of matrices": () => {
    const [a, b] = [draw(300, 400), draw(400, 700)];
    return [
      matmul(a, b),
      matmul(transpose(draw(400, 300)), transpose(draw(700, 400))),
      matmul(draw(6, 100, 120), draw(6, 120, 90)),
      matmul(draw(2000, 300), draw(300, 8)),
      matmul(draw(8, 2000), draw(2000, 600)),
      matmul(draw(1, 1500), draw(1500, 1500)),
      matmul(a.astype("f64"), b.astype("f64")),
      matmul(draw(400, 50).astype("f16"), draw(50, 400).astype("f16")),
    ];
  },
  "products with quantized weights": () => {
    const codes = randint([1024, 1024], { key: key(++seed), min: -128, max: 128 }).astype("i8");
    const scales = draw(1024, 32).abs();
    const options = { bits: 8, groupSize: 32 } as const;
    return [
      quantizedMatmul(draw(1, 1024), codes, scales, options),
      quantizedMatmul(draw(2, 1024), codes, scales, { ...options, activations: "int8" }),
      quantizedMatmul(draw(200, 1024), codes, scales, options),
    ];
  },
  "softmax and norms, with gradients": () => {
    const [x, w, b, dy] = [draw(300, 1000), draw(1000), draw(1000), draw(300, 1000)];
    return [
      softmax(x),
      ...gradients(softmax(x), [x], dy),
      ...gradients(layerNorm(x, w, b), [x, w, b], dy),
      ...gradients(rmsNorm(x, w), [x, w], dy),
    ];
  },
  "cross-entropy, with its gradient": () => {
    const logits = draw(200, 1000);
    const loss = crossEntropy(logits, index(200, 1000));
    return [loss, ...gradients(loss, [logits])];
  },
  "attention, with gradients": () => {
    const [q, k, v] = [draw(1, 1000, 8, 32), draw(1, 1000, 2, 32), draw(1, 1000, 2, 32)];
    const y = attention(q, k, v, { causal: true });
    return [y, ...gradients(y, [q, k, v], draw(1, 1000, 8, 32))];
  },
  "attention of one position over many": () => [
    attention(draw(1, 1, 8, 64), draw(1, 3000, 8, 64), draw(1, 3000, 8, 64)),
  ],
  "rotary embeddings": () => {
    const positions = tensor(Int32Array.from({ length: 400 }, (_, i) => i));
    return [rope(draw(1, 400, 8, 64), positions, inverseFrequencies(64))];
  },
  "gathers and scattered sums": () => {
    const [table, rows] = [draw(500, 64), index(6000, 500)];
    const [x, order] = [draw(300, 1000), randint([300, 1000], { key: key(++seed), max: 1000 })];
    return [
      take(table, rows),
      ...gradients(take(table, rows), [table], draw(6000, 64)),
      takeAlongAxis(x, order),
      ...gradients(takeAlongAxis(x, order), [x], draw(300, 1000)),
    ];
  },
  "joining, padding and partial updates": () => {
    const x = draw(1000, 600);
    return [
      concat([x, draw(1000, 300)], 1),
      pad(x, [
        [100, 100],
        [10, 10],
      ]),
      updateSlice(x, draw(500, 600), 200),
    ];
  },
  "order and running sums": () => {
    const x = draw(300, 300);
    return [sort(x).values, sort(x).indices, argmax(x), cumsum(x)];
  },
  "convolutions, with gradients": () => {
    const [x, w] = [draw(4, 16, 40, 40), draw(16, 16, 3, 3)];
    const y = conv2d(x, w, { padding: 1 });
    return [y, ...gradients(y.square().sum(), [x, w])];
  },
};

describe("one thread and several give the same bits", () => {
  for (const [name, build] of Object.entries(CASES)) test(name, () => expectSameBits(seeded(build)));

  test("ten steps of training with Adam", async () => {
    const train = async (backend: WasmBackend): Promise<Buffer[]> => {
      seed = 0;
      const make = (): Tensor[] => [draw(200, 300), draw(300, 400).mul(0.1), draw(400, 50).mul(0.1)];
      const [x, ...start] = (await runOn(backend, make)).map(({ data, dims }) =>
        parameter(tensor(data as Float32Array, { shape: [...dims] })),
      );
      const labels = tensor(Int32Array.from({ length: 200 }, (_, i) => (i * 7) % 50));
      const weights = start.map((w) => ({ w, m: parameter(w.mul(0)), v: parameter(w.mul(0)) }));
      const losses: Buffer[] = [];
      for (let step = 0; step < 10; step++) {
        const [loss] = await runOn(backend, () => {
          const h = relu(matmul(x!, weights[0]!.w));
          const loss = crossEntropy(matmul(h, weights[1]!.w), labels);
          const grads = gradients(
            loss,
            weights.map(({ w }) => w),
          );
          const updates = weights.flatMap(({ w, m, v }, i) => {
            const m1 = m.mul(0.9).add(grads[i]!.mul(0.1));
            const v1 = v.mul(0.999).add(grads[i]!.square().mul(0.001));
            return [m.assign(m1), v.assign(v1), w.assign(w.sub(m1.div(sqrt(v1).add(1e-8)).mul(0.003)))];
          });
          return [loss, ...updates];
        });
        losses.push(bits(loss!.data as Float32Array));
      }
      return [
        ...losses,
        ...(await Promise.all(weights.map(async ({ w }) => bits((await w.data()) as Float32Array)))),
      ];
    };
    const expected = await train(backends[0]!);
    const value = (loss: Buffer): number => loss.readFloatLE(0);
    expect(value(expected[9]!)).toBeLessThan(value(expected[0]!));
    for (const backend of backends.slice(1)) expect(await train(backend)).toEqual(expected);
  });

  test("and every kernel that can be cut was", () => {
    const never = ["MATMUL_ZERO", "QUANTIZED_PREPARE", "LINKED", "COPY_PROBE"]; // each in one chunk always, or not in this plan
    const names = Object.entries(ids).filter(([name]) => !name.startsWith("FIRST") && !never.includes(name));
    expect(names.filter(([, id]) => !cut.has(id)).map(([name]) => name)).toEqual([]);
  });
});
