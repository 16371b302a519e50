import { expect, test } from "vitest";
import { openGguf } from "../../src/gguf.js";
import { mutateBytes } from "../safetensors-mutator.js";
import { describeGguf, describeOpened, encodeDescribed, mutateGguf } from "./gguf-file.js";
import { upTo } from "./random.js";
import { runMutants } from "./run-mutants.js";

test("10,000 bent GGUF files are each refused or written back byte by byte", async () => {
  await runMutants({
    seed: 8,
    leastRules: 30,
    make(random) {
      const file = describeGguf(random);
      for (let n = upTo(random, 3); n > 0; n--) mutateGguf(file, random);
      let input = encodeDescribed(file);
      if (random() < 0.2 && input.length > 0) input = mutateBytes(input, random);
      return { input, sizeBytes: input.length };
    },
    async parse(input) {
      const file = await openGguf(input, "mutant.gguf");
      expect(encodeDescribed(await describeOpened(file))).toEqual(input);
      await file.close();
    },
  });
});
