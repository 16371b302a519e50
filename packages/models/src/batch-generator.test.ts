import {
  BatchGenerator,
  type BatchRequest,
  generate,
  LlamaForCausalLM,
  parseLlamaConfig,
} from "@lowrank/models";
import { type Backend, key, memory, planStats, setDefaultBackend } from "@lowrank/tensor";
import { beforeAll, describe, expect, test, vi } from "vitest";
import { testBackend } from "../test/backend.js";
import { LayeredPass } from "./layered-pass.js";

let backend: Backend;
beforeAll(async () => setDefaultBackend((backend = await testBackend())));

const model = new LlamaForCausalLM(
  parseLlamaConfig({
    vocab_size: 50,
    hidden_size: 32,
    intermediate_size: 48,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    max_position_embeddings: 256,
    initializer_range: 0.3,
    eos_token_id: 49,
  }),
  { key: key(3) },
);

interface Text {
  ids: number[];
  reason: string;
}

async function read(run: AsyncGenerator<number, string>): Promise<Text> {
  const ids: number[] = [];
  for (;;) {
    const next = await run.next();
    if (next.done) return { ids, reason: next.value };
    ids.push(next.value);
  }
}

const promptOf = (i: number): number[] =>
  Array.from({ length: 1 + ((i * 13) % 60) }, (_, t) => (i * 7 + t * 3) % 49);

/** Requests of every sort, greedy and drawn, of many lengths. */
const requestOf = (i: number): BatchRequest<never> => ({
  maxNewTokens: 3 + ((i * 5) % 20),
  seed: i,
  ...(i % 2 === 0 ? { greedy: true } : { temperature: 1.5, topK: 20, repetitionPenalty: i % 3 ? 1 : 1.2 }),
});

