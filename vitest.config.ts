import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const packages = fileURLToPath(new URL("./packages/", import.meta.url));

export default defineConfig({
  resolve: {
    // Tests run on the sources of every package, never on a stale build.
    alias: [
      { find: /^@lowrank\/([a-z-]+)$/, replacement: `${packages}$1/src/index.ts` },
      { find: /^@lowrank\/([a-z-]+)\/([a-z-]+)$/, replacement: `${packages}$1/src/$2.ts` },
    ],
  },
  test: {
    pool: "forks",
    // The Wasm kernels are sources too: compiled anew when they are missing or have changed.
    globalSetup: ["packages/backend-wasm/scripts/vitest-setup.mjs"],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    include: [
      "packages/*/src/**/*.test.ts",
      "packages/*/test/**/*.test.ts",
      "examples/*/{src,test}/**/*.test.ts",
      "benchmarks/{src,test}/**/*.test.ts",
      "scripts/**/*.test.ts",
    ],
  },
});
