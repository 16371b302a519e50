import {
  type ByteInput,
  type CausalLM,
  dryRun,
  type FolderInput,
  fromPretrained,
  generate,
  type MachineSpeed,
  measureSpeed,
  residentBytes,
  secondsOf,
} from "@lowrank/models";
import { QuantizedWeight } from "@lowrank/nn";
import { AdamW } from "@lowrank/optim";
import { ConfigError, type DType, dtypeBytes, type Parameter } from "@lowrank/tensor";
import { TrainingData } from "./data.js";
import { IGNORED } from "./example.js";
import { train } from "./trainer.js";

/** A text to be made: a prompt of so many tokens, and so many new ones. */
export interface GenerateTask {
  readonly kind: "generate";
  readonly promptTokens: number;
  readonly newTokens: number;
  /** Storage type of keys and values. Default f32. */
  readonly cacheDtype?: DType;
}

/** Steps of training as {@link train} takes them. */
export interface TrainTask {
  readonly kind: "train";
  /** Tokens in a row. */
  readonly length: number;
  /** Rows in a batch. */
  readonly batch: number;
  /** Puts what is trained onto the model, an adapter for example. Default: all parameters are trained. */
  readonly adapt?: (model: CausalLM) => unknown;
  readonly accumulate?: number;
  readonly checkpointLayers?: boolean;
  readonly lossRows?: number;
  /** Steps in all, for the time. Default 1. */
  readonly steps?: number;
}

export interface EstimateOptions {
  /** Precision in which the weights are kept. Default "stored". */
  dtype?: DType | "stored";
  /** Speed of the machine. Default: it is measured now. */
  speed?: MachineSpeed;
}

/** What a run will take. */
export interface Estimate {
  /** Numbers of the model, adapters included, and those of them that are trained. */
  readonly parameters: number;
  readonly trainable: number;
  /** Bytes of all parameters in their storage. */
  readonly weightBytes: number;
  /** Bytes of tensors and temporaries at the highest. */
  readonly tensorBytes: number;
  /**
   * Resident memory at the highest of a process that does this and nothing else: its tensors, and what this process holds
   * without them, graphs, plans and a tokenizer that was loaded before included. In a page, where that is not to be known,
   * the tensors alone.
   */
  readonly peakBytes: number;
  /** Seconds until the first new token, or of one step of training. */
  readonly firstSeconds: number;
  /** Seconds of each further token or step. */
  readonly nextSeconds: number;
  /** Seconds of the whole task, without loading. */
  readonly seconds: number;
}

/**
 * Predicts what a run on a model will take on this machine, from what describes the weights (`config.json` and the headers
 * of the files) without reading any of them. The program itself is run with its numbers left out, so that what is counted is
 * what the real run allocates; see `dryRun`.
 *
 * Nothing else may compute meanwhile.
 *
 * @example
 * ```ts
 * const { peakBytes, seconds } = await estimate("path/to/model", { kind: "generate", promptTokens: 200, newTokens: 100 });
 * ```
 * @throws what loading the model would throw for its configuration or headers, and ConfigError for a task that the model
 * cannot do.
 */
