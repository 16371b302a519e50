import { checkState, type Module } from "@lowrank/nn";
import {
  ConfigError,
  concat,
  evaluate,
  gt,
  ones,
  type Parameter,
  parameter,
  take,
  type Tensor,
  tensor,
  where as select,
  zeros,
} from "@lowrank/tensor";
import { adaLora, type AdaLoraConfig, withDefaults } from "./adalora.js";
import { attach, type Attached } from "./attach.js";
import type { Entry } from "./stack.js";

/** What the budget asks of an optimizer; those of `@lowrank/optim` have it. */
export interface BudgetedOptimizer {
  step(grads: ReadonlyMap<string, Tensor>, options?: { also?: readonly Tensor[] }): Promise<void>;
  lrAt(step?: number): number;
  readonly stepCount: number;
  state(): { step: number; tensors: Map<string, Tensor> };
  loadState(state: { step: number; tensors: ReadonlyMap<string, Tensor> }): void;
}

/** Averages of one parameter: Ī of |w ∂L/∂w|, and Ū of its distance from Ī. */
interface Importance {
  readonly parameter: Parameter;
  readonly path: string;
  readonly sensitivity: Parameter;
  readonly uncertainty: Parameter;
}

interface Layer {
  readonly entry: Entry;
  readonly importance: Readonly<Record<"A" | "B" | "E", Importance>>;
  /** 1 for a triplet that is left, [r, 1]. */
  readonly mask: Parameter;
}

/**
 * How many triplets may be left in n layers after an update, of `initial` at first:
 *
 *     b(t) = initial                                              t ≤ tinit
 *     b(t) = ⌊b_T + (initial − b_T) (1 − (t − tinit) / (T − tfinal − tinit))³⌋,   b_T = n · targetRank
 *     b(t) = b_T                                                  t > T − tfinal
 *
 * with T all `steps`; arXiv:2303.10512, eq. (12).
 */
export function adaLoraSchedule(
  config: AdaLoraConfig,
  initial: number,
  layers: number,
  step: number,
): number {
  const { steps, tinit, tfinal, targetRank } = withDefaults(config);
  const target = layers * targetRank;
  if (step <= tinit) return initial;
  if (step > steps - tfinal) return target;
  const left = 1 - (step - tinit) / (steps - tfinal - tinit);
  return Math.trunc((initial - target) * left ** 3 + target);
}

/**
 * An optimizer that also keeps an AdaLoRA adapter on its budget: after an update it weighs every triplet, and masks the least
 * important ones of all layers, which sets their singular values to zero. Made by {@link adaLoraBudget}.
 */
export class AdaLoraBudget<M extends Module = Module> {
  private readonly layers: readonly Layer[];
  private readonly config: ReturnType<typeof withDefaults>;
  /** Triplets at first. */
  private readonly initial: number;

  /** @internal */
  constructor(
    private readonly adapted: Attached<M>,
    private readonly optimizer: BudgetedOptimizer,
  ) {
    this.config = withDefaults(adapted.config as AdaLoraConfig);
    const { steps, tfinal } = this.config;
    const refuse = (expected: string, got: string): never => {
      throw new ConfigError({ where: "adaLoraBudget", expected, got });
    };
    if (adapted.adapter !== (adaLora as unknown)) refuse("an adapter of adaLora", adapted.adapter.name);
    if (steps - tfinal < 2) refuse("updates before the last masking", `${steps} steps with tfinal ${tfinal}`);
    const paths = new Map([...adapted.parameters()].map(([path, p]) => [p, path]));
    const important = (entry: Entry, field: string): Importance => {
      const p = entry.params[field]!;
      const average = (): Parameter => parameter(zeros(p.shape, { dtype: p.dtype }), { trainable: false });
      return { parameter: p, path: paths.get(p)!, sensitivity: average(), uncertainty: average() };
    };
    this.layers = adapted.places
      .map(({ entry }) => entry)
      .filter(({ params }) => params["E"]!.size > 0)
      .map((entry) => ({
        entry,
        importance: { A: important(entry, "A"), B: important(entry, "B"), E: important(entry, "E") },
        mask: parameter(ones(entry.params["E"]!.shape, { dtype: entry.target.dtype }), { trainable: false }),
      }));
    this.initial = this.layers.reduce((sum, { mask }) => sum + mask.size, 0);
    if (this.target > this.initial)
      refuse(`a targetRank for at most ${this.initial} triplets`, `${this.target}`);
  }

  /** Updates done so far. */
  get stepCount(): number {
    return this.optimizer.stepCount;
  }

  lrAt(step?: number): number {
    return this.optimizer.lrAt(step);
  }

