export { defineAdapter, kindsOf, peftTypeOf } from "./adapter.js";
export { activate, attach, Attached, attachedTo, withRows } from "./attach.js";
export { dora } from "./dora.js";
export { lora } from "./lora.js";
export { adapterPool, AdapterPool } from "./pool.js";
export { loadPeft, peftFiles, savePeft } from "./peft.js";
export { selectLayers } from "./targets.js";

export type { Adapter, AdapterFormat, AdapterPass, Target } from "./adapter.js";
export type { AdapterReport, AttachOptions } from "./attach.js";
export type { DoraConfig, DoraParams } from "./dora.js";
export type { LoraConfig, LoraParams } from "./lora.js";
export type { LoadPeftOptions, PeftSaveOptions, SavePeftOptions } from "./peft.js";
export type { AdapterPoolOptions } from "./pool.js";
export type { RowAdapters } from "./rows.js";
export type { SelectedLayer, TargetSelection } from "./targets.js";
