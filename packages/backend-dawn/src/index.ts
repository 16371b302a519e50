export {
  type AdapterChoice,
  type AdapterName,
  type DawnAdapter,
  findAdapter,
  listAdapters,
} from "./adapters.js";
export { type DawnBackend, type DawnOptions, dawn } from "./dawn.js";
export type { DawnApi, InstanceOptions, Toggles } from "./instance.js";
