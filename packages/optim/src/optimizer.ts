import {
  type Assignment,
  ConfigError,
  evaluate,
  type Parameter,
  parameter,
  type Tensor,
  zeros,
} from "@lowrank/tensor";
import { checkState } from "@lowrank/nn";
import type { Schedule } from "./schedule.js";

/** Settings for some of the parameters. */
export interface ParameterGroup {
  /** Which parameters; the first group that matches holds. */
  match: (path: string, parameter: Parameter) => boolean;
  /** Factor on the learning rate. Default 1. */
  lrScale?: number;
  /** Default: the optimizer's. */
  weightDecay?: number;
}

export interface OptimizerOptions {
  /** Learning rate, or a schedule of it. */
  lr: number | Schedule;
  weightDecay?: number;
  groups?: readonly ParameterGroup[];
}

export interface StepOptions {
  /** Tensors to compute in the same plan: the loss, the norm of the gradients. */
  also?: readonly Tensor[];
}

/** Everything an optimizer remembers. */
export interface OptimizerState {
  /** Updates done. */
  step: number;
  /** State tensors by `path` + "." + name. */
  tensors: Map<string, Tensor>;
}

/** What an update rule gets for one parameter. Numbers may change from step to step without a new plan. */
export interface UpdateInput {
  parameter: Tensor;
  grad: Tensor;
  state: Readonly<Record<string, Tensor>>;
  lr: number;
  weightDecay: number;
  /** Number of this update, from 1. */
  step: number;
}

export interface UpdateOutput {
  parameter: Tensor;
  state: Readonly<Record<string, Tensor>>;
}

interface Slot {
  parameter: Parameter;
  state: Record<string, Parameter>;
  lrScale: number;
  weightDecay: number;
}

/** True for what is customarily not decayed: vectors, so norms and biases. */
export const noDecay = (_path: string, parameter: { readonly ndim: number }): boolean => parameter.ndim < 2;

/**
 * Changes parameters by their gradients. A rule says how one parameter and its state move; the frame runs all of them,
 * with whatever else is asked for, as one plan that is reused from step to step: learning rates and corrections are
 * numbers that the plan is fed.
 *
 * State is kept in f32 at least, and the arithmetic is done there, also for parameters stored in 16 bits.
 */
export abstract class Optimizer {
  private readonly slots = new Map<string, Slot>();
  private readonly schedule: Schedule;
  private done = 0;

  /** Names of the state tensors of one parameter; each has its shape and starts at zero. */
  protected abstract readonly stateNames: readonly string[];
  /** The rule: lazy, called once for each parameter and step. */
  protected abstract update(input: UpdateInput): UpdateOutput;

  constructor(
    /** For messages. */
    private readonly name: string,
    parameters: Iterable<readonly [path: string, parameter: Parameter]>,
    options: OptimizerOptions,
  ) {
    const { lr, weightDecay = 0, groups = [] } = options;
    if (typeof lr === "number" && !(lr >= 0)) {
      throw new ConfigError({ where: name, expected: "a learning rate of at least 0", got: String(lr) });
    }
    this.schedule = typeof lr === "function" ? lr : () => lr;
    for (const [path, p] of parameters) {
      const group = groups.find(({ match }) => match(path, p));
      this.slots.set(path, {
        parameter: p,
        state: {},
        lrScale: group?.lrScale ?? 1,
        weightDecay: group?.weightDecay ?? weightDecay,
      });
    }
    if (this.slots.size === 0) {
      throw new ConfigError({
        where: name,
        expected: "parameters to train",
        got: "none",
        hint: "attach an adapter, or unfreeze parameters",
      });
    }
  }

  /** Updates done so far. */
  get stepCount(): number {
    return this.done;
  }

  /** Paths of the parameters that it holds. */
  paths(): string[] {
    return [...this.slots.keys()];
  }

  /** Learning rate of an update, by default the next, before the factors of groups. */
  lrAt(step: number = this.done): number {
    return this.schedule(step);
  }

  /**
   * One update: new values of the parameters, of the state and of `also`, as one plan. A parameter without a gradient
   * stays as it is.
   *
   * @throws ConfigError if a gradient is for an unknown path.
   */
  async step(grads: ReadonlyMap<string, Tensor>, { also = [] }: StepOptions = {}): Promise<void> {
    const lr = this.lrAt();
    const assignments: Assignment[] = [];
    for (const [path, grad] of grads) {
      const slot = this.slots.get(path);
      if (slot === undefined) {
        throw new ConfigError({
          where: `${this.name}.step`,
          expected: `gradients of the ${this.slots.size} parameters it was made with`,
          got: `one for ${JSON.stringify(path)}`,
          hint: "make the optimizer after attaching adapters",
        });
      }
      assignments.push(...this.assign(slot, grad, lr));
    }
    await evaluate(...assignments, ...also);
    this.done++;
  }

  private assign(slot: Slot, grad: Tensor, lr: number): Assignment[] {
    const state = this.stateOf(slot);
    const wide = slot.parameter.dtype === "f64" ? "f64" : "f32";
    const cast = (t: Tensor): Tensor => (t.dtype === wide ? t : t.astype(wide));
    const next = this.update({
      parameter: cast(slot.parameter),
      grad: cast(grad),
      state,
      lr: lr * slot.lrScale,
      weightDecay: slot.weightDecay,
      step: this.done + 1,
    });
    return [
      slot.parameter.assign(next.parameter),
      ...this.stateNames.map((name) => state[name]!.assign(next.state[name]!)),
    ];
  }

  /** The state of a parameter, made of zeros when first needed. */
  private stateOf(slot: Slot): Record<string, Parameter> {
    for (const name of this.stateNames) {
      slot.state[name] ??= parameter(
        zeros(slot.parameter.shape, { dtype: slot.parameter.dtype === "f64" ? "f64" : "f32" }),
        { trainable: false },
      );
    }
    return slot.state;
  }

  /** What has to be saved to go on later as if nothing had happened. The tensors are live: read them before the next step. */
  state(): OptimizerState {
    const tensors = new Map<string, Tensor>();
    for (const [path, slot] of this.slots) {
      for (const [name, p] of Object.entries(this.stateOf(slot))) tensors.set(`${path}.${name}`, p);
    }
    return { step: this.done, tensors };
  }

  /**
   * Goes back to a saved state.
   *
   * @throws ConfigError that lists missing, unexpected and misshapen tensors; nothing is changed then.
   */
  loadState({ step, tensors }: { step: number; tensors: ReadonlyMap<string, Tensor> }): void {
    const where = `${this.name}.loadState`;
    if (!Number.isInteger(step) || step < 0) {
      throw new ConfigError({ where, expected: "a step count of at least 0", got: String(step) });
    }
    const own = this.state().tensors;
    checkState(where, own, tensors);
    for (const [name, p] of own) (p as Parameter).replace(tensors.get(name)!);
    this.done = step;
  }
}

/** What training asks of an optimizer. What stands in the place of one, such as the budget of AdaLoRA, has it too. */
export type Updater = Pick<Optimizer, "step" | "lrAt" | "stepCount" | "state" | "loadState">;
