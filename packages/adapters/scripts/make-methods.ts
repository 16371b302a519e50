/**
 * Makes the folders `ours` in `test/goldens/methods`: an adapter of each method that PEFT has, saved by this library.
 *
 *     npx tsx --tsconfig packages/adapters/tsconfig.json packages/adapters/scripts/make-methods.ts [METHOD ...]
 *     venv/bin/python packages/adapters/test/goldens/make_methods.py --ours [METHOD ...]
 *
 * The second command records what PEFT computes with them. Without names, of all methods.
 */
import { fileURLToPath } from "node:url";
import { attach, savePeft } from "@lowrank/adapters";
import { setDefaultBackend } from "@lowrank/tensor";
import { reference } from "@lowrank/tensor/reference";
import { readGoldens } from "../../models/test/golden-files.js";
import { randomised } from "../test/layers.js";
import { methods, networkOf } from "../test/methods.js";

setDefaultBackend(reference());
const at = (path: string): string =>
  fileURLToPath(new URL(`../test/goldens/methods/${path}`, import.meta.url));
for (const [name, { adapter, config, targets }] of Object.entries(methods)) {
  if (process.argv.length > 2 && !process.argv.includes(name)) continue;
  const { net, base: file } = networkOf(name);
  const base = await readGoldens(at(file));
  for (const [path, p] of net.parameters()) p.replace(base.tensor(path));
  const adapted = await randomised(attach(net, adapter, config, { targets }), 5, 0.5);
  await savePeft(adapted, at(`${name}/ours`), { replace: true });
}
