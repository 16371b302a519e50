// vitest's global setup: tests run on the sources, so the kernels must be compiled from the sources as they are.
import { buildWasm } from "./build-wasm.mjs";

export default async function setup() {
  await buildWasm();
}
