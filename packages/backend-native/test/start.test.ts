import { expect, test } from "vitest";
import { blas, noBlas } from "./blas.js";

// A thread that is ended while it loads the library takes the whole process with it.
test.skipIf(noBlas)("a backend may be disposed of at any time after its start", async () => {
  for (let wait = 0; wait <= 60; wait += 4) {
    const backend = await blas({ threads: 3 });
    expect(backend.threads).toBe(3);
    await new Promise((done) => setTimeout(done, wait));
    backend.dispose();
  }
});
