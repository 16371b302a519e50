import { loadavg } from "node:os";
import { activate, adapterPool, attachedTo, loadPeft, withRows } from "@lowrank/adapters";
import { wasm } from "@lowrank/backend-wasm";
import { BatchGenerator, generate, type LlamaForCausalLM } from "@lowrank/models";
import { evaluate, memory, planStats, setDefaultBackend, type Tensor } from "@lowrank/tensor";
import { machine } from "./result.js";
import { adapterFiles, ROWS, servingModel } from "./serving-model.js";
import { median, significant } from "./statistics.js";

interface Line {
  bench: "serving";
  threads: number;
}

/** One forward pass over rows of `tokens` each, in four ways that take turns. */
export interface MixCost extends Line {
  row: "mix";
  about: string;
  tokens: number;
  turns: number;
  /** Medians by the clock: no adapter; one attached to the model; 8 of a pool, one in each row; the same one of the pool in all rows. */
  bare_ms: number;
  one_ms: number;
  mixed_ms: number;
  pool_one_ms: number;
  /** Median over the turns of mixed over one in the same turn. */
  ratio: number;
  /** The same of what processors worked. */
  ratio_cpu: number;
  /** The largest difference between a row of the mixed batch and that adapter attached alone, and the largest logit. */
  difference: number;
  largest_logit: number;
  machine: string;
  /** Processes that wanted to run meanwhile, this one among them: the machine's load average of a minute. */
  load: number;
}

/** The first step after other adapters were chosen, beside one with those of before. */
export interface SwitchCost extends Line {
  row: "switch";
  turns: number;
  /** Median of the difference of whole steps. */
  switch_ms: number;
  /** Work of the host in a step with other adapters: the graph and its look-up; kernels are not in it. */
  host_ms: number;
  plans_made: number;
}

/** Memory of adapters, and of swapping them. */
export interface SwapCost extends Line {
  row: "swap";
  swaps: number;
  bytes_per_adapter: number;
  base_bytes: number;
  load_ms: number;
  unload_ms: number;
  /** Bytes owned after the first tenth of the swaps, and at the end. */
  owned_early_bytes: number;
  owned_late_bytes: number;
}

/** Texts made at once, in turns with one by `generate`: medians of milliseconds a token, by the clock and of what processors worked. */
export interface BatchRate extends Line {
  row: "batch";
  slots: number;
  turns: number;
  alone_ms: number;
  one_in_batch_ms: number;
  /** With `rows: "fewest"`. */
  one_fewest_ms: number;
  full_ms: number;
  alone_cpu_ms: number;
  one_in_batch_cpu_ms: number;
  one_fewest_cpu_ms: number;
  full_cpu_ms: number;
}

export type ServingLine = MixCost | SwitchCost | SwapCost | BatchRate;

export interface ServingOptions {
  threads: number;
  turns: number;
  quick: boolean;
  onLine: (line: ServingLine) => void;
}

interface Cost {
  ms: number;
  cpu: number;
}

async function timed(f: () => Promise<unknown>): Promise<Cost> {
  const cpu = process.cpuUsage();
  const began = performance.now();
  await f();
  const ms = performance.now() - began;
  const { user, system } = process.cpuUsage(cpu);
  return { ms, cpu: (user + system) / 1000 };
}

const tokensOf = (count: number): number[][] =>
  Array.from({ length: ROWS }, (_, r) => Array.from({ length: count }, (_, t) => (r * 37 + t * 11) % 4096));

const read = async (t: Tensor): Promise<ArrayLike<number>> => {
  const data = await t.data();
  t.dispose();
  return data;
};

/** Measures what adapters by row cost, how fast they change, and what memory they take. */
export async function measureServing({ threads, turns, quick, onLine }: ServingOptions): Promise<void> {
  const backend = await wasm({ threads });
  setDefaultBackend(backend);
  const line: Line = { bench: "serving", threads };
  const { model, about } = servingModel(quick);
  const names = Array.from({ length: ROWS }, (_, i) => `a${i}`);
  const files = [];
  for (const i of names.keys()) files.push(await adapterFiles(model, 10 + i));
  await read(model.forward(model.ids([[1]])));
  const baseBytes = memory().ownedBytes;

  for (const tokens of quick ? [1, 16] : [1, 16, 64])
    onLine({ ...line, ...(await mix(model, names, files, tokens, turns, about)) });
  const pool = adapterPool(model, { slots: ROWS, rank: 8 });
  for (const [i, name] of names.entries()) await pool.load(name, files[i]!);
  onLine({ ...line, ...(await switching(model, names, turns, () => planStats(backend).misses)) });
  pool.detach();
  onLine({ ...line, ...(await swapping(model, files, quick ? 50 : 1000, baseBytes)) });
  onLine({ ...line, ...(await batching(model, 32, quick ? 2 : 7)) });
  await backend.dispose();
}

