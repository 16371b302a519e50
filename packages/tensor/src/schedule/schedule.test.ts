import { expect, test } from "vitest";
import type { Backend } from "../device.js";
import { gradients } from "../autograd.js";
import { setDefaultBackend } from "../default-backend.js";
import { evaluate, type Root } from "../evaluate.js";
import { scalar, tensor, zeros } from "../ops/create.js";
import { erf, sigmoid } from "../ops/math.js";
import { matmul } from "../ops/matmul.js";
import { layerNorm } from "../ops/norm.js";
import { softmax } from "../ops/softmax.js";
import { parameter } from "../parameter.js";
import { checkpoint } from "../transform.js";
import { explainSchedule } from "./explain.js";
import type { KernelGroup, Operand, Target } from "./ir.js";
import { schedule } from "./schedule.js";

const target: Target = {
  supports: () => false,
  layout: (op) => (op.name === "matmul" ? "matrix" : "contiguous"),
  widens: (op) => op.name === "matmul",
  inPlace: (op) => (op.name === "updateSlice" ? 0 : -1),
  maxBindings: 64,
  maxInstructions: 64,
};

const planOf = (...roots: Root[]): Promise<string[]> => planFor(target, ...roots);

/** The last plan that evaluating `roots` makes, as text; nothing is computed. */
async function planFor(target: Target, ...roots: Root[]): Promise<string[]> {
  let text = "";
  const backend: Backend = {
    name: "null",
    allocate: (bytes) => ({ bytes }),
    free() {},
    write() {},
    read: (_, bytes) => Promise.resolve(new ArrayBuffer(bytes)),
    prepare(graph) {
      text = explainSchedule(schedule(graph, target));
      return { peakBytes: 0, run() {}, explain: () => text, dispose() {} };
    },
    memory: () => ({ ownedBytes: 0, arenaBytes: 0, peakBytes: 0 }),
    resetPeak() {},
    dispose() {},
  };
  setDefaultBackend(backend);
  await evaluate(...roots);
  return text.split("\n").map((line) => line.trim());
}

const x = () => tensor(new Float32Array(32), { shape: [4, 8] });

test("an element-wise chain is one loop, with broadcasts as strides", async () => {
  expect(
    await planOf(
      x()
        .mul(2)
        .add(tensor(new Float32Array(8)))
        .exp(),
    ),
  ).toEqual([
    "0 loop mul+add+exp [4,8] (v0:f32[4,8]leaf0, scalar, v1:f32[8]leaf1) -> v2:f32[4,8]root0",
    "arena 0 bytes, alive at once 0",
  ]);
});

test("softmax is three passes and never computes an exponential twice", async () => {
  expect(await planOf(softmax(x(), -1))).toMatchSnapshot();
});

test("layer norm", async () => {
  expect(await planOf(layerNorm(x(), zeros([8]), zeros([8]), { eps: 1e-5 }))).toMatchSnapshot();
});

test("matmul reads both transposes in place, and its neighbours are loops of their own", async () => {
  const w = tensor(new Float32Array(48), { shape: [6, 8] });
  const y = sigmoid(matmul(x().add(1), w.T));
  expect(await planOf(y, ...gradients(y.sum(), [w]))).toMatchSnapshot();
});

