import { ConfigError, ones, type Tensor } from "@lowrank/tensor";
import { type AdapterFormat, defineAdapter } from "./adapter.js";
import { beside, channelShape, CONVOLUTIONS } from "./features.js";
import { refuseField, refuseFields } from "./peft-json.js";

export interface Ia3Config {
  /** Ends of the paths of layers whose input is scaled: the last layer of a feed-forward block. Default: none. */
  feedforward?: readonly string[];
}

export interface Ia3Params {
  /** Scale of each output, [out, 1], or of each input, [1, in]; of the channels of a convolution [1, out or in, 1, 1]. */
  l: Tensor;
}

// As PEFT has it, without regard to dots.
const scalesInput = ({ feedforward = [] }: Ia3Config, path: string): boolean =>
  feedforward.some((name) => path.endsWith(name));

const format: AdapterFormat<Ia3Config> = {
  peftType: "IA3",
  tensors: { linear: { l: "ia3_l" } },
  toJson: ({ feedforward = [] }) => ({
    feedforward_modules: [...feedforward].sort(),
    fan_in_fan_out: false,
    init_ia3_weights: true,
  }),
  fromJson(json) {
    refuseFields(json, ["fan_in_fan_out"]);
    const names = json["feedforward_modules"] ?? [];
    if (!Array.isArray(names) || !names.every((n) => typeof n === "string"))
      refuseField(json, "feedforward_modules", "feedforward_modules to be a list of names");
    return { feedforward: names as string[] };
  },
};

/**
 * (IA)³: scales each output of a frozen linear map, or each input of the last one in a feed-forward block.
 *
 *     y = l ∘ (W x + b),   W' = diag(l) W, b' = l ∘ b;   feed-forward: y = W (l ∘ x) + b,   W' = W diag(l)
 *
 * W is [out, in]; out numbers are trained, or in. They start at one, so W' = W before the first step. The paper scales keys,
 * values and the hidden layer of a feed-forward block, which is the input of its last layer.
 *
 * Source: Liu et al. 2022, arXiv:2205.05638, section 3.3. The files are PEFT's.
 *
 * @example
 * ```ts
 * const targets = ["k_proj", "v_proj", "down_proj"];
 * const adapted = attach(model, ia3, { feedforward: ["down_proj"] }, { targets });
 * ```
 * @category Scaling adapters
 */
export const ia3 = /* @__PURE__ */ defineAdapter<Ia3Config, Ia3Params>({
  name: "ia3",
  kinds: ["linear", ...CONVOLUTIONS],
  format,

  check({ feedforward }) {
    if (feedforward === undefined || Array.isArray(feedforward)) return;
    throw new ConfigError({
      where: "ia3",
      expected: "feedforward to be a list of names",
      got: JSON.stringify(feedforward),
    });
  },

  init(target, config) {
    const { path, inFeatures, outFeatures, filter, dtype } = target;
    const input = scalesInput(config, path);
    const channels = input && filter ? filter.channels * filter.groups : outFeatures;
    return {
      l: ones(channelShape(channels, target) ?? (input ? [1, inFeatures] : [outFeatures, 1]), { dtype }),
    };
  },

  forward(x, base, { l }, config, { target }) {
    const scale = beside(l, target);
    return scalesInput(config, target.path) ? base(x.mul(scale)) : base(x).mul(scale);
  },

  merge(W, { l }, config, { path, filter }) {
    if (filter === undefined) return W.mul(l);
    if (!scalesInput(config, path)) return W.mul(l.reshape([-1, 1]));
    const { channels, groups } = filter; // l has a number for each channel of each group
    const parts = W.reshape([groups, W.shape[0]! / groups, channels, -1]);
    return parts.mul(l.reshape([groups, 1, channels, 1])).reshape(W.shape);
  },

  mergeBias: (b, { l }, config, { path }) => (scalesInput(config, path) ? b : b.mul(l.reshape([-1]))),
});