type Files = Map<string, Uint8Array>;

async function mix(
  model: LlamaForCausalLM,
  names: readonly string[],
  files: readonly Files[],
  tokens: number,
  turns: number,
  about: string,
): Promise<Omit<MixCost, keyof Line>> {
  const ids = model.ids(tokensOf(tokens));
  const same = names.map(() => names[0]!);
  const pass = async (build: () => Tensor): Promise<Cost> => {
    const t = build();
    const cost = await timed(() => evaluate(t));
    t.dispose();
    return cost;
  };
  const forward = (): Tensor => model.forward(ids).sum();
  // The adapters alone, attached one after the other, for the comparison of numbers.
  const alone: ArrayLike<number>[] = [];
  for (const [i, one] of files.entries()) {
    const attached = await loadPeft(model, one, { name: names[i]! });
    alone.push(await read(model.forward(model.ids([tokensOf(tokens)[i]!]))));
    attached.detach();
  }
  const costs: Record<"bare" | "one" | "mixed" | "poolOne", Cost[]> = {
    bare: [],
    one: [],
    mixed: [],
    poolOne: [],
  };
  const pool = adapterPool(model, { slots: ROWS, rank: 8 });
  for (const [i, name] of names.entries()) await pool.load(name, files[i]!);
  const mixed = await read(withRows(model, names, () => model.forward(ids)));
  await loadPeft(model, files[0]!, { name: "attached" });
  const enabled = (active: readonly string[]): Tensor => {
    activate(model, active);
    return forward();
  };
  const run = {
    bare: () => pass(() => enabled([])),
    one: () => pass(() => enabled(["attached"])),
    mixed: () => pass(() => withRows(model, names, forward)),
    poolOne: () => pass(() => withRows(model, same, forward)),
  };
  const order = Object.keys(run) as (keyof typeof run)[];
  for (const name of order) for (let i = 0; i < 3; i++) await run[name]();
  for (let turn = 0; turn < turns; turn++) {
    for (const name of turn % 2 ? [...order].reverse() : order) costs[name].push(await run[name]());
  }
  for (const attached of attachedTo(model)) attached.detach();
  const size = mixed.length / ROWS;
  let [difference, largest] = [0, 0];
  for (const [r, row] of alone.entries()) {
    for (let i = 0; i < size; i++) {
      difference = Math.max(difference, Math.abs(row[i]! - mixed[r * size + i]!));
      largest = Math.max(largest, Math.abs(row[i]!));
    }
  }
  const ms = (name: keyof typeof costs): number => significant(median(costs[name].map((c) => c.ms)));
  const ratio = (of: keyof Cost): number =>
    significant(median(costs.mixed.map((c, i) => c[of] / costs.one[i]![of])), 3);
  return {
    row: "mix",
    about,
    tokens,
    turns,
    bare_ms: ms("bare"),
    one_ms: ms("one"),
    mixed_ms: ms("mixed"),
    pool_one_ms: ms("poolOne"),
    ratio: ratio("ms"),
    ratio_cpu: ratio("cpu"),
    difference: significant(difference, 2),
    largest_logit: significant(largest, 3),
    machine: machine(),
    load: significant(loadavg()[0]!, 2),
  };
}

