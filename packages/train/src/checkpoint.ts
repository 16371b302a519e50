import {
  type FileLayer,
  hostFiles,
  loadTensor,
  openSafetensors,
  safetensorsChunks,
  storedTensor,
  verifyFolder,
  writeFolderAtomic,
} from "@lowrank/models";
import { checkState } from "@lowrank/nn";
import type { Optimizer } from "@lowrank/optim";
import { ConfigError, type Parameter, type Tensor } from "@lowrank/tensor";
import type { DataPosition } from "./data.js";

/** What a run remembers beside weights and optimizer, as JSON. */
export interface RunState {
  /** Optimizer steps done. */
  step: number;
  position: DataPosition;
  /** Tokens trained on. */
  tokens: number;
  /** Lowest held-out loss so far, and the evaluations since. */
  bestLoss: number | null;
  evaluationsSinceBest: number;
  /** What must be the same for a run to go on: seed, sizes and the like, compared on resume. */
  settings: Readonly<Record<string, string | number | boolean>>;
}

export interface CheckpointStore {
  /** Folder that holds the checkpoints, made if missing. */
  folder: string;
  /** Checkpoints kept, the newest. Default 2, the least that survives a broken one. */
  keep?: number;
  layer?: FileLayer;
  onPoint?: (point: string) => void | Promise<void>;
  signal?: AbortSignal;
}

const NAME = /^step-(\d{6,})$/;
const nameOf = (step: number): string => `step-${String(step).padStart(6, "0")}`;
const join = (folder: string, name: string): string => `${folder.replace(/[/\\]+$/, "")}/${name}`;

/**
 * Saves all that a run needs to go on: trained parameters, optimizer state, place in the data. The folder appears whole
 * or not at all, with a manifest of sizes and SHA-256; only then are older ones removed.
 */
export async function saveCheckpoint(
  { folder, keep = 2, layer = hostFiles(), onPoint, signal }: CheckpointStore,
  trained: ReadonlyMap<string, Parameter>,
  optimizer: Optimizer,
  state: RunState,
): Promise<string> {
  const path = join(folder, nameOf(state.step));
  if (!(await layer.exists(folder))) await layer.makeFolder(folder);
  const chunks = (tensors: ReadonlyMap<string, Tensor>) =>
    safetensorsChunks(new Map([...tensors].map(([name, t]) => [name, storedTensor(t)])));
  await writeFolderAtomic(
    path,
    [
      ["parameters.safetensors", chunks(trained)],
      ["optimizer.safetensors", chunks(optimizer.state().tensors)],
      ["state.json", `${JSON.stringify({ ...state, optimizerStep: optimizer.stepCount }, null, 1)}\n`],
    ],
    { manifest: { step: state.step }, replace: true, layer, onPoint, signal },
  );
  const names = (await steps(folder, layer)).map(({ name }) => name);
  for (const name of names.slice(Math.max(keep, 2))) await layer.remove(join(folder, name));
  return path;
}

/** Checkpoints of a folder, the newest first. */
async function steps(folder: string, layer: FileLayer): Promise<{ name: string; step: number }[]> {
  if (!(await layer.exists(folder))) return [];
  const found: { name: string; step: number }[] = [];
  for (const name of await layer.list(folder)) {
    const match = NAME.exec(name);
    if (match) found.push({ name, step: Number(match[1]) });
  }
  return found.sort((a, b) => b.step - a.step);
}

/** The newest checkpoint that is whole, and those passed over with the reason. Null if there is none. */
export async function findCheckpoint({
  folder,
  layer = hostFiles(),
}: CheckpointStore): Promise<{
  path: string;
  step: number;
  broken: { path: string; reason: string }[];
} | null> {
  const broken: { path: string; reason: string }[] = [];
  for (const { name, step } of await steps(folder, layer)) {
    const path = join(folder, name);
    try {
      await verifyFolder(path, { layer });
      return { path, step, broken };
    } catch (error) {
      broken.push({ path, reason: error instanceof Error ? error.message : String(error) });
    }
  }
  if (broken.length) {
    throw new ConfigError({
      where: folder,
      expected: "a checkpoint that is whole",
      got: broken.map((b) => b.reason).join("; "),
      hint: "remove the folder to begin anew",
    });
  }
  return null;
}

/** Removes what saves that were cut off have left in a folder of checkpoints. */
export async function sweep({ folder, layer = hostFiles() }: CheckpointStore): Promise<void> {
  if (!(await layer.exists(folder))) return;
  for (const name of await layer.list(folder)) {
    if (/^step-\d+\.[0-9a-f]{12}\.(tmp|old)$/.test(name)) await layer.remove(join(folder, name));
  }
}

/**
 * Goes back to a checkpoint. Everything is read and compared before anything is changed.
 *
 * @throws ConfigError if it is of another model, adapter or run.
 */
export async function loadCheckpoint(
  path: string,
  trained: ReadonlyMap<string, Parameter>,
  optimizer: Optimizer,
  settings: RunState["settings"],
): Promise<RunState> {
  const read = async (name: string): Promise<Map<string, Tensor>> => {
    const file = await openSafetensors(join(path, name));
    try {
      const tensors = new Map<string, Tensor>();
      for (const [key, entry] of file.tensors) tensors.set(key, await loadTensor(entry, join(path, name)));
      return tensors;
    } finally {
      await file.close();
    }
  };
  const chunks: Uint8Array[] = [];
  for await (const chunk of hostFiles().read(join(path, "state.json"))) chunks.push(chunk);
  const text = chunks.map((c) => new TextDecoder().decode(c)).join("");
  const state = JSON.parse(text) as RunState & { optimizerStep: number };
  const differing = Object.keys({ ...settings, ...state.settings }).filter(
    (k) => settings[k] !== state.settings[k],
  );
  if (differing.length) {
    const k = differing[0]!;
    throw new ConfigError({
      where: `resume from ${path}`,
      expected: `${k} ${String(state.settings[k])}, as the run began`,
      got: String(settings[k]),
      hint: "resume with the settings of that run, or choose another folder",
    });
  }
  const parameters = await read("parameters.safetensors");
  checkState(`resume from ${path}`, trained, parameters);
  const tensors = await read("optimizer.safetensors");
  optimizer.loadState({ step: state.optimizerStep, tensors });
  for (const [name, parameter] of trained) parameter.replace(parameters.get(name)!);
  return state;
}
