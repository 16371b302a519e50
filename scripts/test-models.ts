import { existsSync } from "node:fs";
import { join } from "node:path";

/** Real models that are too large for the repository; `.ci/models.sh` says where they come from. */
export type TestModel = "SmolLM2-135M-Instruct.Q4_1.gguf" | "all-MiniLM-L6-v2";

const folder = process.env["LOWRANK_TEST_MODELS"];

/** Why tests on real models are skipped, or null. Where the folder is named, they are not skipped. */
export const noTestModels: string | null = folder
  ? null
  : "no real models: LOWRANK_TEST_MODELS names no folder (source .ci/models.sh; fetch_models FOLDER)";

if (noTestModels) console.warn(`skipped: ${noTestModels}`);

/** Path of a real model. Throws where the folder does not hold it. */
export function testModel(name: TestModel): string {
  if (!folder) throw new Error(String(noTestModels));
  const path = join(folder, name);
  if (!existsSync(path))
    throw new Error(`LOWRANK_TEST_MODELS: expected ${name} in ${folder}, got no such file`);
  return path;
}
