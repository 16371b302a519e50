// The worker of a browser as a file of its own, for pages whose Content-Security-Policy admits workers of their own
// origin only. A bundle of its own: see tsup.config.ts.
import { linker } from "./linker.js";
import { type ThreadData, threadLoop } from "./thread-loop.js";

addEventListener("message", ({ data }: MessageEvent<ThreadData>) =>
  threadLoop(data, () => postMessage("up"), linker),
);
