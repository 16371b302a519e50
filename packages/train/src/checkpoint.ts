import {
  type FileLayer,
  hostFiles,
  loadTensor,
  openSafetensors,
  recoverFolder,
  safetensorsChunks,
  storedTensor,
  verifyFolder,
  writeFolderAtomic,
} from "@lowrank/models";
import { checkState } from "@lowrank/nn";
import type { Updater } from "@lowrank/optim";
import { ConfigError, type Parameter, type Tensor } from "@lowrank/tensor";
import { checkSettings, parseRunState, type RunState } from "./run-state.js";

export interface CheckpointStore {
  /** Folder that holds the checkpoints, made if missing. */
  folder: string;
  /** Whole checkpoints kept, the newest. Default 2, the least that survives a broken one. */
  keep?: number;
  /** Where files live. Default: the host's file system. */
  layer?: FileLayer;
  /** Called around each operation of a save, for tests that stop there. */
  onPoint?: (point: string) => void | Promise<void>;
  /** Stops a save between two pieces; nothing is left behind. */
  signal?: AbortSignal;
}

/** A checkpoint that is whole, and newer ones that are not, with the reasons. */
export interface FoundCheckpoint {
  path: string;
  step: number;
  broken: { path: string; reason: string }[];
}

/** What a run has in hand: parameters by path, and the optimizer that holds them. */
export interface RunTensors {
  trained: ReadonlyMap<string, Parameter>;
  optimizer: Updater;
}

const PARAMETERS = "parameters.safetensors";
const OPTIMIZER = "optimizer.safetensors";
const STATE = "state.json";
const NAME = /^step-(\d{6,})$/;
const LEFTOVER = /^(step-\d{6,})\.[0-9a-f]{12}\.(?:tmp|old)$/;
const nameOf = (step: number): string => `step-${String(step).padStart(6, "0")}`;
const join = (folder: string, name: string): string => `${folder.replace(/[/\\]+$/, "")}/${name}`;

/**
 * Saves all that a run needs to go on: trained parameters, optimizer state, place in the data. The folder appears whole
 * or not at all, with a manifest of sizes and SHA-256; only then are older ones removed, and never one of the newest
 * `keep` that verify.
 *
 * @returns The path of the checkpoint.
 * @throws WriteError if something could not be written; earlier checkpoints are as they were.
 */
export async function saveCheckpoint(
  store: CheckpointStore,
  { trained, optimizer }: RunTensors,
  state: RunState,
): Promise<string> {
  const { folder, layer = hostFiles(), onPoint, signal } = store;
  const path = join(folder, nameOf(state.step));
  const chunks = (tensors: ReadonlyMap<string, Tensor>) =>
    safetensorsChunks(new Map([...tensors].map(([name, t]) => [name, storedTensor(t)])));
  await writeFolderAtomic(
    path,
    [
      [PARAMETERS, chunks(trained)],
      [OPTIMIZER, chunks(optimizer.state().tensors)],
      [STATE, `${JSON.stringify({ ...state, optimizerStep: optimizer.stepCount }, null, 1)}\n`],
    ],
    { manifest: { step: state.step }, replace: true, layer, onPoint, signal },
  );
  await prune(store, path);
  return path;
}

/** Removes what is older than the newest `keep` checkpoints that verify. `fresh` was just written. */
async function prune(
  { folder, keep = 2, layer = hostFiles(), onPoint }: CheckpointStore,
  fresh: string,
): Promise<void> {
  let whole = 0;
  for (const { name } of await steps(folder, layer)) {
    const path = join(folder, name);
    if (whole >= Math.max(2, keep)) {
      await onPoint?.(`before remove ${name}`);
      await layer.remove(path);
      await onPoint?.(`after remove ${name}`);
    } else if (path === fresh || (await reasonBroken(path, layer)) === null) whole++;
  }
}

/** Why a checkpoint cannot be used, or null if it is whole. */
async function reasonBroken(path: string, layer: FileLayer): Promise<string | null> {
  try {
    await verifyFolder(path, { layer });
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Checkpoints in a folder by name, the newest first. */
async function steps(folder: string, layer: FileLayer): Promise<{ name: string; step: number }[]> {
  if (!(await layer.exists(folder))) return [];
  const found: { name: string; step: number }[] = [];
  for (const name of await layer.list(folder)) {
    const match = NAME.exec(name);
    if (match) found.push({ name, step: Number(match[1]) });
  }
  return found.sort((a, b) => b.step - a.step);
}

/** Whether a folder holds checkpoints, whole or not. */
export async function hasCheckpoint({ folder, layer = hostFiles() }: CheckpointStore): Promise<boolean> {
  return (await steps(folder, layer)).length > 0;
}

/**
 * The newest checkpoint that is whole, and those passed over with the reason. Null if there is none.
 *
 * @throws ConfigError if there are checkpoints and none is whole.
 */
export async function findCheckpoint({
  folder,
  layer = hostFiles(),
}: CheckpointStore): Promise<FoundCheckpoint | null> {
  const broken: FoundCheckpoint["broken"] = [];
  for (const { name, step } of await steps(folder, layer)) {
    const path = join(folder, name);
    const reason = await reasonBroken(path, layer);
    if (reason === null) return { path, step, broken };
    broken.push({ path, reason });
  }
  if (broken.length === 0) return null;
  throw new ConfigError({
    where: folder,
    expected: "a checkpoint that is whole",
    got: broken.map((b) => b.reason).join("; "),
    hint: "remove the folder to begin anew",
  });
}

/** Clears up in a folder of checkpoints after a save that was cut off. */
export async function sweep({ folder, layer = hostFiles() }: CheckpointStore): Promise<void> {
  if (!(await layer.exists(folder))) return;
  const cutOff = new Set<string>();
  for (const name of await layer.list(folder)) {
    const match = LEFTOVER.exec(name);
    if (match) cutOff.add(match[1]!);
  }
  for (const name of cutOff) await recoverFolder(join(folder, name), { layer });
}

/**
 * Goes back to a checkpoint. Everything is read and compared before anything is changed.
 *
 * @throws ConfigError if it is of another model, adapter or run; FormatError for a damaged file.
 */
export async function loadCheckpoint(
  path: string,
  { trained, optimizer }: RunTensors,
  settings: RunState["settings"],
  { layer = hostFiles() }: { layer?: FileLayer } = {},
): Promise<RunState> {
  const where = join(path, STATE);
  const text = new TextDecoder().decode(await readAll(layer, where));
  const { optimizerStep, ...state } = parseRunState(text, where);
  checkSettings(path, settings, state.settings);
  const parameters = await readTensors(layer, join(path, PARAMETERS));
  checkState(`resume from ${path}`, trained, parameters);
  const tensors = await readTensors(layer, join(path, OPTIMIZER));
  optimizer.loadState({ step: optimizerStep, tensors });
  for (const [name, parameter] of trained) parameter.replace(parameters.get(name)!);
  return state;
}

async function readAll(layer: FileLayer, path: string): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for await (const piece of layer.read(path)) pieces.push(piece);
  const all = new Uint8Array(pieces.reduce((size, piece) => size + piece.byteLength, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.byteLength;
  }
  return all;
}

async function readTensors(layer: FileLayer, path: string): Promise<Map<string, Tensor>> {
  const file = await openSafetensors(await readAll(layer, path), path);
  try {
    const tensors = new Map<string, Tensor>();
    for (const [name, entry] of file.tensors) tensors.set(name, await loadTensor(entry, path));
    return tensors;
  } finally {
    await file.close();
  }
}
