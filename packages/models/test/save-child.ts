/** Saves a folder and kills its own process at a named point. Started by atomic-write.test.ts. */
import { writeFolderAtomic } from "../src/atomic-write.js";

const [target, content, killAt] = process.argv.slice(2) as [string, string, string];
const pieces = ["first ", "second ", content].map((text) => new TextEncoder().encode(text));
await writeFolderAtomic(
  target,
  { "weights.bin": pieces, "state.json": JSON.stringify({ content }) },
  {
    manifest: { content },
    replace: true,
    onPoint(point) {
      if (killAt === "list") console.log(point);
      if (point === killAt) process.kill(process.pid, "SIGKILL");
    },
  },
);
