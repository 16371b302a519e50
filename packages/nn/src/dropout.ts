import { ConfigError, dropout, type Key, type Tensor } from "@lowrank/tensor";
import { nextKey } from "./context.js";
import { Module } from "./module.js";

/** Refuses a probability outside [0, 1). */
export function expectProbability(where: string, p: number): void {
  if (!(p >= 0 && p < 1))
    throw new ConfigError({ where, expected: "a probability from 0 to below 1", got: String(p) });
}

/**
 * `dropout` for a layer in training mode.
 *
 * @throws ConfigError if the pass has no key: silence would train without dropout.
 */
export function dropWith(where: string, x: Tensor, p: number, key: Key | null): Tensor {
  if (p === 0) return x;
  if (key === null) {
    throw new ConfigError({
      where,
      expected: "a key for the random numbers of this pass",
      got: "none",
      hint: "run the pass in withContext({ key }, ...) or call model.eval()",
    });
  }
  return dropout(x, p, { key });
}

/**
 * In training mode zeroes each number with probability p and divides the others by 1 − p; otherwise the identity. The
 * n-th dropout of a pass always draws the same bits from the key of the pass.
 *
 * Source: Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting", section 4; scaled
 * at training time, not at test time.
 */
export class Dropout extends Module {
  constructor(readonly p: number) {
    super();
    expectProbability("Dropout", p);
  }

  forward(x: Tensor): Tensor {
    return this.training && this.p > 0 ? dropWith("Dropout", x, this.p, nextKey()) : x;
  }
}
