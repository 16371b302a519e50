import { library } from "../../tsup.base.js";

// The modules of models and the tokenizers are chunks of their own: a bundler leaves out those of which it uses nothing, as
// when a page reads adapters only.
export default library({
  platform: "node",
  entry: [
    "src/index.ts",
    "src/llama.ts",
    "src/gpt2.ts",
    "src/bert-classifier.ts",
    "src/vit-classifier.ts",
    "src/embed.ts",
    "src/model-from-pretrained.ts",
    "src/tokenizer.ts",
    "src/chat-template.ts",
    "src/generate.ts",
    "src/stream-text.ts",
    "src/batch-generator.ts",
    "src/score-continuations.ts",
    "src/url-source.ts",
    "src/hub.ts",
    "src/resolve-model.ts",
  ],
  dts: { entry: "src/index.ts" },
});
