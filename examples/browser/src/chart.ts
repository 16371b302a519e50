const NAMESPACE = "http://www.w3.org/2000/svg";
const MARGIN = { top: 12, right: 12, bottom: 24, left: 44 };
/** Weight of a new value in the running mean. */
const SMOOTHING = 0.1;

interface Point {
  step: number;
  value: number;
}

/** Round numbers between two values, about `count` of them. */
function ticks(low: number, high: number, count: number): number[] {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const size = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= rough)!;
  const out: number[] = [];
  for (let i = Math.ceil(low / size); i * size <= high + size * 1e-9; i++) out.push(i * size);
  return out;
}

const path = (points: readonly (readonly [x: number, y: number])[]): string =>
  points.map(([x, y], i) => `${i === 0 ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

/** A loss curve that grows while it is watched: each step faintly, their running mean, and held-out values as dots. */
export class LossChart {
  private readonly svg = document.createElementNS(NAMESPACE, "svg");
  private losses: Point[] = [];
  private smooth: Point[] = [];
  private sum = 0;
  private weight = 0;
  private heldOut: Point[] = [];
  private steps = 1;
  private pointer: number | null = null;
  private pending = false;

  constructor(private readonly host: HTMLElement) {
    this.svg.setAttribute("role", "img");
    host.append(this.svg);
    new ResizeObserver(() => this.draw()).observe(host);
    host.addEventListener("pointermove", (event) =>
      this.point(event.clientX - host.getBoundingClientRect().left),
    );
    host.addEventListener("pointerleave", () => this.point(null));
  }

  /** Empties the chart for a run of so many steps. */
  begin(steps: number): void {
    this.losses = [];
    this.smooth = [];
    this.heldOut = [];
    this.sum = this.weight = 0;
    this.steps = steps;
    this.later();
  }

  addLoss(step: number, value: number): void {
    this.losses.push({ step, value });
    this.sum += SMOOTHING * (value - this.sum);
    this.weight += SMOOTHING * (1 - this.weight); // so that the mean has no memory of the zero it began with
    this.smooth.push({ step, value: this.sum / this.weight });
    this.later();
  }

  addHeldOut(step: number, value: number): void {
    this.heldOut.push({ step, value });
    this.later();
  }

  /** The run in a sentence, for those who cannot see it. */
  private get summary(): string {
    const few = Math.ceil(this.losses.length / 4);
    if (few === 0) return "Empty so far.";
    const mean = (points: readonly Point[]): string =>
      (points.reduce((sum, { value }) => sum + value, 0) / points.length).toFixed(3);
    return `Loss ${mean(this.losses.slice(0, few))} over the first ${few} steps, ${mean(this.losses.slice(-few))} over the last ${few} of ${this.losses.length}.`;
  }

  private point(x: number | null): void {
    this.pointer = x;
    this.later();
  }

  /** Many steps may come before the next frame: they are drawn once. */
  private later(): void {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.draw();
    });
  }

  private draw(): void {
    const { clientWidth: width, clientHeight: height } = this.host;
    if (width === 0 || height === 0) return;
    const right = width - MARGIN.right;
    const bottom = height - MARGIN.bottom;
    const values = [...this.losses, ...this.heldOut].map(({ value }) => value);
    const empty = values.length === 0;
    let [low, high] = empty ? [4, 6] : [Math.min(...values), Math.max(...values)];
    const room = Math.max(0.05, 0.06 * (high - low));
    [low, high] = [low - room, high + room];
    const x = (step: number): number => MARGIN.left + (step / this.steps) * (right - MARGIN.left);
    const y = (value: number): number => bottom - ((value - low) / (high - low)) * (bottom - MARGIN.top);
    const at = ({ step, value }: Point) => [x(step), y(value)] as const;

    this.svg.setAttribute("width", String(width));
    this.svg.setAttribute("height", String(height));
    this.svg.setAttribute("aria-label", `Loss curve. ${this.summary}`);
    const parts: SVGElement[] = [];
    const add = (name: string, attributes: Record<string, string | number>, text = ""): void => {
      const part = document.createElementNS(NAMESPACE, name);
      for (const [key, value] of Object.entries(attributes)) part.setAttribute(key, String(value));
      part.textContent = text;
      parts.push(part);
    };
    const label = (px: number, py: number, anchor: string, text: string, name = ""): void =>
      add("text", { x: px, y: py, "text-anchor": anchor, class: name }, text);

    for (const value of ticks(low, high, 6)) {
      add("line", { class: "grid", x1: MARGIN.left, x2: right, y1: y(value), y2: y(value) });
      if (!empty) label(MARGIN.left - 8, y(value) + 4, "end", String(Number(value.toPrecision(6))));
    }
    if (empty)
      label(
        (MARGIN.left + right) / 2,
        (MARGIN.top + bottom) / 2,
        "middle",
        "The curve grows here while the model learns.",
      );
    else
      for (const step of ticks(0, this.steps, Math.min(6, this.steps)))
        label(x(step), bottom + 18, "middle", String(step));
    label(MARGIN.left - 8, bottom + 18, "end", "step");
    add("path", { class: "each", d: path(this.losses.map(at)) });
    add("path", { class: "smooth", d: path(this.smooth.map(at)) });
    add("path", { class: "held-out", d: path(this.heldOut.map(at)) });
    for (const point of this.heldOut) add("circle", { cx: x(point.step), cy: y(point.value), r: 3.5 });
    this.drawPointer(x, bottom, right, add, label);
    this.svg.replaceChildren(...parts);
  }

  /** The value under the pointer. */
  private drawPointer(
    x: (step: number) => number,
    bottom: number,
    right: number,
    add: (name: string, attributes: Record<string, string | number>) => void,
    label: (px: number, py: number, anchor: string, text: string, name?: string) => void,
  ): void {
    if (this.pointer === null || this.losses.length === 0) return;
    const pointer = this.pointer;
    const nearest = this.losses.reduce((a, b) =>
      Math.abs(x(b.step) - pointer) < Math.abs(x(a.step) - pointer) ? b : a,
    );
    const at = x(nearest.step);
    add("line", { class: "cursor", x1: at, x2: at, y1: MARGIN.top, y2: bottom });
    const left = at < right / 2;
    label(
      at + (left ? 8 : -8),
      MARGIN.top + 10,
      left ? "start" : "end",
      `step ${nearest.step}: ${nearest.value.toFixed(3)}`,
      "readout",
    );
  }
}
