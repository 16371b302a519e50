import { library } from "../../tsup.base.js";

export default library({
  // The worker of a browser is loaded by its address, so it must stand alone: nothing shared in chunks.
  entry: ["src/index.ts", "src/thread.ts", "src/kernel.ts", "src/host.ts"],
  splitting: false,
  dts: { entry: ["src/index.ts", "src/kernel.ts", "src/host.ts"] },
  esbuildOptions(options, { format }) {
    // CommonJS has no address of its own; the thread then begins from a blob.
    if (format === "cjs") options.define = { ...options.define, "import.meta.url": "undefined" };
  },
});
