import { regularized } from "@lowrank/adapters";
import { perplexity } from "@lowrank/models";
import { valueAndGrad, withContext } from "@lowrank/nn";
import {
  ConfigError,
  evaluate,
  isfinite,
  type Key,
  key,
  minimum,
  type Parameter,
  parameter,
  stack,
  type Tensor,
  where,
  zeros,
  zerosLike,
} from "@lowrank/tensor";
import {
  type FoundCheckpoint,
  findCheckpoint,
  hasCheckpoint,
  loadCheckpoint,
  saveCheckpoint,
  sweep,
} from "./checkpoint.js";
import type { EndReason, TrainEvent } from "./events.js";
import { notFinite, notFiniteError } from "./not-finite.js";
import { batchTensors, type PackedBatch } from "./packing.js";
import { RunLog } from "./run-log.js";
import type { RunState } from "./run-state.js";
import type { TrainBatch, TrainOptions, TrainResult, TrainTaskOptions } from "./train-options.js";

/**
 * Trains what is trainable in a language model on its texts; see {@link trainTask} for what a step is.
 *
 * A run that is resumed ends with the same bits as one that was never stopped.
 */
export async function train(options: TrainOptions): Promise<TrainResult> {
  const { checkpointLayers, lossRows, evaluate: evaluation, ...loop } = options;
  const { model, signal } = options;
  const loss = (batch: PackedBatch): Tensor => {
    const { ids, labels, segments } = batchTensors(batch);
    return model.lossParts(ids, labels, { segments, checkpoint: checkpointLayers, lossRows }).sum;
  };
  if (evaluation === undefined) return trainTask({ ...loop, loss });
  const heldOut = async (): Promise<number> =>
    (await perplexity(model, evaluation.batches.map(batchTensors), { signal, lossRows })).loss;
  return trainTask({ ...loop, loss, evaluate: { loss: heldOut, every: evaluation.every } });
}

/**
 * Trains what is trainable in a model. One optimizer step is one plan, whatever it holds: loss, gradients, their norm,
 * clipping and the update. The loss of a step is the mean over all labels of its batches, so accumulation gives what one
 * large batch would; terms that adapters on the model ask for are added, the mean over the batches.
 *
 * A run that is resumed ends with the same bits as one that was never stopped.
 */
export async function trainTask<B extends TrainBatch>(options: TrainTaskOptions<B>): Promise<TrainResult> {
  return new Run(options).run();
}

class Run<B extends TrainBatch> {
  private readonly trained: Map<string, Parameter>;
  private readonly paths: string[];
  private readonly accumulators = new Map<string, Parameter>();
  private readonly root: Key;
  private state: RunState;
  private loss = Number.NaN;
  private stepMs = 0;
  /** Step of the newest whole checkpoint. */
  private savedStep = 0;
  private log: RunLog | null = null;

  constructor(private readonly options: TrainTaskOptions<B>) {
    const { model, steps, accumulate = 1, seed = 0, evaluate: evaluation, earlyStop, resume, save } = options;
    const whole: [string, number | undefined][] = [
      ["steps", steps],
      ["accumulate", accumulate],
      ["evaluate.every", evaluation?.every],
      ["save.every", save?.every],
      ["earlyStop.patience", earlyStop?.patience],
    ];
    for (const [name, value] of whole) {
      if (value !== undefined && !(Number.isInteger(value) && value >= 1)) {
        throw new ConfigError({
          where: "train",
          expected: `${name} to be an integer of at least 1`,
          got: String(value),
        });
      }
    }
    if (earlyStop && !evaluation) {
      throw new ConfigError({ where: "train", expected: "evaluate with earlyStop", got: "earlyStop alone" });
    }
    if (resume && !save)
      throw new ConfigError({ where: "train", expected: "save with resume", got: "resume alone" });
    this.trained = new Map(model.trainableParameters());
    this.paths = [...this.trained.keys()];
    this.root = key(seed);
    this.state = {
      step: 0,
      position: options.data.position,
      tokens: 0,
      bestLoss: null,
      evaluationsSinceBest: 0,
      evaluatedStep: 0,
      settings: {
        seed,
        accumulate,
        clipNorm: options.clipNorm === null ? "none" : (options.clipNorm ?? 1),
        trainable: this.paths.length,
        data: options.data.fingerprint,
      },
    };
  }

