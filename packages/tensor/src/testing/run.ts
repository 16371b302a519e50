import { Assignment } from "../cell.js";
import { setDefaultBackend } from "../default-backend.js";
import type { Backend } from "../device.js";
import { evaluate } from "../evaluate.js";
import type { Tensor } from "../tensor.js";
import type { Result } from "./compare.js";

/** Tensors to read, and assignments that belong to the same evaluation; their parameters are read afterwards. */
export type Wanted = Tensor | Assignment;

/**
 * Builds a graph, evaluates it as one plan on a backend and reads the results. The backend stays the default one.
 */
export async function runOn(backend: Backend, build: () => readonly Wanted[]): Promise<Result[]> {
  setDefaultBackend(backend);
  const roots = build();
  await evaluate(...roots);
  const results: Result[] = [];
  for (const root of roots) {
    const t = root instanceof Assignment ? root.target : root;
    results.push({ dtype: t.dtype, dims: t.shape, data: await t.data() });
  }
  return results;
}
