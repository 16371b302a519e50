import { afterEach, expect, test, vi } from "vitest";
import { setDefaultBackend } from "./default-backend.js";
import { tensor } from "./index.js";
import { reference } from "./reference.js";

afterEach(() => {
  vi.unstubAllGlobals();
});

test("in a page, which has no setImmediate, evaluation lets tasks run without a timer, which a hidden page holds back", async () => {
  setDefaultBackend(reference());
  const timers = vi.fn();
  vi.stubGlobal("setImmediate", undefined);
  vi.stubGlobal("setTimeout", timers);
  const channels = vi.spyOn(globalThis, "MessageChannel");
  let ran = 0;
  for (let i = 0; i < 3; i++) {
    const until = performance.now() + 60;
    while (performance.now() < until); // long enough for a turn of the others to be due
    const { port1, port2 } = new MessageChannel();
    const task = new Promise<void>((resolve) => {
      port1.onmessage = () => {
        ran++;
        resolve(port1.close());
      };
    });
    port2.postMessage(0);
    expect(await tensor([i]).mul(2).data()).toEqual(Float32Array.of(2 * i));
    expect(ran).toBe(i + 1);
    await task;
  }
  expect(channels).toHaveBeenCalledTimes(6);
  expect(timers).not.toHaveBeenCalled();
});
