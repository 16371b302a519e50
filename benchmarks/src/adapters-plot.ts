import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import type { AdapterChange, AdapterRun } from "./adapters.js";

const STYLE = { background: "#fff", color: "#1d2733", fontSize: "13px", fontFamily: "system-ui, sans-serif" };

function finished(svg: SVGSVGElement | HTMLElement, label: string): string {
  svg.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  return `${svg.outerHTML}\n`;
}

const page = (): Document =>
  parseHTML("<!doctype html><html><body></body></html>").document as unknown as Document;

/** Steps that a point of a curve is the mean of. */
const SMOOTH = 5;

/** Loss while training, a small plot for each method with that of LoRA behind it: means over runs and over five steps. */
export function drawAdapters(runs: readonly AdapterRun[]): string {
  const curve = (row: string): { step: number; loss: number }[] => {
    const own = runs.filter((r) => r.row === row);
    const steps = Math.min(...own.map((r) => r.losses.length));
    return Array.from({ length: Math.floor(steps / SMOOTH) }, (_, i) => {
      const all = own.flatMap((r) => r.losses.slice(i * SMOOTH, (i + 1) * SMOOTH));
      return { step: (i + 1) * SMOOTH, loss: all.reduce((a, b) => a + b, 0) / all.length };
    });
  };
  const rows = [...new Set(runs.filter((r) => r.losses.length > 0).map((r) => r.row))];
  const columns = 6;
  const place = (row: string) => {
    const i = rows.indexOf(row as (typeof rows)[number]);
    return { fx: i % columns, fy: Math.floor(i / columns) };
  };
  const points = rows.flatMap((row) => curve(row).map((p) => ({ ...p, ...place(row) })));
  const behind = rows.flatMap((row) =>
    (rows.includes("lora") ? curve("lora") : []).map((p) => ({ ...p, ...place(row) })),
  );
  const height = 150 * Math.ceil(rows.length / columns) + 40;
  const at = { x: "step", y: "loss", fx: "fx", fy: "fy" };
  const svg = Plot.plot({
    document: page(),
    width: 1080,
    height,
    marginLeft: 48,
    style: STYLE,
    x: { label: "step", ticks: 4 },
    y: { label: "loss", grid: true, nice: true, ticks: 4 },
    fx: { axis: null },
    fy: { axis: null },
    marks: [
      Plot.frame({ stroke: "#d8dee5" }),
      Plot.line(behind, { ...at, stroke: "#b8c2cc", strokeWidth: 1.4 }),
      Plot.line(points, { ...at, stroke: "#0f6cbd", strokeWidth: 1.8 }),
      Plot.text(
        rows.map((row) => ({ row, ...place(row) })),
        { text: "row", fx: "fx", fy: "fy", frameAnchor: "top-right", dx: -6, dy: 8 },
      ),
    ],
  });
  return finished(svg as SVGSVGElement, "Loss of each method while training, with LoRA's in grey behind it");
}

/** Change of magnitude against change of direction, a point for each layer and checkpoint. */
export function drawChanges(changes: readonly AdapterChange[]): string {
  const points = changes.map((c) => ({ ...c, layer: c.path.split(".").at(-1) }));
  const svg = Plot.plot({
    document: page(),
    width: 1080,
    height: 340,
    marginLeft: 60,
    marginBottom: 44,
    style: STYLE,
    x: { label: "ΔD, mean of 1 − cos", labelAnchor: "center", nice: true, ticks: 4 },
    y: { label: "ΔM", grid: true, nice: true },
    fx: { label: null, padding: 0.1 },
    color: { domain: ["q_proj", "v_proj"], range: ["#0f6cbd", "#c2410c"] },
    marks: [
      Plot.frame({ stroke: "#d8dee5" }),
      Plot.dot(points, { x: "direction", y: "magnitude", fx: "row", stroke: "layer", r: 3 }),
      Plot.linearRegressionY(points, { x: "direction", y: "magnitude", fx: "row", stroke: "layer", ci: 0 }),
      ...["q_proj", "v_proj"].map((layer, i) =>
        Plot.text([layer], {
          text: [layer],
          fill: () => layer,
          frameAnchor: "bottom-right",
          dx: -8,
          dy: -24 + 16 * i,
        }),
      ),
    ],
  });
  return finished(
    svg as SVGSVGElement,
    "Change of magnitude against change of direction of query and value weights",
  );
}
