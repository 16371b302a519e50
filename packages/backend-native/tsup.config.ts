import { library } from "../../tsup.base.js";

// CommonJS gets an `import.meta.url` too: koffi is looked for from there.
export default library({
  entry: ["src/index.ts", "src/kernel.ts"],
  shims: true,
  platform: "node",
  splitting: false,
});
