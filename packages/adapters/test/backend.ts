import { type Backend, defaultBackend } from "@lowrank/tensor";
import { reference } from "@lowrank/tensor/reference";

/** The backend that tests run on: the embedded one, or the reference if LOWRANK_TEST_BACKEND says so. */
export const testBackend = async (): Promise<Backend> =>
  process.env["LOWRANK_TEST_BACKEND"] === "reference" ? reference() : defaultBackend();
