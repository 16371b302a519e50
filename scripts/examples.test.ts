// Every TypeScript block of the READMEs and of the guides runs as it is printed.

import {
  cpSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { wasm } from "@lowrank/backend-wasm";
import {
  BertModel,
  LlamaForCausalLM,
  parseBertConfig,
  parseLlamaConfig,
  parseViTConfig,
  type PretrainedModel,
  savePretrained,
  ViTForImageClassification,
} from "@lowrank/models";
import { key, normal, setDefaultBackend } from "@lowrank/tensor";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { instanceOf } from "../packages/backend-dawn/src/instance.js";
import { noGpu } from "../packages/backend-dawn/test/gpu.js";
import { FakeHub } from "../packages/models/test/fake-hub.js";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const modules = join(root, "scripts", "examples.generated");
const home = process.cwd();
const workplace = mkdtempSync(join(tmpdir(), "lowrank-examples-"));

/** Pages with the blocks that are programs: they import something, and are no tests themselves. */
const pages = globSync(["README.md", "packages/*/README.md", "docs/*.md"], { cwd: root }).map((page) => ({
  page,
  blocks: [...readFileSync(join(root, page), "utf8").matchAll(/^```ts\n([\s\S]*?)^```$/gm)]
    .map((match) => match[1]!)
    .filter((block) => /^import /m.test(block) && !/\btest\(/.test(block)),
}));

/** What the pages call "path/to/model": untrained and tiny, with the tokenizer of the quick start. */
async function writeModel(folder: string): Promise<void> {
  const tokenizer = join(root, "examples/quickstart/model");
  const vocabulary = JSON.parse(readFileSync(join(tokenizer, "tokenizer.json"), "utf8")).model.vocab;
  const config = parseLlamaConfig({
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_act: "silu",
    hidden_size: 32,
    intermediate_size: 48,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    vocab_size: Object.keys(vocabulary).length,
    max_position_embeddings: 128,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
  });
  mkdirSync(dirname(folder), { recursive: true });
  await savePretrained(new LlamaForCausalLM(config, { key: key(1) }), folder);
  for (const file of ["tokenizer.json", "tokenizer_config.json"])
    cpSync(join(tokenizer, file), join(folder, file));
}

/** What the pages call "path/to/encoder": an untrained BERT that reads letters. */
async function writeEncoder(folder: string): Promise<void> {
  const letters = [..."abcdefghijklmnopqrstuvwxyz"];
  const tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ...letters, ...letters.map((c) => `##${c}`)];
  const special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"];
  const tokenizer = {
    version: "1.0",
    added_tokens: special.map((content, id) => ({ id, content, special: true })),
    normalizer: {
      type: "BertNormalizer",
      lowercase: true,
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
    },
    pre_tokenizer: { type: "BertPreTokenizer" },
    post_processor: {
      type: "TemplateProcessing",
      single: [
        { SpecialToken: { id: "[CLS]", type_id: 0 } },
        { Sequence: { id: "A", type_id: 0 } },
        { SpecialToken: { id: "[SEP]", type_id: 0 } },
      ],
      pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 1 } }],
      special_tokens: {
        "[CLS]": { id: "[CLS]", ids: [2], tokens: ["[CLS]"] },
        "[SEP]": { id: "[SEP]", ids: [3], tokens: ["[SEP]"] },
      },
    },
    decoder: { type: "WordPiece", prefix: "##", cleanup: true },
    model: {
      type: "WordPiece",
      unk_token: "[UNK]",
      continuing_subword_prefix: "##",
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    },
  };
  const config = parseBertConfig({
    vocab_size: tokens.length,
    hidden_size: 16,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    intermediate_size: 24,
    max_position_embeddings: 64,
  });
  await savePretrained(drawn(new BertModel(config)), folder, {
    files: new Map([
      ["tokenizer.json", JSON.stringify(tokenizer)],
      ["tokenizer_config.json", "{}"],
    ]),
  });
}

/** What the pages call "path/to/vision". */
async function writeVision(folder: string): Promise<void> {
  const config = parseViTConfig({
    image_size: 8,
    patch_size: 4,
    hidden_size: 16,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    intermediate_size: 24,
  });
  await savePretrained(drawn(new ViTForImageClassification(config, ["cat", "dog"])), folder);
}

/** The model with random weights. */
function drawn<M extends PretrainedModel>(model: M): M {
  for (const [path, p] of model.parameters()) {
    if (p.ndim > 1) p.replace(normal(p.shape, { key: key(1).foldName(path), std: 0.3 }));
  }
  return model;
}

/** The Hub, with that model as owner/name. */
let hub: FakeHub;

beforeAll(async () => {
  mkdirSync(modules, { recursive: true });
  await writeModel(join(workplace, "path/to/model"));
  await writeEncoder(join(workplace, "path/to/encoder"));
  await writeVision(join(workplace, "path/to/vision"));
  hub = await FakeHub.start({ oneHost: true });
  const model = join(workplace, "path/to/model");
  hub.publish(Object.fromEntries(readdirSync(model).map((name) => [name, readFileSync(join(model, name))])));
  vi.stubEnv("HF_ENDPOINT", hub.api.origin);
  vi.stubEnv("LOWRANK_CACHE", join(workplace, "cache"));
  process.chdir(workplace);
});

afterAll(async () => {
  vi.unstubAllEnvs();
  await hub.stop();
  process.chdir(home);
  rmSync(modules, { recursive: true, force: true });
  rmSync(workplace, { recursive: true, force: true });
});

test("the pages hold examples", () => {
  expect(pages.flatMap(({ blocks }) => blocks).length).toBeGreaterThan(12);
});

const onGpu = (page: string): boolean => /^(packages.backend-(webgpu|dawn)\b|docs.backends\.md)/.test(page);
/** Outlives the devices of the pages. */
let dawnOfPages: GPU | undefined;
const runnable = pages.filter(({ page, blocks }) => blocks.length > 0 && !(onGpu(page) && noGpu));

describe.each(runnable)("$page", ({ page, blocks }) => {
  beforeAll(async () => {
    // The examples of a page build on one another; those of another page begin anew.
    rmSync(join(workplace, "out"), { recursive: true, force: true });
    // Dawn stands in for the WebGPU of a browser.
    if (onGpu(page)) vi.stubGlobal("navigator", { gpu: (dawnOfPages ??= await instanceOf({})) });
  });
  afterAll(async () => {
    if (!onGpu(page)) return;
    vi.unstubAllGlobals();
    setDefaultBackend(await wasm());
  });

  for (const [i, block] of blocks.entries()) {
    test(`example ${i + 1} runs`, async () => {
      const file = join(modules, `${page.replaceAll(/\W/g, "-")}-${i + 1}.ts`);
      writeFileSync(file, block);
      const log = vi.spyOn(console, "log").mockImplementation(() => {});
      try {
        await import(/* @vite-ignore */ file);
      } finally {
        log.mockRestore();
      }
    });
  }
});