  async run(): Promise<TrainResult> {
    const { model, data, steps, save, resume, logFile } = this.options;
    const began = performance.now();
    const training = model.training;
    if (save) await sweep(save);
    const found = save && resume ? await findCheckpoint(save) : null;
    if (save && !resume && (await hasCheckpoint(save))) {
      throw new ConfigError({
        where: "train",
        expected: "a save folder without checkpoints for a new run",
        got: save.folder,
        hint: "resume, or choose another folder",
      });
    }
    this.log = logFile === undefined ? null : RunLog.open(logFile, found !== null);
    if (found) await this.goOn(found);
    const counts = model.countParameters();
    this.emit({
      type: "start",
      step: this.state.step,
      steps,
      trainable: counts.trainable,
      total: counts.total,
      batchesPerEpoch: data.batchesPerEpoch,
    });
    model.train();
    let reason: EndReason | null = null;
    try {
      while ((reason = await this.between()) === null) await this.step();
    } finally {
      model.train(training);
    }
    await this.save();
    this.emit({ type: "end", step: this.state.step, reason, ms: performance.now() - began });
    const { step, bestLoss, tokens } = this.state;
    return { step, reason, loss: this.loss, bestLoss, tokens, stepMs: this.stepMs };
  }

  /** What is due between two steps, evaluation and saving; and the reason to end here, if there is one. */
  private async between(): Promise<EndReason | null> {
    const { evaluate: evaluation, earlyStop, save, steps, signal } = this.options;
    const { step, evaluatedStep } = this.state;
    if (signal?.aborted) return "aborted";
    if (evaluation && step > evaluatedStep && (step % evaluation.every === 0 || step >= steps)) {
      try {
        await this.evaluate();
      } catch (error) {
        if (signal?.aborted) return "aborted"; // a resume makes up for this evaluation
        throw error;
      }
    }
    if (earlyStop && this.state.evaluationsSinceBest >= earlyStop.patience) return "early-stop";
    if (step >= steps) return "done";
    if (save && step % save.every === 0) await this.save();
    return null;
  }

  private async step(): Promise<void> {
    const { model, data, accumulate = 1, optimizer, signal } = this.options;
    const began = performance.now();
    const step = this.state.step + 1;
    const batches = Array.from({ length: accumulate }, () => data.next());
    const targets = batches.reduce((n, b) => n + b.targets, 0);
    const tokens = batches.reduce((n, b) => n + b.tokens, 0);
    const lr = optimizer.lrAt();
    let sum = 0;
    for (const [i, batch] of batches.slice(0, -1).entries()) {
      sum += await this.accumulate(batch, targets, step, i);
      if (!signal?.aborted) continue;
      data.position = this.state.position; // as if the step had not begun
      return;
    }
    const { value, grads } = this.gradients(batches[accumulate - 1]!, targets, step, accumulate - 1);
    if (accumulate > 1) for (const [path, g] of grads) grads.set(path, this.accumulators.get(path)!.add(g));
    const { clipped, norms } = this.clip(grads, value);
    await optimizer.step(clipped, { also: [value, norms] });
    sum += await value.item();
    const squares = Array.from(await norms.data());
    const gradNorm = Math.sqrt(squares.reduce((a, b) => a + b, 0));
    this.loss = sum;
    if (!Number.isFinite(sum) || !Number.isFinite(gradNorm)) {
      const at = squares.findIndex((s) => !Number.isFinite(s));
      const [parameter] = await notFinite([...model.parameters()]);
      throw notFiniteError(
        step,
        sum,
        parameter ?? (at < 0 ? undefined : `the gradient of ${this.paths[at]}`),
      );
    }
    const ms = performance.now() - began;
    this.stepMs += ms;
    this.state = { ...this.state, step, tokens: this.state.tokens + tokens, position: data.position };
    this.emit({
      type: "step",
      step,
      steps: this.options.steps,
      loss: sum,
      lr,
      gradNorm,
      tokens,
      epoch: data.position.epoch,
      ms,
      tokensPerSecond: tokens / (ms / 1000),
    });
  }

