import { evaluate, full, type Tensor } from "@lowrank/tensor";
import fc from "fast-check";
import { expect, test } from "vitest";
import { smallExamples, smallRun } from "../test/small-run.js";
import { shuffled, TrainingData } from "./data.js";
import { type Example, IGNORED } from "./example.js";
import { batchTensors, pack } from "./packing.js";

const token = fc.integer({ min: 0, max: 31 });
const example: fc.Arbitrary<Example> = fc
  .array(fc.tuple(token, fc.boolean()), { minLength: 1, maxLength: 40 })
  .map((tokens) => ({
    ids: tokens.map(([id]) => id),
    labels: tokens.map(([id, learnt]) => (learnt ? id : IGNORED)),
  }));
const sizes = { length: fc.integer({ min: 2, max: 32 }), batch: fc.integer({ min: 1, max: 4 }) };

/** The pieces that rows of a length can hold: cuts of each text; a single token has nothing to learn. */
const piecesOf = (examples: readonly Example[], length: number): Example[] =>
  examples.flatMap(({ ids, labels }) => {
    const out: Example[] = [];
    for (let from = 0; from < ids.length; from += length)
      out.push({ ids: ids.slice(from, from + length), labels: labels.slice(from, from + length) });
    return out.filter((piece) => piece.ids.length > 1);
  });

const sorted = (pieces: readonly Example[]): string[] => pieces.map((p) => JSON.stringify(p)).sort();

test("every piece of every text is in exactly one place, whole and beside others only", () => {
  fc.assert(
    fc.property(fc.array(example, { maxLength: 30 }), fc.record(sizes), (examples, { length, batch }) => {
      const found: Example[] = [];
      for (const b of pack(examples, { length, batch })) {
        expect([b.rows, b.length, b.ids.length]).toEqual([batch, length, batch * length]);
        let [tokens, targets] = [0, 0];
        for (let row = 0; row < batch; row++) {
          const segments = [...b.segments.subarray(row * length, (row + 1) * length)];
          const used = segments.filter((s) => s >= 0);
          expect(segments).toEqual([...used, ...segments.slice(used.length).fill(-1)]); // gaps at the end only
          expect(used).toEqual([...used].sort((x, y) => x - y)); // segment after segment
          for (const s of new Set(used)) {
            const from = row * length + segments.indexOf(s);
            const to = row * length + segments.lastIndexOf(s) + 1;
            const piece = { ids: [...b.ids.subarray(from, to)], labels: [...b.labels.subarray(from, to)] };
            found.push(piece);
            tokens += piece.ids.length;
            targets += piece.labels.slice(1).filter((l) => l !== IGNORED).length;
          }
        }
        expect([b.tokens, b.targets]).toEqual([tokens, targets]);
      }
      expect(sorted(found)).toEqual(sorted(piecesOf(examples, length)));
    }),
  );
});

test("with an adapter and no dropout, a packed batch costs the sum of its texts", async () => {
  const { options } = smallRun(2);
  const { model } = options;
  model.eval(); // dropout draws for places, not for texts
  for (const [path, p] of model.trainableParameters())
    if (path.includes("lora_B")) p.replace(full(p.shape, 0.05));
  const cost = async (loss: Tensor, count: Tensor): Promise<[number, number]> => {
    await evaluate(loss, count);
    return [await loss.item(), await count.item()];
  };
  const lossOf = ({ ids, labels, segments }: ReturnType<typeof batchTensors>) =>
    model.lossParts(ids, labels, { segments });
  await fc.assert(
    fc.asyncProperty(fc.array(example, { minLength: 2, maxLength: 8 }), async (examples) => {
      const whole: [number, number] = [0, 0];
      for (const b of pack(examples, { length: 40, batch: 2 })) {
        const { sum, count } = lossOf(batchTensors(b));
        const [s, n] = await cost(sum, count);
        expect(n).toBe(b.targets);
        whole[0] += s;
        whole[1] += n;
      }
      const single: [number, number] = [0, 0];
      for (const piece of piecesOf(examples, 40)) {
        const [b] = pack([piece], { length: piece.ids.length, batch: 1 });
        const { sum, count } = lossOf(batchTensors(b!));
        const [s, n] = await cost(sum, count);
        single[0] += s;
        single[1] += n;
      }
      expect(whole[1]).toBe(single[1]);
      expect(Math.abs(whole[0] - single[0])).toBeLessThanOrEqual(1e-6 * Math.max(1, single[0]));
    }),
    { numRuns: 12, seed: 4 },
  );
});

test("refuses sizes and labels that cannot be", () => {
  expect(() => pack([], { length: 1, batch: 1 })).toThrow(/length to be a positive integer/);
  expect(() => pack([], { length: 8, batch: 0 })).toThrow(/batch to be a positive integer/);
  expect(() => pack([{ ids: [1, 2], labels: [1] }], { length: 8, batch: 1 })).toThrow(
    /expected 2 labels, got 1/,
  );
  expect(() => new TrainingData([], { length: 8, batch: 1 })).toThrow(/expected examples, got none/);
  const silent = { ids: [1, 2], labels: [IGNORED, IGNORED] };
  expect(() => new TrainingData([silent], { length: 8, batch: 1 })).toThrow(/expected tokens to learn/);
});

test("an order is a permutation that depends on seed and pass alone", () => {
  const items = Array.from({ length: 50 }, (_, i) => i);
  const order = shuffled(items, 3, 0);
  expect(order).toEqual(shuffled(items, 3, 0));
  expect([...order].sort((a, b) => a - b)).toEqual(items);
  for (const other of [shuffled(items, 3, 1), shuffled(items, 4, 0), items]) expect(order).not.toEqual(other);
});

test("every place is first equally often", () => {
  const counts = [0, 0, 0, 0, 0];
  for (let seed = 0; seed < 2000; seed++) counts[shuffled([0, 1, 2, 3, 4], seed, seed % 7)[0]!]!++;
  // χ² with four degrees of freedom is below 18.5 with probability 0.999.
  expect(counts.reduce((sum, n) => sum + (n - 400) ** 2 / 400, 0)).toBeLessThan(18.5);
});

test("a position gives the same batches again, over the end of a pass too", () => {
  const options = { length: 24, batch: 2, seed: 9 };
  const data = new TrainingData(smallExamples, options);
  for (let i = 0; i < data.batchesPerEpoch - 2; i++) data.next();
  const { position } = data;
  const expected = Array.from({ length: 5 }, () => data.next());
  expect(data.position.epoch).toBe(1);
  const again = new TrainingData(smallExamples, options);
  again.position = position;
  expect(Array.from({ length: 5 }, () => again.next())).toEqual(expected);
  expect(again.fingerprint).toBe(data.fingerprint);
  expect(new TrainingData(smallExamples, { ...options, seed: 8 }).fingerprint).not.toBe(data.fingerprint);
});
