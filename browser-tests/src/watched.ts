import { webgpu } from "@lowrank/backend-webgpu";
import { setDefaultBackend } from "@lowrank/tensor";
import { fineTune } from "./program.js";

export interface Watched {
  readonly losses: number[];
  readonly trained: number[];
}

/** Trains on WebGPU and tells of each step, so that what becomes of the page can happen in the midst of it. */
export async function watchedTraining(steps: number, onStep: (done: number) => void): Promise<Watched> {
  const backend = await webgpu();
  setDefaultBackend(backend);
  const lost = backend.lost.then((error) => {
    throw error;
  });
  const { losses, trained } = await Promise.race([fineTune(steps, onStep), lost]);
  return { losses, trained };
}

/** The events of the page's life from now on. */
export function lifeOf(page: Document): string[] {
  const events: string[] = [];
  page.addEventListener("visibilitychange", () => events.push(page.visibilityState));
  for (const name of ["freeze", "resume"]) page.addEventListener(name, () => events.push(name));
  return events;
}
