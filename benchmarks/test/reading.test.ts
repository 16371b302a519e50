import { expect, test } from "vitest";
import { reader } from "../src/contenders/reading.js";

test("every byte of each copy is read, copy after copy", async () => {
  const [bytes, copies] = [1000, 3];
  const { memory, read } = await reader(bytes, copies);
  expect(memory.length).toBeGreaterThanOrEqual(bytes * copies);
  const before = Array.from({ length: copies }, () => read());
  expect(before).toEqual([0, 0, 0]);
  const stride = 1024; // 1000 bytes in steps of 128
  for (let copy = 0; copy < copies; copy++) {
    for (let at = 0; at < stride; at += 16) {
      memory[copy * stride + at] = 1;
      const seen = Array.from({ length: copies }, () => read());
      expect(seen).toEqual(seen.map((_, i) => (i === copy ? 1 : 0)));
      memory[copy * stride + at] = 0;
    }
  }
});
