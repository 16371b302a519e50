import { webgpu } from "@lowrank/backend-webgpu";
import { checkOp, drawCase, opCases } from "@lowrank/tensor/testing";

/** What the ops gave on WebGPU, each against the reference. */
export interface OpsOutcome {
  readonly checked: number;
  readonly faults: readonly string[];
  readonly milliseconds: number;
}

/** One case of every op in each of its dtypes that GPUs have. */
export async function checkOps(): Promise<OpsOutcome> {
  const began = performance.now();
  const backend = await webgpu();
  const faults: string[] = [];
  let checked = 0;
  for (const one of opCases()) {
    for (const dtype of one.dtypes) {
      if (dtype === "f64") continue;
      checked++;
      try {
        await checkOp(backend, drawCase(one, dtype, 1));
      } catch (error) {
        faults.push(`${one.op.name} ${dtype}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
  }
  await backend.dispose();
  return { checked, faults, milliseconds: Math.round(performance.now() - began) };
}
