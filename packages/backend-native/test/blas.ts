import { type NativeBackend, type NativeOptions, native } from "../src/index.js";

/** LOWRANK_REQUIRE_BLAS=1 makes a machine without a library fail, where tests would be skipped otherwise. */
const required = process.env["LOWRANK_REQUIRE_BLAS"] === "1";

/** Why there are no tests of a library here, or null. */
export const noBlas: string | null = await (async () => {
  if (required) return null;
  let reason: string | null = null;
  const backend = await native({
    threads: 1,
    onFallback: (message) => {
      reason = message;
    },
  });
  backend.dispose();
  return reason;
})();

if (noBlas) console.warn(`skipped: ${noBlas}`);

/** The backend with a library, or an error. */
export const blas = (options: NativeOptions = {}): Promise<NativeBackend> =>
  native({
    ...options,
    onFallback: (message) => {
      throw new Error(message);
    },
  });