  /** This batch's part of the step's mean loss, and its gradients. Lazy. */
  private gradients(batch: B, targets: number, step: number, micro: number) {
    const { model, loss, accumulate = 1 } = this.options;
    const mean = (): Tensor => regularized(model, () => loss(batch).div(targets), { share: 1 / accumulate });
    return withContext({ key: this.root.fold(step).fold(micro) }, () => valueAndGrad(model, mean)());
  }

  /** Adds the gradients of a batch to the accumulators. */
  private async accumulate(batch: B, targets: number, step: number, micro: number): Promise<number> {
    const { value, grads } = this.gradients(batch, targets, step, micro);
    const updates = [...grads].map(([path, g]) => {
      let sum = this.accumulators.get(path);
      if (!sum)
        this.accumulators.set(
          path,
          (sum = parameter(zeros(g.shape, { dtype: g.dtype }), { trainable: false })),
        );
      return sum.assign(micro === 0 ? g : sum.add(g));
    });
    await evaluate(value, ...updates);
    return value.item();
  }

  /**
   * Gradients scaled to the norm that is allowed, and the squared norm of each. Lazy. Where the loss or a gradient is not
   * finite the update is one of zeros, so that the parameters still tell what was wrong with them.
   */
  private clip(grads: Map<string, Tensor>, loss: Tensor): { clipped: Map<string, Tensor>; norms: Tensor } {
    const norms = stack(this.paths.map((path) => grads.get(path)!.astype("f32").square().sum()));
    const { clipNorm = 1 } = this.options;
    const total = norms.sum();
    const finite = isfinite(total.add(loss.astype("f32")));
    // min(1, max / (‖g‖ + 1e-6)), arXiv:1211.5063, section 3.2
    const factor = clipNorm === null ? null : minimum(total.sqrt().add(1e-6).pow(-1).mul(clipNorm), 1);
    const clipped = [...grads].map(([path, g]): [string, Tensor] => {
      const scaled = factor === null ? g : g.mul(factor.astype(g.dtype));
      return [path, where(finite, scaled, zerosLike(scaled))];
    });
    return { clipped: new Map(clipped), norms };
  }

  private async evaluate(): Promise<void> {
    const began = performance.now();
    const loss = await this.options.evaluate!.loss();
    const best = this.state.bestLoss === null || loss < this.state.bestLoss;
    this.state = {
      ...this.state,
      bestLoss: best ? loss : this.state.bestLoss,
      evaluationsSinceBest: best ? 0 : this.state.evaluationsSinceBest + 1,
      evaluatedStep: this.state.step,
    };
    this.emit({
      type: "eval",
      step: this.state.step,
      loss,
      perplexity: Math.exp(loss),
      best,
      ms: performance.now() - began,
    });
  }

  /** Saves, if there is somewhere to save to and something new. */
  private async save(): Promise<void> {
    const { save, optimizer } = this.options;
    const { step } = this.state;
    if (!save || step === this.savedStep) return;
    const began = performance.now();
    await this.checkFinite();
    const path = await saveCheckpoint(save, { trained: this.trained, optimizer }, this.state);
    this.savedStep = step;
    this.emit({ type: "save", step, path, ms: performance.now() - began });
  }

  /** An update can overflow after a loss that was finite; such parameters are not worth keeping. */
  private async checkFinite(): Promise<void> {
    const [path] = await notFinite([...this.trained]);
    if (path === undefined) return;
    throw new ConfigError({
      where: `train, step ${this.state.step}`,
      expected: "finite parameters to save",
      got: `values that are not finite in ${path}`,
      hint: "lower the learning rate; the earlier checkpoints are as they were",
    });
  }

  private async goOn(found: FoundCheckpoint): Promise<void> {
    const { save, optimizer, data } = this.options;
    for (const { path, reason } of found.broken) {
      this.emit({
        type: "warning",
        message: `${path} is not whole (${reason}); going back to ${found.path}`,
      });
    }
    this.state = await loadCheckpoint(
      found.path,
      { trained: this.trained, optimizer },
      this.state.settings,
      save!,
    );
    this.savedStep = found.step;
    data.position = this.state.position;
    this.emit({ type: "resume", step: this.state.step, path: found.path });
  }

  private emit(event: TrainEvent): void {
    this.log?.add(event);
    this.options.onEvent?.(event);
  }
}