  /** Triplets that may be left after the updates done so far. */
  get budget(): number {
    return adaLoraSchedule(this.config, this.initial, this.adapted.places.length, this.stepCount);
  }

  private get target(): number {
    return this.adapted.places.length * this.config.targetRank;
  }

  /** Update after which the masks stand. */
  private get last(): number {
    return this.config.steps - this.config.tfinal;
  }

  /**
   * One update of the optimizer, and what the budget asks for after it.
   *
   * @throws ConfigError if a parameter of the adapter has no gradient.
   */
  async step(
    grads: ReadonlyMap<string, Tensor>,
    { also = [] }: { also?: readonly Tensor[] } = {},
  ): Promise<void> {
    const weighs = this.stepCount + 1 < this.last;
    const own = weighs ? this.all.map(({ path }) => gradientOf(grads, path)) : [];
    await this.optimizer.step(grads, { also: [...also, ...own] });
    if (weighs) await this.weigh(own);
    const { tinit, deltaT } = this.config;
    const step = this.stepCount;
    if (step === this.last || (weighs && step > tinit && step % deltaT === 0)) await this.choose();
    else if (step > this.last) await this.apply();
  }

  private get all(): Importance[] {
    return this.layers.flatMap(({ importance: { A, B, E } }) => [A, B, E]);
  }

  /** I = |w ∂L/∂w|, Ī ← β₁ Ī + (1 − β₁) I, Ū ← β₂ Ū + (1 − β₂) |I − Ī|; arXiv:2303.10512, eq. (8) to (10). */
  private async weigh(grads: readonly Tensor[]): Promise<void> {
    const { beta1, beta2 } = this.config;
    await evaluate(
      ...this.all.flatMap(({ parameter: w, sensitivity, uncertainty }, i) => {
        const now = w.mul(grads[i]!.astype(w.dtype)).abs();
        const mean = sensitivity.mul(beta1).add(now.mul(1 - beta1));
        const distance = uncertainty.mul(beta2).add(
          now
            .sub(mean)
            .abs()
            .mul(1 - beta2),
        );
        return [sensitivity.assign(mean), uncertainty.assign(distance)];
      }),
    );
  }

  /** Masks the triplets of least importance, as many as are over the budget, and those that are equal to the last of them. */
  private async choose(): Promise<void> {
    const over = this.initial - this.budget;
    if (over === 0) return;
    const scores = await concat(
      this.layers.map(({ importance }) => importanceOf(importance)),
      0,
    ).data();
    const limit = Array.from(scores).sort((a, b) => a - b)[over - 1]!;
    let at = 0;
    for (const { mask } of this.layers) {
      const kept = Float32Array.from({ length: mask.size }, () => (scores[at++]! > limit ? 1 : 0));
      mask.replace(tensor(kept, { shape: mask.shape }));
    }
    await this.apply();
  }

  /** Sets the singular values of masked triplets to zero. They may come back until the masks stand. */
  private async apply(): Promise<void> {
    await evaluate(
      ...this.layers.map(({ entry: { params }, mask }) => {
        const E = params["E"]!;
        return E.assign(select(gt(mask, 0), E, 0));
      }),
    );
  }

  /** Which triplets of a layer the last masking has left, by the layer's path. */
  async kept(): Promise<Record<string, readonly boolean[]>> {
    const left = new Map<string, boolean[]>();
    for (const { entry, mask } of this.layers)
      left.set(
        entry.target.path,
        Array.from(await mask.data(), (m) => m > 0),
      );
    const { kept = {} } = this.config;
    return Object.fromEntries(
      this.adapted.places.map(({ entry: { target, params } }) => {
        const now = left.get(target.path) ?? [];
        const before = kept[target.path] ?? new Array<boolean>(params["E"]!.size).fill(true);
        let at = 0;
        return [target.path, before.map((is) => is && now[at++]!)];
      }),
    );
  }

