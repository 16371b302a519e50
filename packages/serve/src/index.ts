export { adaptersIn } from "./adapter-source.js";
export { serve } from "./serve.js";
export { textServer } from "./text-server.js";

export type { AdapterSource } from "./adapter-source.js";
export type { Served, ServeOptions } from "./serve.js";
export type { TextServer, TextServerOptions } from "./text-server.js";
