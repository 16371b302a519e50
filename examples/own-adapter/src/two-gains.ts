import { defineAdapter } from "@lowrank/adapters";
import { ConfigError, type Tensor, zeros } from "@lowrank/tensor";

export interface TwoGainsConfig {
  /** Which side is trained. Default "both". */
  side?: "in" | "out" | "both";
}

export interface TwoGainsParams {
  /** Gain of each input, [in]. */
  h: Tensor;
  /** Gain of each output, [out]. */
  g: Tensor;
}

const sides = ["in", "out", "both"];

/**
 * Scales what goes into a layer and what comes out of it.
 *
 *     W' = diag(1 + g) W diag(1 + h)
 *
 * W is [out, in]; in + out numbers are trained, from zero, so that W' = W before the first step.
 */
export const twoGains = defineAdapter<TwoGainsConfig, TwoGainsParams>({
  name: "twoGains",

  check({ side = "both" }) {
    if (!sides.includes(side))
      throw new ConfigError({
        where: "twoGains",
        expected: `side to be one of ${sides.join(", ")}`,
        got: side,
      });
  },

  init: ({ inFeatures, outFeatures, dtype }, { side = "both" }) => ({
    ...(side === "out" ? {} : { h: zeros([inFeatures], { dtype }) }),
    ...(side === "in" ? {} : { g: zeros([outFeatures], { dtype }) }),
  }),

  // The definition: everything else follows from it.
  merge(W, { h, g }) {
    const columns = h === undefined ? W : W.mul(h.add(1));
    return g === undefined ? columns : columns.mul(g.add(1).reshape([-1, 1]));
  },

  // A cheaper way to the same: y = (1 + g) ∘ W ((1 + h) ∘ x) + b
  forward(x, base, { h, g }, _, { bias }) {
    const y = base(h === undefined ? x : x.mul(h.add(1)));
    if (g === undefined) return y;
    const b = bias();
    return b === null ? y.mul(g.add(1)) : y.add(y.sub(b).mul(g));
  },
});