test("a map that alone reads a product is the epilogue of its kernel, and the product has no memory", async () => {
  const fusing = { ...target, fusesEpilogue: () => true };
  const w = () => tensor(new Float32Array(48), { shape: [8, 6] });
  const y = matmul(x(), w())
    .add(tensor(new Float32Array(6)))
    .exp();
  expect(await planFor(fusing, y)).toEqual([
    expect.stringMatching(/^0 matmul\+add\+exp \(.*leaf0, .*leaf1; .*leaf2\) -> v\d:f32\[4,6\]root0$/),
    "arena 0 bytes, alive at once 0",
  ]);
  // Read twice, it is stored; and a parameter that is still read must not be overwritten early.
  const twice = matmul(x(), w());
  expect((await planFor(fusing, twice.exp(), twice))[0]).toMatch(/^0 matmul \(/);
  const v = parameter(tensor(new Float32Array(24), { shape: [4, 6] }));
  const plan = await planFor(fusing, v.assign(matmul(x(), w()).add(v)), matmul(v.T, x()));
  expect(plan[0]).toMatch(/^0 matmul \(/);
});

test("a thin product is joined to the one it is added to, unless somebody reads either or an operand lives too long", async () => {
  const depthOf = ({ inputs }: KernelGroup): number => (inputs[0] as Operand).dims[1]!;
  const joining = { ...target, joins: (a: KernelGroup, b: KernelGroup) => depthOf(a) > depthOf(b) };
  const host = (...shape: number[]) => tensor(new Float32Array(shape[0]! * shape[1]!), { shape });
  const large = (n = 6) => matmul(x(), host(8, n));
  const thin = (n = 6) => matmul(host(4, 2), host(2, n));
  const joined = /^0 matmul \(v\d:f32\[4,8\]leaf\d, .*, v\d:f32\[4,2\]leaf\d, .*leaf\d\) -> v\d:f32\[/;
  for (const sum of [large().add(thin()), thin().add(large()).reshape([6, 4])]) {
    const plan = await planFor(joining, sum);
    expect(plan).toEqual([expect.stringMatching(joined), "arena 0 bytes, alive at once 0"]);
  }
  const chain = await planFor(joining, host(4, 6).add(thin()).add(large()).mul(2).exp());
  expect(chain[0]).toMatch(/^0 matmul .*leaf\d, .*leaf\d, .*leaf\d, .*leaf\d\) /);
  expect(chain[1]).toMatch(/^1 loop add\+mul\+exp /);
  // Not a term of the sum; read by others, as a product or as a part of the sum.
  expect((await planFor(joining, thin().mul(2).add(large())))[1]).toMatch(/^1 matmul /);
  const product = large();
  expect((await planFor(joining, product.add(thin()), product))[1]).toMatch(/^1 matmul /);
  const part = host(4, 6).add(thin());
  expect((await planFor(joining, part, part.add(large()))).filter((l) => / matmul /.test(l))).toHaveLength(2);
  // The left operand of the first would live until the second is there: longer than a result of less size lives no more.
  for (const [n, kernels] of [
    [6, 2],
    [9, 1],
  ] as const) {
    const plan = await planFor(joining, matmul(x().exp(), host(8, n)).add(thin(n)));
    expect(plan.filter((line) => / matmul /.test(line))).toHaveLength(kernels);
  }
});

test("a loop that ends the life of more than it stores stays where it is, also behind a joined product", async () => {
  const depthOf = ({ inputs }: KernelGroup): number => (inputs[0] as Operand).dims[1]!;
  const joining = { ...target, joins: (a: KernelGroup, b: KernelGroup) => depthOf(a) > depthOf(b) };
  const host = (...shape: number[]) => tensor(new Float32Array(shape[0]! * shape[1]!), { shape });
  const product = () => matmul(host(4, 5), host(5, 6));
  const sum = matmul(x(), host(8, 6)).add(matmul(host(4, 2), host(2, 6)));
  const z = product().mul(product());
  const other = matmul(host(40, 5), host(5, 6));
  const plan = await planFor(joining, sum, other, other.sum(), z.sub(product()));
  expect(plan.filter((line) => / loop mul /.test(line))).toHaveLength(1);
});

test("a weight in half precision reaches the kernel without being widened first", async () => {
  const w = parameter(tensor(new Uint16Array(48), { shape: [6, 8], dtype: "f16" }));
  expect((await planOf(matmul(x(), w.astype("f32").T)))[0]).toMatch(
    /^0 matmul \(v\d:f32\[4,8\]leaf0, v\d:f16\[6,8\]leaf1\)/,
  );
});

test("an Adam step is one loop that writes into the parameter and its moments", async () => {
  const [p, m, v] = [0, 1, 2].map(() => parameter(tensor(new Float32Array(32), { shape: [4, 8] })));
  const g = x();
  const m2 = m!.mul(0.9).add(g.mul(0.1));
  const v2 = v!.mul(0.99).add(g.square().mul(0.01));
  const p2 = p!.sub(m2.div(v2.sqrt().add(1e-8)).mul(0.001));
  const plan = await planOf(p!.assign(p2), m!.assign(m2), v!.assign(v2));
  expect(plan).toHaveLength(2);
  expect(plan).toMatchSnapshot();
});

test("a value read at another index is stored first, and its memory is used again", async () => {
  const a = erf(x());
  expect(await planOf(a.add(a.slice([[null, null, -1]])).mul(2))).toMatchSnapshot();
});

test("a checkpoint keeps the backward pass from reading what the forward pass made", async () => {
  const w = tensor(new Float32Array(64), { shape: [8, 8] });
  const f = checkpoint((t) => sigmoid(matmul(sigmoid(matmul(t, w)), w)));
  const input = x();
  expect(await planOf(...gradients(f(f(input)).sum(), [w]))).toMatchSnapshot();
});

test("old values are saved where an assignment would overwrite them", async () => {
  const a = parameter(x());
  const b = parameter(x());
  expect(await planOf(a.assign(b), b.assign(a))).toMatchSnapshot();
});

test("zero-sized results need no group", async () => {
  expect(await planOf(zeros([0, 3]).add(scalar(1)))).toEqual(["arena 0 bytes, alive at once 0"]);
});