async function switching(
  model: LlamaForCausalLM,
  names: readonly string[],
  turns: number,
  misses: () => number,
): Promise<Omit<SwitchCost, keyof Line>> {
  const ids = model.ids(tokensOf(1));
  const step = async (rows: readonly string[]): Promise<{ ms: number; host: number }> => {
    const began = performance.now();
    const logits = withRows(model, rows, () => model.forward(ids));
    const built = performance.now() - began;
    await evaluate(logits);
    const ms = performance.now() - began;
    logits.dispose();
    return { ms, host: built };
  };
  for (let i = 0; i < 5; i++) await step(names);
  const before = misses();
  const [switched, kept, host]: number[][] = [[], [], []];
  for (let turn = 0; turn < 4 * turns; turn++) {
    const rows = names.map((_, r) => names[(r + turn + 1) % names.length]!);
    const other = await step(rows);
    switched!.push(other.ms);
    host!.push(other.host);
    kept!.push((await step(rows)).ms);
  }
  return {
    row: "switch",
    turns: 4 * turns,
    switch_ms: significant(median(switched!.map((ms, i) => ms - kept![i]!)), 3),
    host_ms: significant(median(host!), 3),
    plans_made: misses() - before,
  };
}

async function swapping(
  model: LlamaForCausalLM,
  files: readonly Files[],
  swaps: number,
  baseBytes: number,
): Promise<Omit<SwapCost, keyof Line>> {
  const pool = adapterPool(model, { slots: 2, rank: 8 });
  await pool.load("kept", files[0]!);
  const ids = model.ids(tokensOf(1).slice(0, 2));
  const [loads, unloads]: number[][] = [[], []];
  let early = 0;
  for (let i = 0; i < swaps; i++) {
    loads!.push((await timed(() => pool.load("swapped", files[1 + (i % 7)]!))).ms);
    if (i % 10 === 0) await read(withRows(model, ["kept", "swapped"], () => model.forward(ids)));
    unloads!.push((await timed(async () => pool.unload("swapped"))).ms);
    if (i === Math.floor(swaps / 10)) early = memory().ownedBytes;
  }
  const late = memory().ownedBytes;
  const bytes = pool.bytesPerSlot;
  pool.detach();
  return {
    row: "swap",
    swaps,
    bytes_per_adapter: bytes,
    base_bytes: baseBytes,
    load_ms: significant(median(loads!), 3),
    unload_ms: significant(median(unloads!), 3),
    owned_early_bytes: early,
    owned_late_bytes: late,
  };
}

async function batching(
  model: LlamaForCausalLM,
  tokens: number,
  turns: number,
): Promise<Omit<BatchRate, keyof Line>> {
  const request = { greedy: true, stopIds: [], maxNewTokens: tokens };
  const count = async (run: AsyncGenerator<number>): Promise<number> => {
    let made = 0;
    for await (const _ of run) made++;
    return made;
  };
  const batch = new BatchGenerator(model, { slots: ROWS, capacity: 256 });
  const narrow = new BatchGenerator(model, { slots: ROWS, capacity: 256, rows: "fewest" });
  const prompts = tokensOf(16);
  const ways = {
    alone: () => count(generate(model, prompts[0]!, request)),
    one: () => count(batch.generate(prompts[0]!, request)),
    fewest: () => count(narrow.generate(prompts[0]!, request)),
    full: async () => {
      const counts = await Promise.all(prompts.map((prompt) => count(batch.generate(prompt, request))));
      return counts.reduce((a, b) => a + b, 0);
    },
  };
  const costs: Record<keyof typeof ways, Cost[]> = { alone: [], one: [], fewest: [], full: [] };
  const order = Object.keys(ways) as (keyof typeof ways)[];
  for (let turn = -1; turn < turns; turn++) {
    for (const way of order) {
      let made = 0;
      const { ms, cpu } = await timed(async () => {
        made = await ways[way]();
      });
      if (turn >= 0) costs[way].push({ ms: ms / made, cpu: cpu / made });
    }
  }
  const middle = (way: keyof typeof ways, of: keyof Cost): number =>
    significant(median(costs[way].map((c) => c[of])), 3);
  return {
    row: "batch",
    slots: ROWS,
    turns,
    alone_ms: middle("alone", "ms"),
    one_in_batch_ms: middle("one", "ms"),
    one_fewest_ms: middle("fewest", "ms"),
    full_ms: middle("full", "ms"),
    alone_cpu_ms: middle("alone", "cpu"),
    one_in_batch_cpu_ms: middle("one", "cpu"),
    one_fewest_cpu_ms: middle("fewest", "cpu"),
    full_cpu_ms: middle("full", "cpu"),
  };
}
