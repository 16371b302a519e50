import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import type { Sample, Summary } from "./result.js";
import { OURS } from "./statistics.js";

const KINDS = ["svd", "eigh", "qr", "cholesky", "solve"];
const COLORS = { lowrank: "#0f6cbd", numpy: "#15803d", "best JavaScript peer": "#c2410c" } as const;
const TICKS = [0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000];

type Who = keyof typeof COLORS;

interface Mark {
  kind: string;
  who: Who;
  size: number;
  ms: number;
}

/** Work of processors in f64 for each size: ours, numpy's, and that of the peer that has least of it. */
function marksOf(lines: readonly (Sample | Summary)[]): Mark[] {
  const marks = new Map<string, Mark>();
  for (const line of lines) {
    const [, kind, size] = /^([a-z]+)-(\d+)-f64$/.exec(line.row) ?? [];
    if (!kind || !KINDS.includes(kind) || !size || "summary" in line || !line.cpu_ms) continue;
    const { lib, cpu_ms: ms } = line;
    const ofOthers = lib.startsWith("lowrank") ? null : "best JavaScript peer";
    const who = lib === OURS ? "lowrank" : lib === "numpy" ? "numpy" : ofOthers;
    if (!who) continue;
    const key = `${kind} ${size} ${who}`;
    if (ms < (marks.get(key)?.ms ?? Infinity)) marks.set(key, { kind, who, size: Number(size), ms });
  }
  return [...marks.values()].sort((a, b) => a.size - b.size);
}

/** Time of decompositions against size, both on logarithmic axes, as one SVG that needs nothing else. */
export function drawLinalg(lines: readonly (Sample | Summary)[]): string {
  const { document } = parseHTML("<!doctype html><html><body></body></html>");
  const marks = marksOf(lines);
  const at = { x: "size", y: "ms", fx: "kind" };
  const legend = Object.keys(COLORS).map((who, i) => ({ who, i, kind: KINDS[0] }));
  const [width, height, below] = [1080, 400, 28];
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
      label: "rows and columns",
      labelAnchor: "center",
      tickFormat: "d",
      ticks: 4,
      inset: 8,
    },
    y: { type: "log", label: "ms of processor", grid: true, nice: true, ticks: TICKS, tickFormat: "~r" },
    fx: { label: null, padding: 0.1, domain: KINDS },
    color: { domain: Object.keys(COLORS), range: Object.values(COLORS) },
    marks: [
      Plot.frame({ stroke: "#d8dee5" }),
      Plot.line(marks, { ...at, stroke: "who", strokeWidth: 1.8 }),
      Plot.dot(marks, { ...at, fill: "who", r: 3.2 }),
      ...legend.map((entry) =>
        Plot.text([entry], {
          fx: "kind",
          text: "who",
          fill: "who",
          frameAnchor: "bottom-right",
          dx: -10,
          dy: -10 - 18 * (legend.length - 1 - entry.i),
          fontWeight: 600,
        }),
      ),
    ],
  }) as SVGSVGElement;
  svg.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  svg.setAttribute("height", String(height + below));
  svg.setAttribute("viewBox", `0 0 ${width} ${height + below}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "Time of decompositions against the size of the matrix");
  const note = document.createElementNS("http://www.w3.org/2000/svg", "text");
  for (const [name, value] of [
    ["x", "12"],
    ["y", String(height + 18)],
    ["text-anchor", "start"],
    ["fill", "#66717e"],
    ["font-size", "12.5"],
  ] as const)
    note.setAttribute(name, value);
  const sample = lines.find((l): l is Sample => !("summary" in l) && l.machine !== undefined);
  const threads = sample?.threads ?? 1;
  note.textContent = `f64, ${threads} thread${threads > 1 ? "s" : ""}, ${sample?.machine ?? "unknown machine"}: what processors worked in a run, as the machine did other things too; peers up to 512.`;
  svg.append(note as unknown as Node);
  return `${svg.outerHTML}\n`;
}
