import { LlamaForCausalLM, parseLlamaConfig } from "@lowrank/models";
import { Linear, QuantizedWeight } from "@lowrank/nn";
import {
  type Backend,
  evaluate,
  full,
  key,
  memory,
  normal,
  planStats,
  randint,
  setDefaultBackend,
  type Tensor,
} from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { activate, attach, attachedTo, withRows } from "./attach.js";
import { lora, type LoraConfig } from "./lora.js";
import { loadPeft, peftFiles } from "./peft.js";
import { type AdapterPool, adapterPool } from "./pool.js";
import type { RowAdapters } from "./rows.js";

let backend: Backend;
beforeAll(async () => setDefaultBackend((backend = await testBackend())));

const newModel = (): LlamaForCausalLM =>
  new LlamaForCausalLM(
    parseLlamaConfig({
      vocab_size: 40,
      hidden_size: 16,
      intermediate_size: 24,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      num_key_value_heads: 1,
      max_position_embeddings: 64,
      initializer_range: 0.3,
    }),
    { key: key(1) },
  ).eval() as LlamaForCausalLM;

type Files = Map<string, Uint8Array>;

/** The files of an adapter that does something. */
async function adapterFiles(seed: number, config: LoraConfig, targets: string[] | string): Promise<Files> {
  const one = attach(newModel(), lora, config, { targets });
  await evaluate(
    ...[...one.parameters()].map(([path, p]) =>
      p.assign(normal(p.shape, { key: key(seed).foldName(path), std: 0.2 })),
    ),
  );
  return peftFiles(one);
}

const ALL = "all-linear";
const eight = (): Promise<[string, Files][]> =>
  Promise.all(
    Array.from({ length: 8 }, async (_, i): Promise<[string, Files]> => {
      const config = { rank: 1 + (i % 4), alpha: 2 + i, useRslora: i === 3 };
      return [`a${i}`, await adapterFiles(10 + i, config, i === 5 ? ["q_proj", "down_proj"] : ALL)];
    }),
  );

const TOKENS = Array.from({ length: 9 }, (_, r) => Array.from({ length: 5 }, (_, t) => (7 * r + 3 * t) % 40));

async function rowsOf(logits: Tensor): Promise<number[][]> {
  const flat = Array.from(await logits.data());
  const size = flat.length / logits.shape[0]!;
  return Array.from({ length: logits.shape[0]! }, (_, r) => flat.slice(r * size, (r + 1) * size));
}

const largest = (a: readonly number[], b: readonly number[]): number =>
  Math.max(...a.map((x, i) => Math.abs(x - b[i]!)));

async function filled(model: LlamaForCausalLM, adapters: readonly [string, Files][]): Promise<AdapterPool> {
  const pool = adapterPool(model, { slots: 8, rank: 4 });
  for (const [name, files] of adapters) await pool.load(name, files);
  return pool;
}

