import { svd } from "@lowrank/linalg";
import type { Module } from "@lowrank/nn";
import {
  ConfigError,
  evaluate,
  eye,
  gt,
  matmul,
  slice,
  sqrt,
  type Tensor,
  where as select,
  zeros,
} from "@lowrank/tensor";
import { defineAdapter } from "./adapter.js";
import { attach, type Attached, type AttachOptions } from "./attach.js";
import { expectNumber, expectOneOf } from "./expect.js";
import type { SecondMoment } from "./layer-inputs.js";
import { lora, loraScale, type LoraParams } from "./lora.js";
import { onResidual, type ResidualLoraConfig, type ResidualLoraParams } from "./residual-lora.js";
import { widened } from "./stack.js";

export interface CordaConfig extends ResidualLoraConfig {
  /**
   * What is trained: "instruction", the components that matter most on the data, for a task like them; "knowledge", those that
   * matter least, so that what the data ask for is kept. Default "instruction".
   */
  mode?: "instruction" | "knowledge";
  /** Share of the mean of the moment's diagonal that is added to it, so that no direction is without weight. Default 0.01. */
  damping?: number;
}

/**
 * CorDA: LoRA that starts as the part of the weight that matters most, or least, on given data, which the frozen rest is
 * relieved of.
 *
 *     W' = W − s B₀ A₀ + s B A,   B₀ = Uᵣ √(Sᵣ / s),   A₀ = √(Sᵣ / s) Vᵣᵀ C⁻¹,   W C = U S Vᵀ
 *
 * with C = E[x xᵀ] of the layer's inputs. As s B₀ A₀ = Uᵣ Uᵣᵀ W, nothing is inverted. A and B start as A₀ and B₀, so W' = W before
 * the first step; rank · (in + out) numbers are trained. {@link attachCorda} makes that start; attached by itself it starts as
 * LoRA does. A₀ and B₀ are saved with the adapter, as they follow from the data; {@link loraUpdates} makes a LoRA of twice the
 * rank for PEFT.
 *
 * Source: Yang et al. 2024, arXiv:2406.05223, section 3.2 and 3.3.
 *
 * @category Additive adapters
 */
export const corda = /* @__PURE__ */ defineAdapter<CordaConfig, ResidualLoraParams>({
  ...onResidual,
  name: "corda",
  check(config, target) {
    lora.check!(config, target);
    expectOneOf("corda", "mode", config.mode ?? "instruction", ["instruction", "knowledge"]);
    expectNumber("corda", "damping", config.damping ?? 0.01, { min: 0 });
  },
  init(target, config, key, weight) {
    const { A, B } = lora.init(target, config, key, weight) as LoraParams;
    const { dtype } = target;
    return { A, B, A0: zeros(A.shape, { dtype }), B0: zeros(B.shape, { dtype }) };
  },
});

/** C on a scale on which the mean of its diagonal is 1, damped. Its scale moves between A and B and is in no product. */
function damped(moment: Tensor, damping: number): Tensor {
  const n = moment.shape[0]!;
  const one = eye(n, undefined, { dtype: moment.dtype });
  const mean = moment.mul(one).sum().div(n);
  return moment.div(mean).add(one.mul(damping));
}

/** A₀ and B₀ of a weight. */
function start(W: Tensor, moment: Tensor, config: CordaConfig): LoraParams {
  const { rank, mode = "instruction", damping = 0.01 } = config;
  const { u, s } = svd(matmul(W, damped(moment, damping)));
  const all = s.shape[0]!;
  const [from, to] = mode === "instruction" ? [0, rank] : [all - rank, all];
  const U = slice(u, [null, [from, to]]);
  const root = sqrt(slice(s, [[from, to]]).div(loraScale(config)));
  // √(S / s) Vᵀ C⁻¹ = √(S / s) S⁻¹ Uᵀ W, and zero where S is
  const some = gt(root, 0);
  const inverse = select(some, select(some, root, 1).mul(loraScale(config)).pow(-1), 0);
  return { A: matmul(U.T, W).mul(inverse.reshape([rank, 1])), B: U.mul(root) };
}

/**
 * Puts CorDA onto a model, started from the second moments of what its layers are given on the data.
 *
 * In "instruction" the data are like those of the task to come; with white inputs it is PiSSA. In "knowledge" they are like
 * those that the model shall still answer afterwards. All inputs count alike; PEFT, whose starts and rests these are for one
 * batch, divides each batch by its largest input first.
 *
 * @example
 * ```ts
 * const targets = ["q_proj", "v_proj"];
 * const moments = await secondMoments(model, { batches, forward: (ids: Tensor) => model.forward(ids) }, { targets });
 * const adapted = await attachCorda(model, moments, { rank: 8, mode: "knowledge" }, { targets });
 * ```
 * @throws ConfigError if a layer has no moment, or a setting is out of range; nothing is attached then.
 * @category Starts from data
 */
export async function attachCorda<M extends Module>(
  model: M,
  moments: ReadonlyMap<string, SecondMoment>,
  config: CordaConfig,
  options: AttachOptions,
): Promise<Attached<M>> {
  const adapted = attach(model, corda, config, options);
  try {
    const missing = adapted.layers.filter((path) => !moments.has(path));
    if (missing.length > 0) {
      throw new ConfigError({
        where: "attachCorda",
        expected: "moments of all layers",
        got: `none of ${missing.slice(0, 4).join(", ")}`,
        hint: "give secondMoments() the same targets, and batches that reach them",
      });
    }
    for (const { stack, entry } of adapted.places) {
      const { target, params } = entry;
      const W = widened(stack.layer.denseWeight(), target.dtype);
      const moment = moments.get(target.path)!.moment.astype(target.dtype);
      const { A, B } = start(W, moment, entry.config as CordaConfig);
      const { A: a, B: b, A0, B0 } = params as Record<keyof ResidualLoraParams, (typeof params)[string]>;
      await evaluate(a.assign(A), b.assign(B), A0.assign(A), B0.assign(B));
    }
  } catch (error) {
    adapted.detach();
    throw error;
  }
  return adapted;
}
