import { fileURLToPath } from "node:url";
import {
  adaLora,
  type Adapter,
  boft,
  dora,
  hra,
  ia3,
  loha,
  lokr,
  lora,
  olora,
  oft,
  pissa,
  vera,
} from "@lowrank/adapters";
import { Conv1d, Conv2d, Embedding, Linear, Module } from "@lowrank/nn";
import { type Tensor, tanh } from "@lowrank/tensor";

/** Path of a file in test/goldens. */
export const golden = (path: string): string => fileURLToPath(new URL(`./goldens/${path}`, import.meta.url));

/** The network of test/goldens/make_methods.py. */
export class Net extends Module {
  embed = new Embedding(11, 8);
  up = new Linear(8, 12);
  down = new Linear(12, 6);
  forward(ids: Tensor): Tensor {
    return this.down.forward(tanh(this.up.forward(this.embed.forward(ids))));
  }
}

/** Its network of convolutions. */
export class ConvNet extends Module {
  first = new Conv2d(4, 6, 3, { stride: 2, padding: 1 });
  grouped = new Conv2d(6, 4, 2, { groups: 2 });
  point = new Conv2d(4, 6, 1);
  seq = new Conv1d(6, 4, 3, { padding: 2 });
  forward(images: Tensor): Tensor {
    const y = tanh(this.point.forward(tanh(this.grouped.forward(tanh(this.first.forward(images))))));
    return this.seq.forward(y.reshape([y.shape[0]!, y.shape[1]!, -1]));
  }
}

/** The network of a method's folder, and the file of its weights. */
export const networkOf = (name: string): { net: Net | ConvNet; base: string } =>
  name.startsWith("conv-")
    ? { net: new ConvNet(), base: "conv-base.safetensors" }
    : { net: new Net(), base: "base.safetensors" };

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
const UNGROUPED = ["first", "point", "seq"];
const CONVS = ["first", "grouped", "point", "seq"];
const IMAGES = ["first", "point"];

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
  "oft-embedding": method(oft, { blockSize: 2 }, ALL),
  "conv-lora": method(lora, { rank: 2, alpha: 3, useRslora: true }, UNGROUPED),
  "conv-dora": method(dora, { rank: 2, alpha: 3 }, UNGROUPED),
  "conv-hra": method(hra, { rank: 3, orthogonal: true }, IMAGES),
  "conv-oft": method(oft, { blocks: 2, cayley: "exact" }, IMAGES),
  "conv-oft-point": method(oft, { blockSize: 4 }, ["point"]),
  "conv-boft": method(boft, { blockSize: 2 }, IMAGES),
  "conv-boft-2": method(boft, { blockSize: 2, factors: 2 }, IMAGES),
  "conv-loha": method(loha, { rank: 2, alpha: 3 }, CONVS),
  "conv-loha-core": method(loha, { rank: 2, core: true }, CONVS),
  "conv-lokr": method(lokr, { rank: 1, both: true, factor: 2, zero: "second" }, CONVS),
  "conv-lokr-whole": method(lokr, { rank: 4, alpha: 2 }, ["first", "grouped", "point"]),
  "conv-lokr-core": method(lokr, { rank: 1, core: true }, ["first", "grouped", "point"]),
  "conv-adalora": method(adaLora, { rank: 3, alpha: 2, steps: 9 }, IMAGES),
  "conv-ia3": method(ia3, { feedforward: ["grouped"] }, ["first", "grouped", "point"]),
};