describe("adapterPool", () => {
  test("8 adapters on one base in one mixed batch: each row equals its run with that adapter alone", async () => {
    const adapters = await eight();
    const model = newModel();
    await filled(model, adapters);
    const names = [...adapters.map(([name]) => name), null];
    const mixed = await rowsOf(withRows(model, names, () => model.forward(model.ids(TOKENS))));
    const bare = newModel();
    for (const [name, files] of adapters) await loadPeft(bare, files, { name });
    for (const [r, name] of names.entries()) {
      activate(bare, name === null ? [] : [name]);
      const alone = (await rowsOf(bare.forward(bare.ids([TOKENS[r]!]))))[0]!;
      expect(largest(mixed[r]!, alone)).toBeLessThan(1e-5);
      if (name !== null) {
        activate(bare, []);
        const without = (await rowsOf(bare.forward(bare.ids([TOKENS[r]!]))))[0]!;
        expect(largest(mixed[r]!, without)).toBeGreaterThan(1e-2);
      }
    }
  });

  test("over a base in codes each row equals its run with that adapter alone too", async () => {
    const coded = (): LlamaForCausalLM => {
      const model = newModel();
      for (const [path, module] of model.namedModules()) {
        if (!(module instanceof Linear) || path === "lm_head") continue;
        const [out, width] = module.weight.shape as [number, number];
        const codes = randint([out, width], { key: key(2).foldName(path), min: -127, max: 128 }).astype("i8");
        const scales = full([out, width / 8], 0.002);
        module.weight = new QuantizedWeight({ codes, scales, bits: 8, groupSize: 8 });
      }
      return model;
    };
    const adapters = (await eight()).slice(0, 3);
    const [model, bare] = [coded(), coded()];
    await filled(model, adapters);
    for (const [name, files] of adapters) await loadPeft(bare, files, { name });
    const names = ["a0", null, "a1", "a2"];
    const mixed = await rowsOf(withRows(model, names, () => model.forward(model.ids(TOKENS.slice(0, 4)))));
    for (const [r, name] of names.entries()) {
      activate(bare, name === null ? [] : [name]);
      const alone = (await rowsOf(bare.forward(bare.ids([TOKENS[r]!]))))[0]!;
      expect(largest(mixed[r]!, alone)).toBeLessThan(1e-5);
    }
  });

  test("one plan serves every choice of adapters, and loading another needs none either", async () => {
    const adapters = await eight();
    const model = newModel();
    const pool = await filled(model, adapters.slice(0, 7));
    const run = (names: (string | null)[]): Promise<number[][]> =>
      rowsOf(withRows(model, names, () => model.forward(model.ids(TOKENS.slice(0, 3)))));
    const first = await run(["a0", "a1", null]);
    const { misses } = planStats(backend);
    expect(await run(["a2", "a1", "a1"])).not.toEqual(first);
    pool.unload("a2");
    await pool.load("again", adapters[7]![1]);
    await run([null, "again", "a6"]);
    expect(planStats(backend).misses).toBe(misses);
    expect(await run(["a0", "a1", null])).toEqual(first);
  });

  test("a row may have several with weights: half of one and half of another", async () => {
    const adapters = await eight();
    const model = newModel();
    const bare = newModel();
    await filled(model, adapters);
    for (const [name, files] of adapters) await loadPeft(bare, files, { name });
    const rows: RowAdapters[] = [{ a0: 0.5, a3: 0.5 }, null, { a5: -1 }];
    const ids = model.ids(TOKENS.slice(0, 3));
    const pooled = await rowsOf(withRows(model, rows, () => model.forward(ids)));
    const apart = await rowsOf(withRows(bare, rows, () => bare.forward(ids)));
    for (const [r, row] of pooled.entries()) expect(largest(row, apart[r]!)).toBeLessThan(1e-5);
  });

  test("a slot holds nothing of the adapter before: one of fewer layers and lower rank comes after", async () => {
    const [[, whole], [, few]] = [
      ["", await adapterFiles(3, { rank: 4 }, ALL)],
      ["", await adapterFiles(4, { rank: 1 }, ["v_proj"])],
    ] as const;
    const run = async (files: Files[]): Promise<number[][]> => {
      const model = newModel();
      const pool = adapterPool(model, { slots: 1, rank: 4 });
      for (const one of files) {
        if (pool.names.length > 0) pool.unload("x");
        await pool.load("x", one);
      }
      return rowsOf(withRows(model, ["x"], () => model.forward(model.ids([TOKENS[1]!]))));
    };
    expect(await run([whole, few])).toEqual(await run([few]));
  });

  test("without withRows, and after detach, the model is the bare one bit for bit", async () => {
    const model = newModel();
    const ids = model.ids(TOKENS);
    const before = await rowsOf(model.forward(ids));
    const pool = await filled(model, (await eight()).slice(0, 2));
    expect(await rowsOf(model.forward(ids))).toEqual(before);
    expect(
      await rowsOf(
        withRows(
          model,
          TOKENS.map(() => null),
          () => model.forward(ids),
        ),
      ),
    ).toEqual(before);
    expect([...model.trainableParameters()].length).toBe(0);
    pool.detach();
    expect(await rowsOf(model.forward(ids))).toEqual(before);
    expect(attachedTo(model)).toEqual([]);
    expect(() => withRows(model, ["a0"], () => 0)).toThrow(/expected one of no adapters, got "a0"/);
  });

  test("1,000 swaps in flat memory", async () => {
    const model = newModel();
    const pool = adapterPool(model, { slots: 2, rank: 2 });
    const files = [await adapterFiles(1, { rank: 2 }, ALL), await adapterFiles(2, { rank: 1 }, ["q_proj"])];
    const ids = model.ids([TOKENS[0]!, TOKENS[1]!]);
    await pool.load("kept", files[0]!);
    const used: number[] = [];
    for (let i = 0; i < 1000; i++) {
      await pool.load("swapped", files[i % 2]!);
      if (i % 10 === 0) {
        const logits = withRows(model, ["kept", "swapped"], () => model.forward(ids));
        await evaluate(logits);
        logits.dispose();
      }
      pool.unload("swapped");
      if (i % 100 === 99) used.push((await memory()).ownedBytes);
    }
    expect(Math.max(...used.slice(1))).toBeLessThanOrEqual(used[0]! + 4096);
  });

  test("what does not fit is refused, and the pool stays as it was", async () => {
    const model = newModel();
    const pool = adapterPool(model, { slots: 1, rank: 2, targets: ["q_proj", "v_proj"] });
    const low = await adapterFiles(1, { rank: 2 }, ["q_proj"]);
    await expect(pool.load("x", await adapterFiles(1, { rank: 3 }, ["q_proj"]))).rejects.toThrow(
      /a rank of at most 2, that of the pool, got 3 for model.layers.0.self_attn.q_proj/,
    );
    await expect(pool.load("x", await adapterFiles(1, { rank: 2 }, ALL))).rejects.toThrow(
      /layers that the pool sits on, got model.layers.0.self_attn.k_proj/,
    );
    await expect(pool.load("no name", low)).rejects.toThrow(/a name of letters/);
    expect(pool.names).toEqual([]);
    await pool.load("x", low);
    await expect(pool.load("x", low)).rejects.toThrow(/a name that no adapter on the model has, got "x"/);
    await expect(pool.load("y", low)).rejects.toThrow(/one of the 1 slots to be free, got x in them/);
    expect(() => pool.unload("y")).toThrow(/unload: expected one of "x", got "y"/);
    expect(() => adapterPool(newModel(), { slots: 0, rank: 2 })).toThrow(/slots to be an integer/);
    await expect(attachedTo(model)[0]!.merge()).rejects.toThrow(/got a pool/);
    const config = { peft_type: "LOHA", target_modules: ["q_proj"] };
    const other = new Map(low).set("adapter_config.json", new TextEncoder().encode(JSON.stringify(config)));
    pool.unload("x");
    await expect(pool.load("z", other)).rejects.toThrow(/peft_type to be one of LORA, got "LOHA"/);
  });

  test("loads at once take turns; of two under one name the second is refused, and none is seen before it is whole", async () => {
    const model = newModel();
    const pool = adapterPool(model, { slots: 3, rank: 2 });
    const files = await adapterFiles(1, { rank: 2 }, ALL);
    const first = pool.load("x", files);
    expect(pool.names).toEqual([]);
    expect(() => withRows(model, ["x"], () => 0)).toThrow(/expected one of no adapters/);
    const second = pool.load("y", files);
    await expect(pool.load("x", files)).rejects.toThrow(/got "x"/);
    await Promise.all([first, second]);
    expect(pool.names).toEqual(["x", "y"]);
  });

  test("half floats take half the memory, and are within their precision", async () => {
    const model = newModel();
    const pool = adapterPool(model, { slots: 1, rank: 2, dtype: "f16" });
    const files = await adapterFiles(1, { rank: 2 }, ALL);
    await pool.load("x", files);
    const other = newModel();
    const wide = adapterPool(other, { slots: 1, rank: 2 });
    await wide.load("x", files);
    expect(pool.bytesPerSlot * 2).toBe(wide.bytesPerSlot);
    // rank · (in + out) numbers a layer
    const layers = 2 * (32 + 24 + 24 + 32 + 40 * 3);
    expect(wide.bytesPerSlot).toBe(4 * 2 * layers);
    const [a, b] = [model, other].map((m) => withRows(m, ["x"], () => m.forward(m.ids([TOKENS[0]!]))));
    expect(largest((await rowsOf(a!))[0]!, (await rowsOf(b!))[0]!)).toBeLessThan(2e-2);
  });
});
