import { readFileSync } from "node:fs";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseHTML } from "linkedom";
import { expect, test } from "vitest";
import type { TrainEvent } from "./events.js";
import { renderReport, writeReport } from "./report.js";

const stepEvent = (step: number, loss: number): TrainEvent => ({
  type: "step",
  step,
  steps: 900,
  loss,
  lr: 0.01 * (1 - step / 900),
  gradNorm: 1 / step,
  tokens: 2048,
  epoch: 0,
  ms: 100,
  tokensPerSecond: 20480,
});
const evalEvent = (step: number, loss: number): TrainEvent => ({
  type: "eval",
  step,
  loss,
  perplexity: Math.exp(loss),
  best: true,
  ms: 9,
});
const events: TrainEvent[] = [
  evalEvent(0, 6),
  ...Array.from({ length: 900 }, (_, i) => stepEvent(i + 1, 5 - Math.log(i + 1) / 4)),
  evalEvent(450, 4.2),
  evalEvent(900, 4),
];
const hostile = `</title><script>alert("1")</script><img src=x onerror='alert(2)'>&amp;`;

test("a report holds facts, samples and a curve of each kind, with nothing from outside", async () => {
  const html = await renderReport({
    title: "A run",
    facts: [["loss", "4.00"]],
    events,
    samples: [{ prompt: "Call me", before: "a citizen", after: "Ishmael" }],
  });
  const { document } = parseHTML(html);
  expect([...document.querySelectorAll("td")].map((td) => td.textContent)).toEqual(["loss", "4.00"]);
  expect([...document.querySelectorAll("blockquote")].map((q) => q.textContent)).toEqual([
    "a citizen",
    "Ishmael",
  ]);
  expect(document.querySelectorAll("figure svg").length).toBe(3);
  expect(document.querySelectorAll("script, link, img, iframe, object, embed, form, base").length).toBe(0);
  const outside = [...html.matchAll(/(?:https?:)?\/\/[^"'\s)]+/g)].map(([url]) => url);
  expect(outside.filter((url) => !url.startsWith("http://www.w3.org/"))).toEqual([]);
  expect(html).not.toMatch(/\b(?:src|href)=|url\(|@import/);
});

test("every text in a report is escaped", async () => {
  const html = await renderReport({
    title: hostile,
    facts: [[hostile, hostile]],
    events: [],
    samples: [{ prompt: hostile, before: hostile, after: hostile }],
  });
  const { document } = parseHTML(html);
  expect(document.title).toBe(hostile);
  expect(document.querySelectorAll("script, img").length).toBe(0);
  expect(html.split("&lt;script&gt;").length - 1).toBe(7);
});

test("the held-out points of a run are all in its picture, and a long curve is thinned", async () => {
  const { document } = parseHTML(await renderReport({ title: "t", facts: [], events }));
  const loss = document.querySelector("figure svg")!;
  expect(loss.querySelectorAll("circle").length).toBe(3);
  const longest = Math.max(...[...loss.querySelectorAll("path")].map((p) => p.getAttribute("d")!.length));
  expect(longest).toBeLessThan(900 * 12);
});

test("a run without a step has no curves, and one step and a loss that is no number still make a report", async () => {
  expect(await renderReport({ title: "t", facts: [], events: [] })).not.toContain("<svg");
  const one = await renderReport({
    title: "t",
    facts: [],
    events: [stepEvent(1, 3), stepEvent(2, Number.NaN)],
  });
  expect(one).toContain("<svg");
  expect(one).not.toContain("NaN");
});

test("a report is written whole, over an earlier one", async () => {
  const folder = mkdtempSync(join(tmpdir(), "report-"));
  try {
    const path = join(folder, "report.html");
    await writeReport(path, { title: "first", facts: [], events: [] });
    await writeReport(path, { title: "second", facts: [], events });
    const text = readFileSync(path, "utf8");
    expect(text.startsWith("<!doctype html>") && text.endsWith("</html>\n")).toBe(true);
    expect(text).toContain("<title>second</title>");
    expect(readdirSync(folder)).toEqual(["report.html"]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
