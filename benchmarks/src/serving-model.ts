import { attach, lora, peftFiles } from "@lowrank/adapters";
import { LlamaForCausalLM, parseLlamaConfig } from "@lowrank/models";
import { evaluate, key, normal } from "@lowrank/tensor";

export const ROWS = 8;
export const RANK = 8;

/** Layers of the size of SmolLM2-135M's, fewer of them in a quick look. */
export function servingModel(quick: boolean): { model: LlamaForCausalLM; about: string } {
  const layers = quick ? 2 : 4;
  const vocabulary = 4096; // a small head, so that the share of the adapters is not hidden behind a large one
  const model = new LlamaForCausalLM(
    parseLlamaConfig({
      vocab_size: vocabulary,
      hidden_size: 576,
      intermediate_size: 1536,
      num_hidden_layers: layers,
      num_attention_heads: 9,
      num_key_value_heads: 3,
      max_position_embeddings: 1024,
      initializer_range: 0.05,
      tie_word_embeddings: true,
    }),
    { key: key(1) },
  );
  model.eval();
  const about = `${layers} layers of SmolLM2-135M's size, ${vocabulary} tokens, f32, random; LoRA of rank ${RANK} on all linear layers, ${ROWS} rows`;
  return { model, about };
}

/** The files of an adapter that does something. */
export async function adapterFiles(model: LlamaForCausalLM, seed: number): Promise<Map<string, Uint8Array>> {
  const one = attach(model, lora, { rank: RANK }, { targets: "all-linear", name: `made-${seed}` });
  await evaluate(
    ...[...one.parameters()].map(([path, p]) =>
      p.assign(normal(p.shape, { key: key(seed).foldName(path), std: 0.05 })),
    ),
  );
  const files = await peftFiles(one);
  one.detach();
  for (const [, p] of one.parameters()) p.dispose();
  return files;
}
