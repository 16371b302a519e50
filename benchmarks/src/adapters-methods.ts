import {
  type Adapter,
  adaLora,
  adaLoraBudget,
  attachCorda,
  attachEva,
  attachLoftq,
  type Attached,
  autoLora,
  boft,
  capaBoost,
  corda,
  dora,
  dyLora,
  edora,
  fedPara,
  flix,
  hra,
  ia3,
  loha,
  lokr,
  lora,
  loraFa,
  loraPlusGroups,
  oft,
  olora,
  pissa,
  secondMoments,
  sira,
  soda,
  vera,
} from "@lowrank/adapters";
import type { CausalLM } from "@lowrank/models";
import type { Tensor } from "@lowrank/tensor";
import type { batchTensors } from "@lowrank/train";
import { AdamW, type Schedule, StiefelAdam } from "@lowrank/optim";

/** What takes gradients and makes a step of them; several share the parameters by their paths. */
export interface Trainer {
  step(grads: ReadonlyMap<string, Tensor>, options?: { also?: readonly Tensor[] }): Promise<void>;
  paths?(): string[];
}

/** Batches of the texts that will be trained on, for a start from data. */
export interface Calibration {
  readonly batches: readonly ReturnType<typeof batchTensors>[];
  readonly forward: (batch: ReturnType<typeof batchTensors>) => unknown;
}

/** A method as the comparison runs it. */
export interface AdapterMethod {
  /** Null: the base itself, frozen or trained in full. */
  readonly adapter: Adapter | null;
  /** Chosen so that it trains about as many numbers as LoRA of rank 4 on the same layers, where a method can. */
  readonly config: object | ((steps: number) => object);
  /** Highest learning rate: the best of `--part tune`, or that of the nearest kin. */
  readonly lr: number;
  /** Attaches it in place of `adapter` and `config`, with what it finds in data. */
  readonly fromData?: (model: CausalLM, data: Calibration) => Promise<Attached>;
  /** Default: AdamW without decay. */
  readonly optimizers?: (attached: Attached, lr: Schedule) => Trainer[];
  /** What a reader has to know to read its row. */
  readonly note?: string;
}

const method = <C extends object, P extends object>(
  adapter: Adapter<C, P>,
  config: C | ((steps: number) => C),
  lr: number,
  rest: Pick<AdapterMethod, "optimizers" | "note"> = {},
): AdapterMethod => ({ adapter: adapter as unknown as Adapter, config, lr, ...rest });

/** A start from data. */
const fromData = (
  adapter: unknown,
  attachTo: AdapterMethod["fromData"],
  lr: number,
  note?: string,
): AdapterMethod => ({
  adapter: adapter as Adapter,
  config: {},
  lr,
  ...(attachTo === undefined ? {} : { fromData: attachTo }),
  ...(note === undefined ? {} : { note }),
});

const LINEAR = { targets: "all-linear" };

/** Learning rates that `--part tune` tries. */
export const LEARNING_RATES = [1e-3, 3e-3, 1e-2, 3e-2, 1e-1] as const;

