import { defineConfig, type Options } from "tsup";

/** The build every package shares: ESM and CommonJS side by side, each with its own types. */
export const library = (options: Options = {}): ReturnType<typeof defineConfig> =>
  defineConfig({
    entry: ["src/index.ts"],
    format: ["esm", "cjs"],
    target: "es2022",
    platform: "neutral",
    dts: true,
    clean: true,
    splitting: true,
    treeshake: false,
    sourcemap: false,
    external: [/^@lowrank\//, /^node:/],
    ...options,
  });
