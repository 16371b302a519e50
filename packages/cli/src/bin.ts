#!/usr/bin/env node
import { main } from "./main.js";

// The first Ctrl-C lets the step under way end and a checkpoint be saved; the second ends at once.
const controller = new AbortController();
const stop = (status: number) => (): void => {
  if (controller.signal.aborted) process.exit(status);
  process.stderr.write("stopping after what is under way; again to stop at once\n");
  controller.abort();
};
process.on("SIGINT", stop(130));
process.on("SIGTERM", stop(143));
// `lowrank info model | head` closes the pipe early: no fault.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : 1);
});

main(process.argv.slice(2), { signal: controller.signal }).then((status) => {
  process.exitCode = status;
});