describe("BatchGenerator", () => {
  test("each of 30 texts over 4 slots is the same among others as alone, and as generate makes it", async () => {
    const batch = new BatchGenerator(model, { slots: 4, capacity: 128, chunk: 32 });
    const many = await Promise.all(
      Array.from({ length: 30 }, (_, i) => read(batch.generate(promptOf(i), requestOf(i)))),
    );
    for (const [i, text] of many.entries()) {
      expect(await read(batch.generate(promptOf(i), requestOf(i)))).toEqual(text);
      expect(await read(generate(model, promptOf(i), requestOf(i)))).toEqual(text);
    }
    expect(new Set(many.map(({ ids }) => ids.join())).size).toBeGreaterThan(25);
  });

  test("a step is as wide as it is busy, and a text is the same at every width", async () => {
    const make = async (batch: BatchGenerator, count: number): Promise<Text[]> =>
      Promise.all(
        Array.from({ length: count }, (_, i) =>
          read(batch.generate(promptOf(i), { ...requestOf(i), stopIds: [], maxNewTokens: 6 + (i % 7) })),
        ),
      );
    const widths: number[] = [];
    const batch = new BatchGenerator<never>(model, {
      slots: 14,
      capacity: 128,
      withRows: (rows, build) => {
        widths.push(rows.length);
        return build();
      },
    });
    const [many, six, one] = [await make(batch, 14), await make(batch, 6), await make(batch, 1)];
    expect(six).toEqual(many.slice(0, 6));
    expect(one).toEqual(many.slice(0, 1));
    expect([...new Set(widths)].sort((a, b) => a - b)).toEqual([1, 5, 8, 12, 14]); // 1: a prompt
    const steady = new BatchGenerator(model, { slots: 14, capacity: 128, rows: "all" });
    expect(await make(steady, 3)).toEqual(many.slice(0, 3));
    const fewest = new BatchGenerator(model, { slots: 14, capacity: 128, rows: "fewest" });
    expect(await make(fewest, 2)).toEqual(many.slice(0, 2)); // this model has no two tokens as near as that
  });

  test("rows see no further back than their model's window, each from its own place", async () => {
    const windowed = new LlamaForCausalLM({ ...model.config, windows: [5, null] }, { key: key(4) });
    const batch = new BatchGenerator(windowed, { slots: 3, capacity: 128, chunk: 32 });
    const many = await Promise.all(
      [1, 2, 3, 4, 5].map((i) => read(batch.generate(promptOf(i), requestOf(i)))),
    );
    for (const [i, text] of many.entries()) {
      expect(await read(generate(windowed, promptOf(i + 1), requestOf(i + 1)))).toEqual(text);
      expect(await read(generate(model, promptOf(i + 1), requestOf(i + 1)))).not.toEqual(text);
    }
  });

  test("texts join while others are under way, and the queue keeps its order", async () => {
    const batch = new BatchGenerator(model, { slots: 2, capacity: 128 });
    const ended: number[] = [];
    const start = (i: number, maxNewTokens: number): Promise<unknown> =>
      read(batch.generate([i], { greedy: true, stopIds: [], maxNewTokens })).then(() => ended.push(i));
    const long = start(1, 60);
    const short = start(2, 5);
    const late = [start(3, 5), start(4, 5)];
    expect(batch.waiting).toBe(4);
    await short;
    expect([batch.running, batch.waiting].reduce((a, b) => a + b)).toBe(3);
    await Promise.all([long, ...late]);
    expect(ended).toEqual([2, 3, 4, 1]);
    expect([batch.running, batch.waiting]).toEqual([0, 0]);
  });

  test("steps share one plan, whoever is in the slots", async () => {
    const batch = new BatchGenerator(model, { slots: 3, capacity: 100 });
    const run = (i: number, n: number): Promise<Text> =>
      read(batch.generate(promptOf(i).slice(0, 16), { greedy: true, stopIds: [], maxNewTokens: n }));
    await run(1, 3);
    const { misses } = planStats(backend);
    await Promise.all([run(2, 9), run(3, 4), run(4, 7), run(5, 30)]);
    expect(planStats(backend).misses).toBe(misses);
  });

  test("a slow reader holds nobody up, and finds all its tokens", async () => {
    const batch = new BatchGenerator(model, { slots: 1, capacity: 64 });
    const slow = batch.generate([5], { greedy: true, stopIds: [], maxNewTokens: 10 });
    const first = (await slow.next()).value;
    const other = await read(batch.generate([6], { greedy: true, stopIds: [], maxNewTokens: 4 }));
    expect(other.ids.length).toBe(4);
    expect([first, ...(await read(slow)).ids].length).toBe(10);
  });

  test("a reader that leaves, at any time, and an aborted signal free the slot at once", async () => {
    const batch = new BatchGenerator(model, { slots: 1, capacity: 200 });
    const endless = { greedy: true, stopIds: [], maxNewTokens: 190 };
    const leaves = batch.generate([1], endless);
    const unread = batch.generate([1], endless);
    const controller = new AbortController();
    const aborted = read(batch.generate([2], { ...endless, signal: controller.signal }));
    const waits = read(batch.generate([3], { greedy: true, maxNewTokens: 2, stopIds: [] }));
    await leaves.next();
    await unread.return("stop");
    await leaves.return("stop");
    expect(batch.running).toBe(0);
    controller.abort(new Error("enough"));
    await expect(aborted).rejects.toThrow("enough");
    expect((await waits).ids.length).toBe(2);
    const gone = new AbortController();
    gone.abort(new Error("before"));
    await expect(read(batch.generate([1], { signal: gone.signal }))).rejects.toThrow("before");
  });

  test("prompts are read in the order in which they came, whatever their slots", async () => {
    const batch = new BatchGenerator(model, { slots: 3, capacity: 128, chunk: 16 });
    const ended: number[] = [];
    const texts = Array.from({ length: 9 }, (_, i) =>
      read(batch.generate(promptOf(1).concat(i), { greedy: true, stopIds: [], maxNewTokens: 1 })).then(() =>
        ended.push(i),
      ),
    );
    await Promise.all(texts);
    expect(ended).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  });

  test("a text that is aborted during another's pass gets none itself, and its slot is the next one's", async () => {
    const controller = new AbortController();
    const passes: (string | null)[][] = [];
    const batch = new BatchGenerator<string>(model, {
      slots: 2,
      capacity: 64,
      chunk: 64,
      rows: "fewest",
      withRows: (rows, build) => {
        if (passes.push([...rows]) === 1) setImmediate(() => controller.abort(new Error("enough")));
        return build();
      },
    });
    const request = { greedy: true, stopIds: [], maxNewTokens: 2 };
    const [a, b, c] = ["a", "b", "c"].map((context) =>
      read(
        batch.generate([1, 2], {
          ...request,
          context,
          ...(context === "b" ? { signal: controller.signal } : {}),
        }),
      ),
    );
    await expect(b).rejects.toThrow("enough");
    await Promise.all([a, c]);
    expect(passes).toEqual([["a"], ["a"], ["c"], ["c"]]);
  });

  test("a pass over a prompt ends after a layer once its text is aborted, and the slot is as new", async () => {
    const evaluate = vi.spyOn(LayeredPass.prototype, "evaluate");
    const controller = new AbortController();
    const batch = new BatchGenerator<string>(model, {
      slots: 1,
      capacity: 64,
      withRows: (rows, build) => {
        if (rows[0] === "a") setImmediate(() => controller.abort(new Error("enough")));
        return build();
      },
    });
    const request = { greedy: true, stopIds: [], maxNewTokens: 5 };
    const aborted = read(
      batch.generate(promptOf(4), { ...request, context: "a", signal: controller.signal }),
    );
    const next = read(batch.generate(promptOf(1), request));
    await expect(aborted).rejects.toThrow("enough");
    const made = await next;
    const ends = await Promise.all(evaluate.mock.results.map(({ value }) => value as Promise<boolean>));
    expect(ends).toEqual([false, true]);
    evaluate.mockRestore();
    expect(made).toEqual(await read(generate(model, promptOf(1), request)));
  });

  test("between runs while no pass is under way, and texts go on after it", async () => {
    const batch = new BatchGenerator(model, { slots: 2, capacity: 128 });
    const alone = await read(batch.generate([7, 8], { greedy: true, stopIds: [], maxNewTokens: 20 }));
    const run = read(batch.generate([7, 8], { greedy: true, stopIds: [], maxNewTokens: 20 }));
    const order: string[] = [];
    const task = batch.between(async () => {
      order.push("begins");
      await new Promise((resolve) => setTimeout(resolve, 20));
      order.push("ends");
      return 5;
    });
    expect(await task).toBe(5);
    expect(order).toEqual(["begins", "ends"]);
    expect(await run).toEqual(alone);
    await expect(batch.between(() => Promise.reject(new Error("no")))).rejects.toThrow("no");
  });

  test("a pass that fails ends the texts in it with the error, and the next ones go on", async () => {
    let fail = false;
    const batch = new BatchGenerator<string>(model, {
      slots: 2,
      capacity: 64,
      withRows: (rows, build) => {
        if (fail && rows.length === 2) throw new Error(`no rows ${rows.join()}`);
        return build();
      },
    });
    const request = { greedy: true, stopIds: [], maxNewTokens: 5, context: "a" };
    const good = await read(batch.generate([1], request));
    fail = true;
    await expect(read(batch.generate([1], request))).rejects.toThrow("no rows a,");
    fail = false;
    expect(await read(batch.generate([1], request))).toEqual(good);
  });

  test("a text ends at the capacity", async () => {
    const batch = new BatchGenerator(model, { slots: 1, capacity: 20 });
    const { ids, reason } = await read(
      batch.generate(promptOf(1), { greedy: true, stopIds: [], maxNewTokens: 90 }),
    );
    expect([ids.length + promptOf(1).length, reason]).toEqual([20, "length"]);
  });

  test("500 texts in flat memory", async () => {
    const batch = new BatchGenerator(model, { slots: 4, capacity: 64 });
    const used: number[] = [];
    for (let round = 0; round < 10; round++) {
      await Promise.all(
        Array.from({ length: 50 }, (_, i) =>
          read(batch.generate([i % 49], { greedy: true, maxNewTokens: 2, stopIds: [] })),
        ),
      );
      used.push(memory().ownedBytes);
    }
    expect(Math.max(...used.slice(1))).toBeLessThanOrEqual(used[0]! + 4096);
  });

  test("settings and prompts that do not fit are refused at the call", () => {
    expect(() => new BatchGenerator(model, { slots: 0 })).toThrow(
      /slots to be an integer from 1 to 1024, got 0/,
    );
    expect(() => new BatchGenerator(model, { capacity: 999 })).toThrow(
      /capacity to be an integer from 1 to 256/,
    );
    const batch = new BatchGenerator(model, { slots: 1, capacity: 32 });
    expect(() => batch.generate([])).toThrow(/a prompt of 1 to 31 tokens, got 0/);
    expect(() => batch.generate(promptOf(1).concat(promptOf(4)))).toThrow(/cut the prompt/);
    expect(() => batch.generate([1], { topP: 2 })).toThrow(/topP/);
    expect(() => batch.generate([99])).toThrow(/token ids from 0 to 49/);
    expect(() => batch.generate([1], { maxNewTokens: 0 })).toThrow(/maxNewTokens/);
    expect(batch.waiting).toBe(0);
  });
});
