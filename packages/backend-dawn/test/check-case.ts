import type { Backend } from "@lowrank/tensor";
import { checkOp, type OpCase, tensorOf } from "@lowrank/tensor/testing";
import { expect } from "vitest";

/** What gives f64 is refused, everything else agrees with the reference. */
export async function checkCase(backend: Backend, one: OpCase): Promise<void> {
  const wide = one.build(one.inputs.map(tensorOf)).some((t) => t.dtype === "f64");
  const done = checkOp(backend, one);
  if (wide) await expect(done).rejects.toThrow("got f64, which GPUs of the web do not have");
  else await done;
}
