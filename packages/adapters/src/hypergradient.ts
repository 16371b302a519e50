import {
  ConfigError,
  gradients,
  type Parameter,
  reciprocal,
  sqrt,
  stopGradient,
  type Tensor,
} from "@lowrank/tensor";
import type { Attached } from "./attach.js";
import { autoLora } from "./auto-lora.js";
import { expectNumber, expectOneOf } from "./expect.js";
import { withSubstitution } from "./substitution.js";

type Named = [path: string, parameter: Parameter];

/**
 * The parameters of AutoLoRA's two levels, for an optimizer each: A and B, and the selection variables.
 *
 * @throws ConfigError if the adapter is another.
 * @category Choice of ranks
 */
export function autoLoraParameters(adapted: Attached): { weights: Named[]; selection: Named[] } {
  if (adapted.adapter.name !== autoLora.name) {
    throw new ConfigError({
      where: "autoLoraParameters",
      expected: "an adapter attached as autoLora",
      got: `${adapted.adapter.name} "${adapted.name}"`,
    });
  }
  const variables = new Set(adapted.places.map(({ entry }) => entry.params["beta"]));
  const all = [...adapted.parameters()];
  return {
    weights: all.filter(([, p]) => !variables.has(p)),
    selection: all.filter(([, p]) => variables.has(p)),
  };
}

export interface HypergradientOptions {
  /** Length η of the step that is looked ahead. 0 leaves the second-order term out. */
  lookAhead: number;
  /**
   * "exact": by differentiating through the step. "differences": the paper's, the mixed derivative by central differences at
   * w ± ε v with ε = 0.01 / ‖v‖; for a loss with an op that can be differentiated once only. Default "exact".
   */
  method?: "exact" | "differences";
}

export interface Hypergradient {
  /** L_val(w', β). */
  value: Tensor;
  /** Gradients of the selection variables, by path. */
  grads: Map<string, Tensor>;
}

/**
 * The gradient of a validation loss after one step of training, with respect to the selection variables β of an AutoLoRA:
 *
 *     d/dβ L_val(w'(β), β),   w'(β) = w − η ∇_w L_tr(w, β)
 *   = ∇_β L_val(w', β) − η [∂²L_tr(w, β) / ∂β ∂w] v,   v = ∇_w' L_val(w', β)
 *
 * where w are all A and B. Lazy, and nothing is written: the step is taken in the graph. `trainLoss` may be called several
 * times; in the context of one key its dropout is the same each time.
 *
 * Source: Zhang et al. 2024, arXiv:2403.09113; Liu et al. 2019, arXiv:1806.09055, eq. (7) and (8). The
 * exact form is ours.
 *
 * @example
 * ```ts
 * const { grads } = hypergradient(adapted, () => loss(trainBatch), () => loss(heldOut), { lookAhead: 1e-3 });
 * await selectionOptimizer.step(grads);
 * ```
 * @category Choice of ranks
 */
export function hypergradient(
  adapted: Attached,
  trainLoss: () => Tensor,
  validationLoss: () => Tensor,
  { lookAhead, method = "exact" }: HypergradientOptions,
): Hypergradient {
  expectNumber("hypergradient", "lookAhead", lookAhead, { min: 0 });
  expectOneOf("hypergradient", "method", method, ["exact", "differences"]);
  const named = autoLoraParameters(adapted);
  const [w, b] = [named.weights.map(([, p]) => p), named.selection.map(([, p]) => p)];
  const at = (values: readonly Tensor[], loss: () => Tensor): Tensor =>
    withSubstitution(new Map(w.map((p, i) => [p, values[i]!])), loss);
  // w' = w − η ∇_w L_tr(w, β)
  const ahead = gradients(trainLoss(), w).map((g, i) => w[i]!.sub(g.mul(lookAhead)));
  const result = (value: Tensor, grads: readonly Tensor[]): Hypergradient => ({
    value,
    grads: new Map(named.selection.map(([path], i) => [path, grads[i]!])),
  });
  if (method === "exact") {
    const value = at(ahead, validationLoss);
    return result(value, gradients(value, b));
  }
  const fixed = ahead.map((t) => stopGradient(t));
  const value = at(fixed, validationLoss);
  const all = gradients(value, [...b, ...fixed]);
  const [direct, v] = [all.slice(0, b.length), all.slice(b.length)];
  const norm = sqrt(v.map((t) => t.square().sum()).reduce((sum, t) => sum.add(t))).add(1e-15);
  const epsilon = reciprocal(norm).mul(0.01);
  const side = (sign: number): Tensor[] => {
    const moved = w.map((p, i) => stopGradient(p.add(v[i]!.mul(epsilon.mul(sign)))));
    return gradients(at(moved, trainLoss), b);
  };
  const [plus, minus] = [side(1), side(-1)];
  // ∇_β L_val − η (∇_β L_tr(w + ε v) − ∇_β L_tr(w − ε v)) / 2ε
  const mixed = plus.map((g, i) => g.sub(minus[i]!).div(epsilon.mul(2)));
  return result(
    value,
    direct.map((g, i) => g.sub(mixed[i]!.mul(lookAhead))),
  );
}
