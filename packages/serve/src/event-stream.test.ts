import { expect, test } from "vitest";
import { eventStream } from "./event-stream.js";

async function* texts(...all: string[]): AsyncGenerator<string> {
  for (const text of all) yield text;
}

test("events come as data lines behind a comment", async () => {
  const stream = eventStream(texts("a", "b"), { stallMs: 1000, leave: () => {} });
  expect(await new Response(stream).text()).toBe(": accepted\n\ndata: a\n\ndata: b\n\n");
});

test("a reader that takes nothing for too long is cut off, and one that keeps on reading is not", async () => {
  const left: string[] = [];
  const stalled = eventStream(texts(..."abcdef"), { stallMs: 30, leave: () => left.push("stalled") });
  const slow = eventStream(texts("a", "b", "c", "d"), { stallMs: 200, leave: () => left.push("slow") });
  const [one, other] = [stalled.getReader(), slow.getReader()];
  await one.read();
  for (let i = 0; i < 5; i++) {
    await other.read();
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
  expect(left).toEqual(["stalled"]);
  await expect(
    (async () => {
      while (!(await one.read()).done);
    })(),
  ).rejects.toThrow(/takes nothing/);
});

test("a reader that leaves is told at once, be the next event far away", async () => {
  let left = 0;
  async function* never(): AsyncGenerator<string> {
    await new Promise(() => {});
  }
  const reader = eventStream(never(), { stallMs: 1000, leave: () => left++ }).getReader();
  await reader.read();
  await reader.cancel();
  expect(left).toBe(1);
});
