import { crossEntropy, gradients, key, matmul, normal, setDefaultBackend, tensor } from "@lowrank/tensor";
import { wasm } from "@lowrank/backend-wasm";
import { beforeAll, expect, test } from "vitest";
import { headLoss } from "./head-loss.js";

const [COUNT, WIDTH, VOCABULARY] = [96, 16, 4000];

let backend: Awaited<ReturnType<typeof wasm>>;
beforeAll(async () => setDefaultBackend((backend = await wasm({ threads: 1 }))));

const keys = key(7).split(2);
const rows = normal([COUNT, WIDTH], { key: keys[0]!, std: 1 });
const head = normal([VOCABULARY, WIDTH], { key: keys[1]!, std: 0.2 });
const targets = tensor(
  Int32Array.from({ length: COUNT }, (_, i) => (i % 5 === 0 ? -100 : (i * 37) % VOCABULARY)),
  { dtype: "i32", shape: [COUNT] },
);

const logits = (x: typeof rows) => matmul(x, head.T);
const whole = () => crossEntropy(logits(rows), targets, { reduction: "sum" });
const inParts = (lossRows: number, frozen: boolean) =>
  headLoss(rows, targets, { logits, vocabSize: VOCABULARY, frozen, lossRows });

const numbers = async (t: typeof rows) => Array.from(await t.data());

test.each([
  [7, true],
  [7, false],
  [96, true],
])("in parts of %d rows, frozen head %s, loss and gradient are those of the whole", async (size, frozen) => {
  const want = whole();
  const got = inParts(size, frozen);
  const scaled = got.mul(3); // what arrives at the loss reaches the rows
  const [dx] = gradients(scaled, [rows]);
  const [wanted] = gradients(want.mul(3), [rows]);
  expect(await got.item()).toBeCloseTo(await want.item(), 3);
  const [a, b] = [await numbers(dx!), await numbers(wanted!)];
  for (const [i, x] of a.entries()) expect(Math.abs(x - b[i]!)).toBeLessThan(1e-5);
});

test("a head that is trained gets its gradient", async () => {
  const [dw] = gradients(inParts(10, false), [head]);
  const [wanted] = gradients(whole(), [head]);
  const [a, b] = [await numbers(dw!), await numbers(wanted!)];
  for (const [i, x] of a.entries()) expect(Math.abs(x - b[i]!)).toBeLessThan(1e-5);
});

test("logits and their gradient never exist as a whole, and no product is done twice", async () => {
  const bytesOf = async (lossRows: number): Promise<{ arena: number; products: number }> => {
    const own = await wasm({ threads: 1, profile: true });
    setDefaultBackend(own);
    try {
      const loss = inParts(lossRows, true);
      await gradients(loss, [rows])[0]!.data();
      const products = own
        .profile()
        .filter(({ name }) => name.startsWith("matmul"))
        .reduce((sum, { runs }) => sum + runs, 0);
      return { arena: own.memory().arenaBytes, products };
    } finally {
      setDefaultBackend(backend);
      await own.dispose();
    }
  };
  const [all, parts] = [await bytesOf(COUNT), await bytesOf(COUNT / 8)];
  expect(all.arena).toBeGreaterThan(4 * COUNT * VOCABULARY);
  expect(parts.arena).toBeLessThan(all.arena / 3);
  expect(parts.products).toBe(8 * all.products);
});

test("a number of rows that is none is refused", () => {
  expect(() => inParts(0, true)).toThrow("loss: expected lossRows to be a positive integer, got 0");
});
