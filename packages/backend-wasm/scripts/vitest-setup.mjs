// vitest's global setup: tests run on the sources, so the kernels must be compiled from the sources as they are. Kernels
// that do not compile stop the build; here, where most tests need none of them, the last ones that did are used.
import { buildWasm, isBuilt } from "./build-wasm.mjs";

export default async function setup() {
  try {
    await buildWasm();
  } catch (error) {
    if (!isBuilt()) throw error;
    console.error(`${error.message}\nbuild-wasm: testing with the kernels of the last build that succeeded`);
  }
}
