import { type DawnBackend, type DawnOptions, dawn, findAdapter } from "../src/index.js";

/** LOWRANK_REQUIRE_GPU=1 makes a machine without an adapter fail, where tests would be skipped otherwise. */
const required = process.env["LOWRANK_REQUIRE_GPU"] === "1";

/** Why there are no tests on a GPU here, or null. */
export const noGpu: string | null = await (async () => {
  if (required) return null;
  try {
    await findAdapter();
    return null;
  } catch (error) {
    return (error as Error).message;
  }
})();

if (noGpu) console.warn(`skipped, no GPU: ${noGpu}`);

/** A backend for tests: checked by Dawn in full, as it is for users. */
export const gpu = (options: DawnOptions = {}): Promise<DawnBackend> => dawn(options);
