import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import { type CurvePoint, type CurveSummary, FIT_FROM_MS } from "./curves.js";

const COLORS = { batch: "#0f6cbd", length: "#c2410c", width: "#15803d", depth: "#7e22ce" } as const;

const TICKS = [0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000];

interface Mark {
  model: string;
  axis: CurveSummary["axis"];
  size: number;
  ms: number;
}

/** What stands below the plot, line by line. */
function caption(points: readonly CurvePoint[], summaries: readonly CurveSummary[]): string[] {
  const { machine, threads } = summaries[0] ?? { machine: "", threads: 1 };
  const length = summaries.find((s) => s.axis === "length");
  const longest = points.filter((p) => p.row === length?.row).at(-1)?.size;
  const attention = Math.round(100 * (length?.parts["attention"] ?? 0));
  return [
    `One training step (loss, all gradients, AdamW) while one size doubles and the others stay; ${machine}, ${threads} thread${threads > 1 ? "s" : ""}.`,
    `Lines are fitted to the larger half, where a step takes over ${FIT_FROM_MS} ms; below, the fixed cost of each fused group shows.`,
    "Batch and depth: straight lines, in proportion. Length and width: a·n + b·n², as weights have width² numbers and attention compares all pairs of tokens.",
    ...(longest
      ? [
          `Length therefore bends upwards to a slope of 2: at ${longest} tokens attention is ${attention} % of the step.`,
        ]
      : []),
  ];
}

/** Time of a step against size, both on logarithmic axes, as one SVG that needs nothing else. */
export function drawCurves(points: readonly CurvePoint[], summaries: readonly CurveSummary[]): string {
  const { document } = parseHTML("<!doctype html><html><body></body></html>");
  const marks: Mark[] = points.flatMap((p) => {
    const s = summaries.find((summary) => summary.row === p.row);
    return s ? [{ model: s.model, axis: s.axis, size: p.size, ms: p.best_ms }] : [];
  });
  const lines: Mark[] = summaries.flatMap(({ model, axis, fit, terms }) => {
    if (!fit) return [];
    const ms = (size: number): number =>
      terms ? terms.linear_ms * size + terms.square_ms * size ** 2 : fit.at_one_ms * size ** fit.slope;
    const step = (fit.to / fit.from) ** (1 / 24);
    return Array.from({ length: 25 }, (_, i) => {
      const size = fit.from * step ** i;
      return { model, axis, size, ms: ms(size) };
    });
  });
  const legend = summaries.map((s) => ({
    model: s.model,
    axis: s.axis,
    at: summaries.filter((other) => other.model === s.model).indexOf(s),
    text: `${s.axis}${s.fit ? `, slope ${s.fit.slope.toFixed(2)}` : ""}`,
  }));
  const at = { x: "size", y: "ms", fx: "model", stroke: "axis" };
  const notes = caption(points, summaries);
  const [width, height, below] = [1080, 520, 22 + 17 * notes.length];
  const svg = Plot.plot({
    document: document as unknown as Document,
    width,
    height,
    marginLeft: 60,
    marginRight: 20,
    marginBottom: 44,
    style: { background: "#fff", color: "#1d2733", fontSize: "13px", fontFamily: "system-ui, sans-serif" },
    x: {
      type: "log",
      base: 2,
      label: "size: rows, tokens, units or layers",
      labelAnchor: "center",
      tickFormat: "d",
      ticks: 9,
    },
    y: { type: "log", label: "ms a step", grid: true, nice: true, ticks: TICKS, tickFormat: "~r" },
    fx: { label: null, padding: 0.12 },
    color: { domain: Object.keys(COLORS), range: Object.values(COLORS) },
    marks: [
      Plot.frame({ stroke: "#d8dee5" }),
      Plot.line(lines, { ...at, strokeOpacity: 0.45, strokeWidth: 1.5 }),
      Plot.dot(marks, { x: "size", y: "ms", fx: "model", fill: "axis", r: 3.2 }),
      ...legend.map((entry) =>
        Plot.text([entry], {
          fx: "model",
          text: "text",
          fill: "axis",
          frameAnchor: "top-left",
          dx: 12,
          dy: 12 + 18 * entry.at,
          fontWeight: 600,
        }),
      ),
    ],
  }) as SVGSVGElement;
  svg.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  svg.setAttribute("height", String(height + below));
  svg.setAttribute("viewBox", `0 0 ${width} ${height + below}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "Time of a training step against batch, length, width and depth");
  for (const [i, text] of notes.entries()) {
    const line = document.createElementNS("http://www.w3.org/2000/svg", "text");
    for (const [name, value] of [
      ["x", "12"],
      ["y", String(height + 20 + 17 * i)],
      ["text-anchor", "start"],
      ["fill", "#66717e"],
      ["font-size", "12.5"],
    ] as const)
      line.setAttribute(name, value);
    line.textContent = text;
    svg.append(line as unknown as Node);
  }
  return `${svg.outerHTML}\n`;
}
