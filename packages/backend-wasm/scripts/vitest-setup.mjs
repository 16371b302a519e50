// vitest's global setup: tests run on the sources, so the kernels must be compiled from the sources as they are. Kernels
// that do not compile stop the build; here, where most tests need none of them, the last ones that did are used.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { buildExtensionOf, generatedOf } from "./build-extension.mjs";
import { buildWasm, isBuilt } from "./build-wasm.mjs";

export default async function setup() {
  await build("build-wasm", buildWasm, isBuilt);
  for (const name of ["linalg", "backend-native"]) {
    const root = fileURLToPath(new URL(`../../${name}`, import.meta.url));
    await build(
      `build-extension of ${name}`,
      () => buildExtensionOf(root),
      () => existsSync(generatedOf(root)),
    );
  }
}

async function build(name, run, isThere) {
  try {
    await run();
  } catch (error) {
    if (!isThere()) throw error;
    console.error(`${error.message}\n${name}: testing with the kernels of the last build that succeeded`);
  }
}
