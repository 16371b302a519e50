import { Embedding, Linear, Module, RMSNorm } from "@lowrank/nn";
import { ConfigError } from "@lowrank/tensor";
import { describe, expect, test } from "vitest";
import type { Adapter } from "./adapter.js";
import { lora } from "./lora.js";
import { editDistance, nearest } from "./nearest.js";
import { compile, linearCompile } from "./pattern.js";
import { configFor, selectLayers, type TargetSelection } from "./targets.js";

class Layer extends Module {
  q_proj = new Linear(4, 4);
  out_proj = new Linear(4, 4);
  norm = new RMSNorm(4);
}
class Model extends Module {
  readonly outputHead = "head";
  embed = new Embedding(5, 4);
  layers = [new Layer(), new Layer(), new Layer()];
  head = new Linear(4, 5);
}

const erased = lora as unknown as Adapter;
const select = (selection: TargetSelection, how = compile): string[] =>
  selectLayers(new Model(), erased, selection, { compile: how }).map(({ path }) => path);
const q = (...blocks: number[]): string[] => blocks.map((i) => `layers.${i}.q_proj`);

describe("selectLayers", () => {
  test("a name of a list is a whole path or the end of one after a dot", () => {
    expect(select({ targets: ["q_proj"] })).toEqual(q(0, 1, 2));
    expect(select({ targets: ["layers.1.q_proj", "head"] })).toEqual([...q(1), "head"]);
    expect(select({ targets: ["1.q_proj"] })).toEqual(q(1));
    // "proj" ends the word, not the path.
    expect(() => select({ targets: ["proj"] })).toThrow(ConfigError);
  });

  test("a string is a regular expression for the whole path", () => {
    expect(select({ targets: String.raw`layers\.[02]\.q_proj` })).toEqual(q(0, 2));
    expect(() => select({ targets: "q_proj" })).toThrow(/nearest names in the model are "q_proj"/);
  });

  test("all-linear leaves out the output head and embeddings", () => {
    expect(select({ targets: "all-linear" })).toEqual(
      [0, 1, 2].flatMap((i) => [`layers.${i}.q_proj`, `layers.${i}.out_proj`]),
    );
  });

  test("exclude and block numbers narrow the choice", () => {
    expect(select({ targets: ["q_proj"], exclude: ["0.q_proj"] })).toEqual(q(1, 2));
    expect(select({ targets: ["q_proj"], exclude: String.raw`.*\.[01]\..*` })).toEqual(q(2));
    expect(select({ targets: ["q_proj"], layersToTransform: 1 })).toEqual(q(1));
    expect(
      select({ targets: ["q_proj", "head"], layersToTransform: [0, 2], layersPattern: "layers" }),
    ).toEqual(q(0, 2));
    expect(() => select({ targets: ["q_proj"], layersToTransform: 0, layersPattern: "h" })).toThrow(
      ConfigError,
    );
    expect(() => select({ targets: "all-linear", layersToTransform: 0 })).toThrow(
      /targets as a list beside layersToTransform/,
    );
  });

  test("what matches nothing is told with the nearest names", () => {
    expect(() => select({ targets: ["q_porj"] })).toThrow(
      /attach: expected targets that match layers of the model, got "q_porj"; the nearest names in the model are "q_proj", "out_proj"/,
    );
    // A typing error beside names that are right would otherwise pass in silence.
    expect(() => select({ targets: ["out_proj", "q_porj"] })).toThrow(/got "q_porj"/);
    expect(() => select({ targets: [] })).toThrow(/an empty list/);
  });

  test("a module of another kind is told", () => {
    expect(() => select({ targets: ["norm"] })).toThrow(/kind linear or embedding.*got layers\.0\.norm/);
    expect(() => select({ targets: ["1"] })).toThrow(/got layers\.1/);
  });

  test.each(["(?=x)y", "(?<!x)y", "(.)\\1", "a)|(b", "["])("%s is no expression", async (targets) => {
    const compilers = [compile, await linearCompile()];
    for (const one of compilers) expect(() => select({ targets }, one)).toThrow(/RE2 syntax/);
  });

  test("the engine's matcher and the linear one select the same", async () => {
    const linear = await linearCompile();
    for (const targets of [
      ".*proj",
      "layers\\.1\\.(q|v)_proj",
      "(?P<block>layers)\\.\\d+\\.out_proj",
      "head|.*q_\\w+",
    ])
      expect(select({ targets }, linear)).toEqual(select({ targets }));
  });
});

test("patterns set a field where a key matches the end of the path, the first that does", () => {
  const patterns = { rank: { "layers.1.q_proj": 2, "(out|q)_proj": 5, proj: 9 } };
  const at = (path: string): object => configFor({ rank: 8, alpha: 3 }, patterns, path);
  expect(at("layers.1.q_proj")).toEqual({ rank: 2, alpha: 3 });
  expect(at("layers.0.q_proj")).toEqual({ rank: 5, alpha: 3 });
  expect(at("head")).toEqual({ rank: 8, alpha: 3 });
});

test("nearest words by edit distance", () => {
  expect(editDistance("kitten", "sitting")).toBe(3);
  expect(nearest("q_porj", ["head", "v_proj", "q_proj"], 2)).toEqual(["q_proj", "v_proj"]);
});
