import { expect, test } from "vitest";
import { pairedMarkdown } from "../src/cost-results.js";
import { measurePairs, type PairedSample, summarizePairs } from "../src/paired.js";
import { pairedTable } from "../src/table.js";

const sample = (side: "before" | "after", pair: number, wall_s: number): PairedSample => ({
  bench: "paired",
  row: "quickstart",
  side,
  commit: side === "before" ? "a".repeat(40) : "b".repeat(40),
  pair,
  steps: 20,
  threads: 2,
  wall_s,
  training_s: wall_s / 2,
  perplexity_after: 110,
});

test("the ratio is that of the medians, and each pair is kept", () => {
  const samples = [
    sample("before", 1, 90),
    sample("after", 1, 45),
    sample("after", 2, 40),
    sample("before", 2, 100),
    sample("before", 3, 300),
    sample("after", 3, 50),
  ];
  const found = summarizePairs(samples);
  expect(found).toMatchObject({
    pairs: 3,
    wall_ratio: 2.222,
    training_ratio: 2.222,
    wall_ratios: [2, 2.5, 6],
    wall_s: { before: 100, after: 45 },
  });
  expect(pairedTable(samples, found)).toMatch(/2\.22 × as fast/);
  expect(pairedMarkdown([...samples, found])).toContain(
    "| 2 | 100.00 | 40.00 | 2.50 | 50.00 | 20.00 | 2.50 |",
  );
  expect(() => summarizePairs(samples.slice(1))).toThrow("expected whole pairs, got 2 and 3 runs");
});

test("a commit that there is not is named", async () => {
  const asked = measurePairs({ before: "no-such-commit", after: "HEAD", pairs: 1, steps: 1 });
  await expect(asked).rejects.toThrow(/^bench paired: git rev-parse --verify no-such-commit/);
});