/** All methods, by the name of their row. Targets are the linear layers of the four blocks. */
export const ADAPTER_METHODS = {
  frozen: { adapter: null, config: {}, lr: 0, note: "the base as it is: nothing is trained" },
  full: { adapter: null, config: {}, lr: 1e-3, note: "no adapter: every parameter of the model is trained" },
  lora: method(lora, { rank: 4, alpha: 8 }, 1e-2),
  rslora: method(lora, { rank: 4, alpha: 8, useRslora: true }, 3e-3),
  "lora-orthogonal": method(lora, { rank: 4, alpha: 8, init: "orthogonal" }, 3e-3),
  "lora-plus": method(lora, { rank: 4, alpha: 8 }, 1e-3, {
    optimizers: ({ model }, lr) => [
      new AdamW(model.trainableParameters(), { lr, weightDecay: 0, groups: loraPlusGroups() }),
    ],
  }),
  "lora-fa": method(loraFa, { rank: 8, alpha: 16 }, 1e-2),
  pissa: method(pissa, { rank: 4, alpha: 4 }, 3e-3),
  olora: method(olora, { rank: 4, alpha: 4 }, 3e-3),
  eva: fromData(
    lora,
    (model, data) => attachEva(model, data, { rank: 4, alpha: 8 }, LINEAR),
    1e-2,
    "ranks are dealt out by the variance of what the layers are given; larger layers may get more of them",
  ),
  corda: fromData(
    corda,
    async (model, data) =>
      attachCorda(model, await secondMoments(model, data, LINEAR), { rank: 4, alpha: 4 }, LINEAR),
    3e-3,
  ),
  loftq: fromData(
    lora,
    (model) => attachLoftq(model, { rank: 4, alpha: 4, groupSize: 16 }, LINEAR),
    3e-3,
    "the base is put into codes of 4 bits first: it begins behind the others",
  ),
  adalora: method(
    adaLora,
    (steps) => ({
      rank: 5,
      targetRank: 4,
      alpha: 10,
      steps,
      tinit: steps >> 3,
      tfinal: steps >> 2,
      penalty: 0.1,
    }),
    3e-2,
    {
      optimizers: (attached, lr) => [
        adaLoraBudget(attached, new AdamW(attached.model.trainableParameters(), { lr, weightDecay: 0 })),
      ],
      note: "begins with five triplets a layer and keeps four on average",
    },
  ),
  autolora: method(autoLora, { rank: 4, alpha: 32 }, 1e-2, {
    note: "selection weights are trained with the rest, on the same data: the search of two levels is `searchRanks`",
  }),
  dylora: method(dyLora, { rank: 4, alpha: 8 }, 1e-2, {
    note: "each step trains a rank from 1 to 4 that is drawn; scored with all four",
  }),
  vera: method(vera, { rank: 256 }, 1e-1, {
    note: "trains r + out a layer: the budget would take projections of rank 2,300",
  }),
  dora: method(dora, { rank: 4, alpha: 8 }, 1e-2),
  edora: method(edora, { rank: 48, alpha: 48 }, 3e-3),
  hra: method(hra, { rank: 8 }, 1e-2),
  oft: method(oft, { blockSize: 16 }, 3e-3),
  boft: method(boft, { blockSize: 8 }, 1e-2),
  ia3: method(ia3, {}, 3e-2, { note: "trains one number an output: it has no rank to raise" }),
  loha: method(loha, { rank: 2, alpha: 4 }, 3e-2),
  lokr: method(lokr, { rank: 16, alpha: 16, factor: 4 }, 1e-2),
  fedpara: method(fedPara, { rank: 2 }, 3e-2),
  "fedpara-personal": method(fedPara, { rank: 2, personal: true }, 3e-2),
  soda: method(soda, {}, 3e-3, {
    optimizers: ({ model }, lr) => {
      const all = [...model.trainableParameters()];
      const turns = all.filter(([, p]) => p.ndim === 2);
      const rest = all.filter(([, p]) => p.ndim !== 2);
      return [new StiefelAdam(turns, { lr }), new AdamW(rest, { lr, weightDecay: 0 })];
    },
    note: "trains Σ nⱼ² + min(in, out) a layer, whatever one asks for",
  }),
  flix: method(flix, { features: ["sea", "book"], rank: 2, alpha: 4, active: ["sea", "book"] }, 1e-2, {
    note: "one book has one set of features: both are on, as a LoRA of rank 4",
  }),
  "capaboost-lora": method(capaBoost(lora, ["A", "B"]), { rank: 4, alpha: 8, copies: 2 }, 1e-2),
  sira: method(sira, { experts: 4, topK: 2, rank: 1, alpha: 2 }, 1e-2, {
    note: "which experts act depends on the token, so that there is no one weight to merge into",
  }),
} as const satisfies Record<string, AdapterMethod>;

export type MethodName = keyof typeof ADAPTER_METHODS;
