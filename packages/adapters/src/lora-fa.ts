import { type Adapter, defineAdapter } from "./adapter.js";
import { lora, type LoraConfig, type LoraParams } from "./lora.js";

/**
 * LoRA-FA: LoRA whose down projection stays as it was drawn, so that training keeps only the [.., rank] result of it.
 *
 *     W' = W + s B A,   A frozen
 *
 * out · rank numbers are trained. The files are those of LoRA.
 *
 * Source: Zhang et al. 2023, arXiv:2308.03303.
 *
 * @category Additive adapters
 */
export const loraFa: Adapter<LoraConfig, LoraParams> = /* @__PURE__ */ (() =>
  defineAdapter({ ...lora, name: "loraFa", kinds: ["linear"], frozen: ["A"] }))();
