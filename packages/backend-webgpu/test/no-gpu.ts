import { dawn } from "@lowrank/backend-dawn";

/** Why there are no tests on a GPU here, or null; LOWRANK_REQUIRE_GPU=1 makes them fail rather than be skipped. */
export const noGpu: string | null = await (async () => {
  if (process.env["LOWRANK_REQUIRE_GPU"] === "1") return null;
  try {
    await (await dawn()).dispose();
    return null;
  } catch (error) {
    return (error as Error).message;
  }
})();

if (noGpu) console.warn(`skipped, no GPU: ${noGpu}`);
