import type { Row } from "./row.js";

/**
 * A program of its own, from before its process starts until it has told what A · B is for A, B [64, 64] in f32. The
 * programs are the files of src/start.
 */
export interface StartSpec {
  kind: "start";
}

export const startRow: Row = { name: "start", tolerance: 1e-5, spec: { kind: "start" }, oneThread: true };
