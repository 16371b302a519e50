import { type Adaptable, Conv1d, Conv2d, Embedding, type LayerKind, Linear, Module } from "@lowrank/nn";
import {
  type DType,
  evaluate,
  gradients,
  type Key,
  key as makeKey,
  type Tensor,
  tensor,
} from "@lowrank/tensor";
import { type Adapter, kindsOf, type Target } from "./adapter.js";
import { attach, type Attached, withRows } from "./attach.js";
import { loadPeft, peftFiles } from "./peft.js";
import type { RowAdapters } from "./rows.js";

/** One property that every adapter has to have. Give `run` to a test runner; it throws if the property does not hold. */
export interface ContractCheck {
  /** A sentence that is true if `run` does not throw. */
  readonly name: string;
  run(): Promise<void>;
}

export interface ContractOptions<C> {
  /** Kinds of layers to test on. Default: all that the adapter can sit on. */
  kinds?: readonly LayerKind[];
  /** Numbers that are trained on a layer, by the method's formula. */
  count?: (target: Target, config: C) => number;
  /** Shape of the test layers. Default 24 in, 16 out; a filter of a convolution is one of 3, or of 3 by 2, with 24 weights. */
  inFeatures?: number;
  outFeatures?: number;
  /** Largest relative error between forward and merged. Default 1e-5. */
  tolerance?: number;
  /** For the start of the adapter. Default `key(7)`. */
  key?: Key;
  /** Precision of the gradient check, which compares with central differences. Default f64. */
  gradientDtype?: DType;
}

class OneLayer extends Module {
  constructor(readonly layer: Module & Adaptable & { forward(x: Tensor): Tensor }) {
    super();
  }
  forward(x: Tensor): Tensor {
    return this.layer.forward(x);
  }
}

interface Bench {
  readonly model: OneLayer;
  readonly attached: Attached<OneLayer>;
  readonly input: Tensor;
}

const ROWS = 5;

/**
 * Numbers from N(0, std²), the same for the same name. They are made here and not by the backend, where each shape would be a program
 * of its own: compiling those for a GPU took most of the time of a check.
 */
function drawn(dims: readonly number[], name: string, dtype: DType, std = 1): Tensor {
  let state = 2166136261;
  for (let i = 0; i < name.length; i++) state = Math.imul(state ^ name.charCodeAt(i), 16777619);
  // mulberry32, in (0, 1)
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 2 ** 32;
  };
  const size = dims.reduce((n, d) => n * d, 1);
  // Box and Muller 1958
  const values = Float64Array.from(
    { length: size },
    () => std * Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next()),
  );
  return tensor(values, { dtype, shape: [...dims] });
}

/** A layer of a kind and something to put into it. Weights of convolutions have as many columns as that of the linear layer. */
function layerOf(kind: LayerKind, inFeatures: number, out: number, dtype: DType) {
  const numbers = (...dims: number[]): Tensor => drawn([ROWS, ...dims], `input/${kind}`, dtype);
  switch (kind) {
    case "linear":
      return { layer: new Linear(inFeatures, out, { dtype }), input: numbers(inFeatures) };
    case "embedding": {
      const ids = Int32Array.from({ length: ROWS }, (_, i) => (7 * i + 3) % inFeatures);
      return {
        layer: new Embedding(inFeatures, out, { dtype, outputDtype: dtype }),
        input: tensor(ids, { dtype: "i32" }),
      };
    }
    case "conv1d": {
      const steps = { stride: 2, padding: 1, dilation: 2 };
      return {
        layer: new Conv1d(inFeatures / 3, out, 3, { dtype, ...steps }),
        input: numbers(inFeatures / 3, 9),
      };
    }
    case "conv2d": {
      const steps = { stride: [2, 1], padding: [1, 0], dilation: [1, 2] } as const;
      return {
        layer: new Conv2d(inFeatures / 6, out, [3, 2], { dtype, ...steps }),
        input: numbers(inFeatures / 6, 5, 4),
      };
    }
  }
}

/**
 * The contract test: what holds for every adapter, for each kind of layer that it can sit on.
 *
 * @example
 * ```ts
 * for (const check of contractChecks(lora, { rank: 4 })) test(check.name, check.run);
 * ```
 * @category Contract
 */
