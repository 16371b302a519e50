import { writeFileAtomic } from "@lowrank/models";
import type { TrainEvent } from "./events.js";

/** Two texts that a model wrote behind one prompt. */
export interface ReportSample {
  prompt: string;
  before: string;
  after: string;
}

export interface ReportData {
  title: string;
  /** Names and values for the table at the top. */
  facts: readonly (readonly [string, string])[];
  /** What the run told while it went on. */
  events: readonly TrainEvent[];
  samples?: readonly ReportSample[];
}

const escapeHtml = (text: string): string =>
  text.replace(
    /[&<>"']/g,
    (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" })[c]!,
  );

const STYLE = `
:root { color-scheme: light dark; --ink: #1d2733; --dim: #66717e; --line: #d8dee5; --paper: #fff; --warm: #c2410c; --cool: #0f6cbd; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --dim: #9aa5b1; --line: #35404c; --paper: #14191f; --warm: #fb923c; --cool: #60a5fa; } }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 52rem; margin: 2.5rem auto; padding: 0 1.25rem; }
h1 { text-wrap: balance; font-size: 1.6rem; line-height: 1.25; margin: 0 0 1.5rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
table { border-collapse: collapse; width: 100%; } td { border-top: 1px solid var(--line); padding: .45rem .8rem .45rem 0; vertical-align: top; }
td:first-child { color: var(--dim); white-space: nowrap; width: 1%; padding-right: 1.6rem; }
figure { margin: 0 0 1.6rem; overflow-x: auto; } svg { max-width: 100%; height: auto; color: var(--ink); background: none !important; }
figcaption { color: var(--dim); font-size: .9rem; } blockquote { margin: .5rem 0 1rem; padding: .1rem 0 .1rem 1rem; border-left: 3px solid var(--line); }
.after { border-color: var(--warm); } .label { color: var(--dim); font-size: .85rem; }
`;

/** Means of runs of neighbours, so that a long curve stays readable: at most `most` points. */
function thin<T extends { step: number; value: number }>(
  points: readonly T[],
  most = 400,
): { step: number; value: number }[] {
  const size = Math.max(1, Math.ceil(points.length / most));
  const out: { step: number; value: number }[] = [];
  for (let at = 0; at < points.length; at += size) {
    const part = points.slice(at, at + size);
    out.push({
      step: part[part.length - 1]!.step,
      value: part.reduce((sum, p) => sum + p.value, 0) / part.length,
    });
  }
  return out;
}

type Points = readonly { step: number; value: number }[];

interface Curve {
  caption: string;
  /** Name of the vertical axis. */
  axis: string;
  height: number;
  line: Points;
  /** Held-out points, drawn over the line. */
  marks?: Points;
  color: string;
  /** The axis begins at zero. */
  fromZero?: boolean;
}

function curves(events: readonly TrainEvent[]): Curve[] {
  const steps = events.filter((e) => e.type === "step");
  if (steps.length === 0) return [];
  const evals = events.filter((e) => e.type === "eval").map((e) => ({ step: e.step, value: e.loss }));
  const of = (value: (e: (typeof steps)[number]) => number) =>
    thin(steps.map((e) => ({ step: e.step, value: value(e) })));
  const held = evals.length > 0 ? ": blue while training, orange on held-out text" : " while training";
  return [
    {
      caption: `Loss in nats a token${held}`,
      axis: "loss",
      height: 340,
      line: of((e) => e.loss),
      marks: evals,
      color: "var(--cool)",
    },
    {
      caption: "Learning rate",
      axis: "learning rate",
      height: 180,
      line: of((e) => e.lr),
      color: "var(--dim)",
      fromZero: true,
    },
    {
      caption: "Norm of the gradients before clipping",
      axis: "norm",
      height: 180,
      line: of((e) => e.gradNorm),
      color: "var(--dim)",
      fromZero: true,
    },
  ].filter(({ line }) => line.some(({ value }) => Number.isFinite(value))); // nothing known, nothing drawn
}

/** Curves as SVG, drawn by Observable Plot into a document that exists only here. */
async function draw(all: readonly Curve[]): Promise<string[]> {
  if (all.length === 0) return [];
  const [Plot, { parseHTML }] = await Promise.all([import("@observablehq/plot"), import("linkedom")]);
  const { document } = parseHTML("<!doctype html><html><body></body></html>");
  return all.map(({ caption, axis, height, line, marks = [], color, fromZero }) => {
    const at = { x: "step", y: "value" };
    const svg = Plot.plot({
      document: document as unknown as Document,
      width: 800,
      height,
      marginLeft: 60,
      marginTop: 32,
      marginBottom: 44,
      style: { background: "none", color: "currentColor", fontSize: "13px" },
      x: { label: "step", nice: true },
      y: { label: axis, grid: true, nice: true, zero: fromZero, ticks: Math.round(height / 45) },
      marks: [
        Plot.line(line, { ...at, stroke: color, strokeWidth: 1.8 }),
        Plot.line(marks, { ...at, stroke: "var(--warm)", strokeWidth: 1.8 }),
        Plot.dot(marks, { ...at, fill: "var(--warm)", r: 3.5 }),
      ],
    });
    return `<figure><figcaption>${escapeHtml(caption)}</figcaption>${(svg as Element).outerHTML}</figure>`;
  });
}

/**
 * A report of a run as one HTML file: facts, curves, samples. It holds all it needs, runs no script and asks for
 * nothing from outside; every text in it is escaped.
 */
export async function renderReport({ title, facts, events, samples = [] }: ReportData): Promise<string> {
  const rows = facts.map(
    ([name, value]) => `<tr><td>${escapeHtml(name)}</td><td>${escapeHtml(value)}</td></tr>`,
  );
  const figures = await draw(curves(events));
  const texts = samples.map(
    ({ prompt, before, after }) =>
      `<p><b>${escapeHtml(prompt)}</b> …</p>` +
      `<div class="label">before</div><blockquote>${escapeHtml(before)}</blockquote>` +
      `<div class="label">after</div><blockquote class="after">${escapeHtml(after)}</blockquote>`,
  );
  return [
    '<!doctype html><html lang="en"><head><meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">`,
    `<title>${escapeHtml(title)}</title><style>${STYLE}</style></head><body><h1>${escapeHtml(title)}</h1>`,
    `<table>${rows.join("")}</table>`,
    figures.length ? `<h2>Curves</h2>${figures.join("")}` : "",
    texts.length ? `<h2>The same prompt, before and after</h2>${texts.join("")}` : "",
    "</body></html>\n",
  ].join("\n");
}

/** Writes {@link renderReport} to a file, which appears whole or not at all. */
export async function writeReport(path: string, data: ReportData): Promise<void> {
  await writeFileAtomic(path, await renderReport(data));
}
