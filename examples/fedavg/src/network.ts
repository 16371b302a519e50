import { attach, fedPara, lora } from "@lowrank/adapters";
import { Linear, Module } from "@lowrank/nn";
import { key as makeKey, normal, relu, type Tensor, zeros } from "@lowrank/tensor";
import { PIXELS } from "./digits.js";

/** What the two wide layers are made of. */
export type Form = "dense" | "low rank" | "FedPara" | "pFedPara";

/**
 * Rates of SGD: the largest of 0.05, 0.1, 0.2 and 0.4 with which a form did not diverge in 60 rounds. On a seed that is not reported
 * (50), after 20 rounds, each form was the better the larger the rate, up to where it diverged.
 */
export const RATES: Readonly<Record<Form, number>> = {
  dense: 0.4,
  "low rank": 0.1,
  FedPara: 0.4,
  pFedPara: 0.1,
};

/** Two hidden layers and a head of ten classes. */
export class Network extends Module {
  first: Linear;
  second: Linear;
  head: Linear;

  constructor(width: number, seed: number) {
    super();
    const [a, b, c] = makeKey(seed).split(3);
    this.first = new Linear(PIXELS, width, { key: a! });
    this.second = new Linear(width, width, { key: b! });
    this.head = new Linear(width, 10, { key: c! });
  }

  forward(x: Tensor): Tensor {
    return this.head.forward(relu(this.second.forward(relu(this.first.forward(x)))));
  }
}

const TARGETS = ["first", "second"];

/**
 * A network whose wide layers have one of the forms, each started with He's variance, 2 / in. FedPara has the least rank R that
 * reaches every rank, ⌈√min(in, out)⌉; low rank has 2 R and so as many numbers. Biases and the head are trained in each.
 */
export function networkOf(form: Form, width: number, seed: number): Network {
  const network = new Network(width, seed);
  const layers = [network.first, network.second];
  if (form === "dense") {
    for (const [i, { weight }] of layers.entries()) {
      const std = Math.sqrt(2 / weight.shape[1]!);
      weight.replace(normal(weight.shape, { key: makeKey(seed).fold(i), std }));
    }
    return network;
  }
  for (const { weight } of layers) weight.replace(zeros(weight.shape));
  const key = makeKey(seed);
  if (form === "low rank") {
    const rank = 2 * Math.ceil(Math.sqrt(width));
    const adapted = attach(network, lora, { rank }, { targets: TARGETS, key });
    for (const { entry } of adapted.places) {
      // r std⁴ is the variance of B A.
      const std = (2 / (entry.target.inFeatures * rank)) ** 0.25;
      for (const [field, p] of Object.entries(entry.params))
        p.replace(normal(p.shape, { key: key.foldName(`${entry.target.path}/${field}`), std }));
    }
  } else {
    const config = { init: "he", personal: form === "pFedPara" } as const;
    attach(network, fedPara, config, { targets: TARGETS, key });
  }
  const own = [...layers.map(({ bias }) => bias!), ...network.head.state().values()];
  for (const p of own) p.trainable = true;
  return network;
}

/** Whether a client keeps a parameter for itself: pFedPara's second product. */
export const isPersonal = (form: Form, path: string): boolean =>
  form === "pFedPara" && /fedPara_[XY]2\./.test(path);
