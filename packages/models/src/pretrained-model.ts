import { Module } from "@lowrank/nn";

/** A model that has a `config.json`: what loading and saving are written against. */
export abstract class PretrainedModel extends Module {
  /** Its `config.json`, with the storage type under `torch_dtype`. */
  abstract configJson(dtype: string): Record<string, unknown>;
}