export function contractChecks<C extends object, P extends object>(
  adapter: Adapter<C, P>,
  config: C,
  options: ContractOptions<C> = {},
): ContractCheck[] {
  const {
    inFeatures = 24,
    outFeatures = 16,
    tolerance = 1e-5,
    key = makeKey(7),
    gradientDtype = "f64",
  } = options;
  const erased = adapter as unknown as Adapter;
  const checks: ContractCheck[] = [];

  async function bench(kind: LayerKind, dtype: DType = "f32"): Promise<Bench> {
    const { layer, input } = layerOf(kind, inFeatures, outFeatures, dtype);
    for (const [path, p] of layer.parameters()) p.replace(drawn(p.shape, path, dtype, inFeatures ** -0.5));
    const model = new OneLayer(layer).eval() as OneLayer;
    const attached = attach(model, adapter, config, { targets: ["layer"], key, dtype });
    await evaluate(...[...attached.parameters()].map(([, p]) => p));
    return { model, input, attached };
  }

  /** Moves every trained parameter away from its start. */
  async function disturb({ attached }: Bench): Promise<void> {
    const assignments = [...attached.parameters()]
      .filter(([, p]) => p.trainable)
      .map(([path, p]) => p.assign(p.add(drawn(p.shape, path, p.dtype, 0.3))));
    await evaluate(...assignments);
    await rounded(attached);
  }

  const check = (kind: LayerKind, sentence: string, run: () => Promise<void>): void => {
    checks.push({ name: `${adapter.name} on ${kind}: ${sentence}`, run });
  };

  for (const kind of options.kinds ?? kindsOf(erased)) {
    if (adapter.startsElsewhere?.(config) === undefined) {
      const startsWithin = adapter.startsWithin?.(config) ?? 0;
      const how = startsWithin === 0 ? "bit for bit" : "up to rounding";
      check(kind, `a fresh adapter leaves the layer as it is, ${how}`, async () => {
        const { model, attached, input } = await bench(kind);
        const fresh = await model.forward(input).data();
        const bare = await attached.disable().model.forward(input).data();
        if (startsWithin === 0) expectSame("fresh adapter", fresh, bare);
        else expectClose("fresh adapter", Float64Array.from(fresh), Float64Array.from(bare), startsWithin);
      });
    }
    const staysApart = adapter.staysApart?.(config) !== undefined;
    if (staysApart) {
      check(kind, "merging is refused and changes nothing", async () => {
        const b = await bench(kind);
        await disturb(b);
        const before = await b.model.forward(b.input).data();
        const merged = await b.attached.merge().then(
          () => true,
          () => false,
        );
        if (merged || b.attached.merged) throw new Error("expected merge() to be refused, got merged layers");
        expectSame("result", before, await b.model.forward(b.input).data());
      });
    }
    const checkMerged = staysApart ? () => undefined : check;
    checkMerged(kind, "forward agrees with the merged weight", async () => {
      const b = await bench(kind);
      await disturb(b);
      const base = await read(b.attached.disable().model.forward(b.input));
      const forward = await read(b.attached.enable().model.forward(b.input));
      await b.attached.merge();
      const merged = await read(b.model.forward(b.input));
      expectClose("forward and merged", forward, merged, tolerance);
      if (distance(base, forward) === 0)
        throw new Error(`${adapter.name}: a disturbed adapter does not change the layer`);
    });
    check(kind, "rows of a batch may have it, not have it, or have half of it", async () => {
      const b = await bench(kind);
      await disturb(b);
      const base = await read(b.attached.disable().model.forward(b.input));
      const whole = await read(b.attached.enable().model.forward(b.input));
      const { name } = b.attached;
      for (const share of [1, 0.5]) {
        const row: RowAdapters = share === 1 ? name : { [name]: share };
        const rows = Array.from({ length: ROWS }, (_, r) => (r % 2 === 0 ? row : null));
        const mixed = await read(withRows(b.model, rows, () => b.model.forward(b.input)));
        const width = base.length / ROWS;
        const wanted = base.map(
          (y, i) => y + (Math.floor(i / width) % 2 === 0 ? share * (whole[i]! - y) : 0),
        );
        expectClose(`rows with ${share} of it`, mixed, wanted, tolerance);
      }
    });
    checkMerged(kind, "unmerge gives the layer back bit for bit", async () => {
      const b = await bench(kind);
      await disturb(b);
      const weight = await b.model.layer.weight.data();
      const before = await b.model.forward(b.input).data();
      await b.attached.merge();
      b.attached.unmerge();
      expectSame("weight", weight, await b.model.layer.weight.data());
      expectSame("result", before, await b.model.forward(b.input).data());
    });
    checkMerged(kind, "merging for good gives an ordinary layer with the same result", async () => {
      const b = await bench(kind);
      await disturb(b);
      const before = await read(b.model.forward(b.input));
      const paths = [...(await b.attached.mergeAndUnload()).parameters()].map(([path]) => path);
      expectClose("merged for good", await read(b.model.forward(b.input)), before, tolerance);
      if (paths.some((path) => path.includes(adapter.name)))
        throw new Error(`left behind: ${paths.join(", ")}`);
    });
    check(kind, "only the adapter is trained, and its gradients agree with central differences", async () => {
      const b = await bench(kind, gradientDtype);
      await disturb(b);
      const trainable = [...b.model.trainableParameters()];
      const own = new Set([...b.attached.parameters()].map(([, p]) => p));
      const others = trainable.filter(([, p]) => !own.has(p));
      if (others.length > 0)
        throw new Error(`trainable beside the adapter: ${others.map(([path]) => path).join(", ")}`);
      const loss = (): Tensor => b.model.forward(b.input).square().sum();
      const grads = gradients(
        loss(),
        trainable.map(([, p]) => p),
      );
      await evaluate(...grads);
      for (const [i, [path, p]] of trainable.entries()) {
        // Along one random direction d: Σ g·d = (f(p + εd) − f(p − εd)) / 2ε + O(ε²)
        const start = await p.data();
        const direction = drawn(p.shape, `direction/${path}`, p.dtype);
        const slope = await grads[i]!.mul(direction).sum().item();
        const at = async (step: number): Promise<number> => {
          await evaluate(p.assign(p.add(direction.mul(step))));
          const value = await loss().item();
          await evaluate(p.assign(p.sub(direction.mul(step))));
          return value;
        };
        const epsilon = gradientDtype === "f64" ? 1e-5 : 1e-2;
        const difference = ((await at(epsilon)) - (await at(-epsilon))) / (2 * epsilon);
        const bound = gradientDtype === "f64" ? 1e-6 : 2e-2;
        if (!(Math.abs(slope - difference) <= bound * Math.max(1, Math.abs(difference)))) {
          throw new Error(
            `${path}: expected slope ${difference} by differences, got ${slope}; start ${start[0]}`,
          );
        }
      }
    });
    check(kind, "saved and loaded, it is the same bit for bit", async () => {
      const b = await bench(kind);
      await disturb(b);
      const before = await b.model.forward(b.input).data();
      const files = await peftFiles(b.attached);
      b.attached.detach();
      const loaded = await loadPeft(b.model, files, { adapters: [erased] });
      await rounded(loaded);
      expectSame("result", before, await b.model.forward(b.input).data());
      const again = await peftFiles(loaded);
      for (const [name, bytes] of files) expectSame(name, bytes, again.get(name)!);
    });
    const { count } = options;
    if (count !== undefined) {
      check(kind, "it trains as many numbers as its formula says", async () => {
        const { attached } = await bench(kind);
        const expected = count(attached.places[0]!.entry.target, config);
        const { trainable } = attached.report();
        if (trainable !== expected) throw new Error(`expected ${expected} trained numbers, got ${trainable}`);
      });
    }
  }
  return checks;
}