  /**
   * Puts the triplets that are left in the place of the whole adapter, which is taken off; the result is what to save, with
   * PEFT's `rank_pattern`. It computes the same, and has parameters of its own: make an optimizer for it to train on.
   */
  async compact(): Promise<Attached<M>> {
    const { model, config, options, places } = this.adapted;
    const kept = await this.kept();
    const values = new Map<string, Record<string, Tensor>>();
    for (const { entry } of places) {
      const mask = this.layers.find((layer) => layer.entry === entry)?.mask;
      const left = mask ? [...(await mask.data())].flatMap((m, i) => (m > 0 ? [i] : [])) : [];
      const rows = tensor(Int32Array.from(left), { dtype: "i32", shape: [left.length] });
      const { A, B, E } = entry.params as Record<"A" | "B" | "E", Parameter>;
      values.set(entry.target.path, { A: take(A, rows, 0), B: take(B, rows, 1), E: take(E, rows, 0) });
    }
    await evaluate(...[...values.values()].flatMap((own) => Object.values(own)));
    const at = places.map(({ stack, entry }) => stack.entries.indexOf(entry));
    this.adapted.detach();
    const compacted = attach(model, adaLora, { ...(config as AdaLoraConfig), kept }, options);
    for (const [i, { stack, entry }] of compacted.places.entries()) {
      stack.entries.splice(at[i]!, 0, stack.entries.pop()!);
      for (const [field, value] of Object.entries(values.get(entry.target.path)!))
        entry.params[field]!.replace(value);
    }
    return compacted;
  }

  /** Tensors of the budget by name, beside those of the optimizer. */
  private own(): Map<string, Parameter> {
    const named = this.all.flatMap(({ path, sensitivity, uncertainty }): [string, Parameter][] => [
      [`${path}.sensitivity`, sensitivity],
      [`${path}.uncertainty`, uncertainty],
    ]);
    const masks = this.layers.map(({ entry, mask }): [string, Parameter] => [
      `${entry.target.path}.${entry.name}.mask`,
      mask,
    ]);
    return new Map([...named, ...masks]);
  }

  /** What has to be saved to go on later as if nothing had happened: the optimizer's state and the budget's. */
  state(): { step: number; tensors: Map<string, Tensor> } {
    const { step, tensors } = this.optimizer.state();
    return { step, tensors: new Map<string, Tensor>([...tensors, ...this.own()]) };
  }

  /**
   * Goes back to a saved state.
   *
   * @throws ConfigError that lists missing, unexpected and misshapen tensors; nothing is changed then.
   */
  loadState({ step, tensors }: { step: number; tensors: ReadonlyMap<string, Tensor> }): void {
    const own = this.own();
    const given = new Map([...tensors].filter(([name]) => own.has(name)));
    checkState("AdaLoraBudget.loadState", own, given);
    this.optimizer.loadState({ step, tensors: new Map([...tensors].filter(([name]) => !own.has(name))) });
    for (const [name, p] of own) p.replace(given.get(name)!);
  }
}

function gradientOf(grads: ReadonlyMap<string, Tensor>, path: string): Tensor {
  const grad = grads.get(path);
  if (grad !== undefined) return grad;
  throw new ConfigError({
    where: "AdaLoraBudget.step",
    expected: `a gradient of ${path}`,
    got: "none",
    hint: "give the gradients of all parameters of the adapter",
  });
}

/** Importance of each triplet: s(λᵢ) + meanⱼ s(Pⱼᵢ) + meanⱼ s(Qᵢⱼ) with s = Ī Ū; arXiv:2303.10512, eq. (7) and (11). */
function importanceOf({ A, B, E }: Layer["importance"]): Tensor {
  const score = ({ sensitivity, uncertainty }: Importance): Tensor => sensitivity.mul(uncertainty);
  return score(E).reshape([-1]).add(score(A).mean(1)).add(score(B).mean(0));
}

/**
 * Keeps an AdaLoRA adapter on its budget while an optimizer trains it. The result stands in the optimizer's place, by hand and
 * for `train`: its state is saved and resumed with the optimizer's.
 *
 * From update `tinit` on the number of triplets over all layers falls from rank to targetRank per layer in the mean; every
 * `deltaT` updates those of least importance are masked, and the last choice stands for the last `tfinal` updates. The update's
 * new values weigh with the gradients that made it, as in PEFT, which see the term for the loss if the loss has it
 * (`regularized`).
 *
 * Source: Zhang et al. 2023, arXiv:2303.10512, algorithm 1; PEFT's AdaLoRA, whose choices it makes.
 *
 * @example
 * ```ts
 * const adapted = attach(model, adaLora, { rank: 12, targetRank: 8, steps: 1000, tfinal: 200 }, { targets: ["q_proj", "v_proj"] });
 * const optimizer = adaLoraBudget(adapted, new AdamW(model.trainableParameters(), { lr: 1e-3 }));
 * await train({ model, data, optimizer, steps: 1000 });
 * await savePeft(await optimizer.compact(), "out/adapter");
 * ```
 * @throws ConfigError for another adapter, or a schedule that leaves nothing to choose.
 * @category Additive adapters
 */
export const adaLoraBudget = <M extends Module>(
  adapted: Attached<M>,
  optimizer: BudgetedOptimizer,
): AdaLoraBudget<M> => new AdaLoraBudget(adapted, optimizer);
