/**
 * Runs the small fine-tune in a folder, going on where it was cut off, and saves the adapter. Kills its own process at
 * a named point of a save, or tells all of them. Started by kill.test.ts.
 */
import { savePeft } from "@lowrank/adapters";
import { wasm } from "@lowrank/backend-wasm";
import { recoverFolder } from "@lowrank/models";
import { setDefaultBackend } from "@lowrank/tensor";
import { train } from "../src/trainer.js";
import { smallRun } from "./small-run.js";

const [folder, steps, every, killAt] = process.argv.slice(2) as [string, string, string, string];

function onPoint(point: string): void {
  const name = point.replace(/(step|run)-\d+/, "$1-N");
  if (killAt === "list") console.log(name);
  if (name === killAt) process.kill(process.pid, "SIGKILL");
}

setDefaultBackend(await wasm({ threads: 1 }));
const { attached, options } = smallRun(Number(steps));
await train({
  ...options,
  save: { folder: `${folder}/checkpoints`, every: Number(every), onPoint },
  resume: true,
  onEvent: (e) => e.type === "resume" && console.log(`resumed after step ${e.step}`),
});
await recoverFolder(`${folder}/adapter`); // of a save that was cut off
await savePeft(attached, `${folder}/adapter`, { replace: true, onPoint });