/** Parameters as a file stores them: a backend that computes with more digits than the dtype has keeps no more of them. */
async function rounded(attached: Attached): Promise<void> {
  for (const [, p] of attached.parameters())
    p.replace(tensor(await p.rawData(), { dtype: p.dtype, shape: p.shape }));
}

const read = async (t: Tensor): Promise<Float64Array> => Float64Array.from(await t.data());

function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let worst = 0;
  for (let i = 0; i < a.length; i++) worst = Math.max(worst, Math.abs(a[i]! - b[i]!));
  return worst;
}

function expectSame(what: string, a: ArrayLike<number>, b: ArrayLike<number>): void {
  if (a.length !== b.length) throw new Error(`${what}: expected ${b.length} numbers, got ${a.length}`);
  for (let i = 0; i < a.length; i++) {
    if (!Object.is(a[i], b[i])) throw new Error(`${what}: expected ${b[i]} at place ${i}, got ${a[i]}`);
  }
}

/** Largest difference, relative to the largest number. */
function expectClose(what: string, a: Float64Array, b: Float64Array, tolerance: number): void {
  const size = b.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
  const error = distance(a, b) / Math.max(size, 1e-30);
  if (!(error <= tolerance))
    throw new Error(`${what}: expected a relative error of at most ${tolerance}, got ${error}`);
}
