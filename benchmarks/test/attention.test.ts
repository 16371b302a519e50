import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import type { AttentionDecode, AttentionLine, AttentionLoss } from "../src/attention.js";
import { attentionModel, KINDS, type KindName, LAYERS, WIDTH } from "../src/attention-models.js";
import { attentionMarkdown } from "../src/attention-results.js";

const lines = readFileSync(fileURLToPath(new URL("../results/attention.jsonl", import.meta.url)), "utf8")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line) as AttentionLine);
const losses = lines.filter((l): l is AttentionLoss => l.row === "loss");
const decodes = lines.filter((l): l is AttentionDecode => l.row === "decode");
const kinds = Object.keys(KINDS) as KindName[];

/** Numbers of a token and layer: 2 n d, 2 g d, latent and turning part, 2 C, C. */
const CACHED: Readonly<Record<KindName, number>> = { MHA: 256, GQA: 128, MLA: 80, MFA: 96, "MFA-KR": 48 };

test("models have as many parameters as the one with MHA, to one in 500, and its cache's formula", () => {
  const of = (kind: KindName): number => attentionModel(kind, 1, 128).countParameters().total;
  for (const kind of kinds) {
    expect(Math.abs(of(kind) / of("MHA") - 1), kind).toBeLessThan(1 / 500);
    const model = attentionModel(kind, 1, 128);
    const cache = model.newCache({ capacity: 10 });
    expect(cache.sizeBytes, kind).toBe(10 * LAYERS * CACHED[kind] * 4);
  }
  expect(CACHED.MHA).toBe(2 * WIDTH);
});

test("the kept run: five kinds, three seeds each, trained alike, with the bytes that the formulas say", () => {
  expect([...new Set(losses.map((l) => l.kind))].sort()).toEqual([...kinds].sort());
  for (const kind of kinds) {
    const own = losses.filter((l) => l.kind === kind);
    expect(own.map((l) => l.seed)).toEqual([1, 2, 3]);
    for (const l of own) {
      expect([l.steps, l.batch, l.length]).toEqual([losses[0]!.steps, losses[0]!.batch, losses[0]!.length]);
      expect(l.cache_bytes_per_token).toBe(LAYERS * CACHED[kind] * 4);
      expect(l.cache_bytes_per_token_f16).toBe(LAYERS * CACHED[kind] * 2);
      // Far below 256 tokens alike, 5.55 nats; a kind that does not train would be found.
      expect(l.held_out_loss).toBeLessThan(2);
    }
  }
  for (const d of decodes) expect(d.cache_bytes % (LAYERS * CACHED[d.kind] * 4)).toBe(0);
});

test("results tell of each kind's loss, cache and time", () => {
  const text = attentionMarkdown(lines);
  for (const part of ["| MFA-KR |", "384 B", "18.8 %", "held-out loss", "behind 4,096"])
    expect(text).toContain(part);
});
