import * as exported from "@lowrank/adapters";
import { type Adapter, kindsOf, type Target } from "@lowrank/adapters";
import type { LayerKind } from "@lowrank/nn";
import { ConfigError } from "@lowrank/tensor";
import { convTarget, targetOf } from "./layers.js";
import { methods } from "./methods.js";

/** An adapter with a configuration for the contract. */
export interface Case {
  readonly name: string;
  readonly adapter: Adapter;
  readonly config: object;
}

/** Shape of the layers in the contract: small, so that backends which are slow take part. */
export const SIZE = { inFeatures: 12, outFeatures: 8 };

/** Kinds of layers that a configuration fits: some of a method's settings are for some kinds only. */
export function kindsFor({ adapter, config }: Case): LayerKind[] {
  const { inFeatures, outFeatures } = SIZE;
  const targets: Record<LayerKind, Target> = {
    linear: targetOf("linear", inFeatures, outFeatures),
    embedding: targetOf("embedding", inFeatures, outFeatures),
    conv1d: convTarget(inFeatures / 3, outFeatures, [3]),
    conv2d: convTarget(inFeatures / 6, outFeatures, [3, 2]),
  };
  return kindsOf(adapter).filter((kind) => {
    try {
      adapter.check?.(config, targets[kind]);
      return true;
    } catch (error) {
      if (error instanceof ConfigError) return false;
      throw error;
    }
  });
}

const { capaBoost, fedPara, flix, loha, lora, soda } = exported;

const of = <C extends object, P extends object>(name: string, adapter: Adapter<C, P>, config: C): Case => ({
  name,
  adapter: adapter as unknown as Adapter,
  config,
});

/** Forms that the lists of PEFT's methods do not have. */
const more: readonly Case[] = [
  of("lora, rsLoRA", lora, { rank: 3, alpha: 6, useRslora: true }),
  of("fedPara, personal", fedPara, { rank: 2, personal: true }),
  of("fedPara, tanh", fedPara, { rank: 2, tanh: true }),
  of("soda, LQ", soda, { form: "lq" }),
  of("flix", flix, { features: ["sw", "bn"], rank: 2, active: ["bn", "sw"] }),
  of("capaBoost of lora", capaBoost(lora, ["A", "B"]), { rank: 2, copies: 2 }),
  of("capaBoost of loha", capaBoost(loha, ["w1A", "w1B"]), { rank: 2, copies: 2 }),
];

const isAdapter = (value: unknown): value is Adapter =>
  typeof value === "object" && value !== null && "init" in value && "merge" in value && "name" in value;

/** What needs more than a rank, or has none. */
const CONFIGS: Readonly<Record<string, object>> = {
  soda: {},
  ia3: {},
  oft: { blockSize: 4 },
  boft: { blockSize: 4 },
  adaLora: { rank: 2, steps: 9 },
  sira: { experts: 3, topK: 2, rank: 2 },
};

/** Methods whose gradient passes a norm by unless they are told otherwise, so that it is none of the differences. */
const DETACHED = ["dora", "edora"];

const listed: readonly Case[] = [
  ...Object.entries(methods).map(([name, { adapter, config }]) => of(name, adapter, config)),
  ...more,
];

/** Every adapter of the package: forms from the lists, and whatever else it exports, with a rank of 2 unless told otherwise. */
export const allAdapters: readonly Case[] = [
  ...listed,
  ...Object.values(exported)
    .filter(isAdapter)
    .filter((adapter) => !listed.some((c) => c.adapter === adapter))
    .map((adapter) => of(adapter.name, adapter, CONFIGS[adapter.name] ?? { rank: 2 })),
].map((c) =>
  DETACHED.includes(c.adapter.name) ? { ...c, config: { ...c.config, normGradient: "exact" } } : c,
);
