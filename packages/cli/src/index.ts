export { UsageError } from "./fault.js";
export { commands, main, version } from "./main.js";

export type { Command, Host } from "./command.js";
