import {
  adaLora,
  type Adapter,
  boft,
  dora,
  hra,
  ia3,
  loha,
  lokr,
  olora,
  oft,
  pissa,
  vera,
} from "@lowrank/adapters";
import { Embedding, Linear, Module } from "@lowrank/nn";
import { type Tensor, tanh } from "@lowrank/tensor";

/** The network of test/goldens/make_methods.py. */
export class Net extends Module {
  embed = new Embedding(11, 8);
  up = new Linear(8, 12);
  down = new Linear(12, 6);
  forward(ids: Tensor): Tensor {
    return this.down.forward(tanh(this.up.forward(this.embed.forward(ids))));
  }
}

export interface Method {
  readonly adapter: Adapter;
  /** The configuration of the folder `ours`. */
  readonly config: object;
  readonly targets: readonly string[];
}

const method = <C extends object, P extends object>(
  adapter: Adapter<C, P>,
  config: C,
  targets: readonly string[] = ["up", "down"],
): Method => ({ adapter: adapter as unknown as Adapter, config, targets });

const ALL = ["embed", "up", "down"];

/** The methods that PEFT has, by the folder of their goldens. */
export const methods: Readonly<Record<string, Method>> = {
  dora: method(dora, { rank: 2, alpha: 3, useRslora: true }, ALL),
  hra: method(hra, { rank: 4 }),
  "hra-gs": method(hra, { rank: 3, orthogonal: true }),
  oft: method(oft, { blockSize: 4 }),
  "oft-exact": method(oft, { blocks: 2, cayley: "exact" }),
  "oft-shared": method(oft, { blockSize: 4, shared: true, terms: 3 }),
  boft: method(boft, { blockSize: 2 }),
  "boft-2": method(boft, { blockSize: 2, factors: 2 }),
  loha: method(loha, { rank: 2, alpha: 3 }),
  lokr: method(lokr, { rank: 1, alpha: 2 }),
  "lokr-both": method(lokr, { rank: 1, both: true, factor: 4, zero: "second" }),
  vera: method(vera, { rank: 4, dInitial: 0.2 }),
  pissa: method(pissa, { rank: 2, alpha: 3 }),
  olora: method(olora, { rank: 2, alpha: 3 }),
  adalora: method(adaLora, { rank: 3, alpha: 2, steps: 9, tinit: 1, tfinal: 2 }),
  "adalora-masked": method(adaLora, { rank: 3, steps: 9, kept: { up: [false, true, false] } }),
  ia3: method(ia3, { feedforward: ["down"] }),
};