export async function estimate(
  input: FolderInput | ByteInput,
  task: GenerateTask | TrainTask,
  { dtype = "stored", speed }: EstimateOptions = {},
): Promise<Estimate> {
  const before = residentBytes();
  const work = async (runsSoFar: () => number) => {
    const model = await fromPretrained(input, { dtype, resident: true, outline: true });
    const largest = Math.max(...[...model.parameters()].map(([, p]) => hostBytes(p)));
    const counts = await perform(model, task, runsSoFar);
    return { counts, weightBytes: weightBytesOf(model), largest };
  };
  const dry = await dryRun(work, { costs: false });
  const { counts, weightBytes, largest } = dry.result;
  // While the weights are read, the largest of them is on the host too; what the work needs comes after that.
  const loading = before + weightBytes + largest;
  const waiting = task.kind === "train" ? WAITING_BYTES : 0;
  const peakBytes = Math.max(loading, dry.residentBytes + dry.peakBytes + waiting);
  // What follows the first token or step, once more of which is all that a longer task has.
  const now = speed ?? (await measureSpeed());
  const { result, runs } = await dryRun(work);
  const [begun, once] = result.counts.marks;
  const further = runs.slice(once);
  const generates = task.kind === "generate";
  const next = secondsOf(further, now) / Math.max(1, generates ? task.newTokens - 1 : DRY_STEPS - 1);
  const first = generates ? secondsOf(runs.slice(begun, once), now) : next;
  const repeats = (generates ? task.newTokens : (task.steps ?? 1)) - 1;
  return {
    parameters: counts.parameters,
    trainable: counts.trainable,
    weightBytes,
    tensorBytes: dry.peakBytes,
    peakBytes,
    firstSeconds: first,
    nextSeconds: next,
    seconds: first + repeats * next,
  };
}

interface Performed {
  readonly parameters: number;
  readonly trainable: number;
  /** Plans that had run before the work, and when the first token or step was done. */
  readonly marks: readonly [begun: number, once: number];
}

async function perform(
  model: CausalLM,
  task: GenerateTask | TrainTask,
  runsSoFar: () => number,
): Promise<Performed> {
  const begun = runsSoFar();
  let once: number | undefined;
  const { vocabSize } = model.config;
  const tokens = (n: number): number[] => Array.from({ length: n }, (_, i) => (i * 7919) % vocabSize);
  if (task.kind === "generate") {
    const { promptTokens, newTokens, cacheDtype } = task;
    const run = generate(model, tokens(promptTokens), {
      greedy: true,
      maxNewTokens: newTokens,
      stopIds: [],
      cacheDtype,
    });
    for await (const _ of run) once ??= runsSoFar();
    return { ...counted(model), marks: [begun, once!] };
  }
  const { length, batch, adapt, accumulate = 1, checkpointLayers, lossRows } = task;
  if (!Number.isInteger(length) || length < 2 || length > model.config.maxPositions) {
    throw new ConfigError({
      where: "estimate",
      expected: `length to be an integer from 2 to the model's ${model.config.maxPositions} positions`,
      got: String(length),
    });
  }
  adapt?.(model);
  const ids = tokens(length);
  const labels = ids.map((id, i) => (i === 0 ? IGNORED : id));
  const rows = Array.from({ length: batch * accumulate }, () => ({ ids, labels }));
  await train({
    model,
    optimizer: new AdamW(model.trainableParameters(), { lr: 1e-4 }),
    data: new TrainingData(rows, { length, batch }),
    steps: DRY_STEPS,
    accumulate,
    checkpointLayers,
    lossRows,
    onEvent: ({ type }) => {
      if (type === "step") once ??= runsSoFar();
    },
  });
  return { ...counted(model), marks: [begun, once!] };
}

/** V8 lets 64 MiB of buffers beside its heap wait for its collector; in runs of training half of that was there. */
const WAITING_BYTES = 32 * 2 ** 20;

/** The first step makes what the optimizer keeps; the second is as all that follow. */
const DRY_STEPS = 2;

function counted(model: CausalLM): Omit<Performed, "marks"> {
  const { total, trainable } = model.countParameters();
  return { parameters: total, trainable };
}

const bytesOf = (p: Parameter): number =>
  p instanceof QuantizedWeight ? p.sizeBytes : p.size * dtypeBytes(p.dtype);

/** What reading a parameter takes on the host: its bytes, and for codes those of the file beside them. */
const hostBytes = (p: Parameter): number => (p instanceof QuantizedWeight ? 2 : 1) * bytesOf(p);

function weightBytesOf(model: CausalLM): number {
  let bytes = 0;
  for (const [, p] of model.parameters()) bytes += bytesOf(p);
  return bytes;
}
