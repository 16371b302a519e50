import { fileURLToPath } from "node:url";
import { defineConfig, mergeConfig } from "vitest/config";
import base from "./vitest.config.js";

// Branch coverage of what reads files from strangers, by the tests of these parsers and a part of the bent inputs.
//
//   vitest run --config vitest.parsers.config.ts

const parsers = [
  "models/src/{config,hub-listing,hub-name,json-scan,manifest,pickle,safe-name}.ts",
  "models/src/{gguf,gguf-cursor,gguf-header,gguf-metadata,gguf-types}.ts",
  "models/src/{safetensors,safetensors-dtype,safetensors-header}.ts",
  "models/src/{regex-samples,regex-time,tokenizer-check,tokenizer-regex}.ts",
  "models/src/{bert-config,gguf-config,gguf-pre-tokenizers,gguf-tokenizer,gpt2-config,llama-config,rope-scaling}.ts",
  "adapters/src/{gguf-lora-read,pattern,peft,peft-json}.ts",
];
const tests = [
  "models/src/{config,family-config,gguf,gguf-model,gguf-save,gguf-tokenizer,gpt2,hub,json-scan,llama-config}.test.ts",
  "models/src/{safe-name,safetensors,source,tokenizer}.test.ts",
  "models/test/{architectures,bert}.test.ts",
  "models/test/{gguf-rules,mutants/*}.test.ts",
  "adapters/src/{full-modules,gguf-lora,peft,peft-json,targets}.test.ts",
  "adapters/test/mutants.test.ts",
];
const inPackages = (paths: readonly string[]): string[] => paths.map((path) => `packages/${path}`);

process.env["LOWRANK_MUTANTS"] = "1000"; // the whole number runs with the other tests

const config = mergeConfig(
  base,
  defineConfig({
    test: {
      coverage: {
        enabled: true,
        provider: "v8",
        include: inPackages(parsers),
        reporter: ["text"],
        reportsDirectory: fileURLToPath(new URL("./node_modules/.coverage-parsers", import.meta.url)),
        thresholds: { branches: 95 },
      },
    },
  }),
);
config.test!.include = inPackages(tests); // in place of all tests, not beside them
export default config;
