const NAMESPACE = "http://www.w3.org/2000/svg";
const MARGIN = { top: 12, right: 12, bottom: 24, left: 44 };
/** Weight of a new value in the running mean: it looks back over a twelfth of the run. */
const smoothing = (steps: number): number => Math.min(0.4, Math.max(0.03, 12 / steps));

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
  /** What the next drawing consists of. */
  private parts: SVGElement[] = [];

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
    const share = smoothing(this.steps);
    this.sum += share * (value - this.sum);
    this.weight += share * (1 - this.weight); // so that the mean has no memory of the zero it began with
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
    const curve = (name: string, points: readonly Point[]): void =>
      this.add("path", {
        class: name,
        d: path(points.map(({ step, value }) => [x(step), y(value)] as const)),
      });

    this.svg.setAttribute("width", String(width));
    this.svg.setAttribute("height", String(height));
    this.svg.setAttribute("aria-label", `Loss curve. ${this.summary}`);
    this.parts = [];
    for (const value of ticks(low, high, 6)) {
      this.add("line", { class: "grid", x1: MARGIN.left, x2: right, y1: y(value), y2: y(value) });
      if (!empty) this.label(MARGIN.left - 8, y(value) + 4, "end", String(Number(value.toPrecision(6))));
    }
    if (empty) {
      const hint = "The curve grows here while the model learns.";
      this.label((MARGIN.left + right) / 2, (MARGIN.top + bottom) / 2, "middle", hint);
    } else {
      this.label(MARGIN.left - 8, bottom + 18, "end", "step");
      for (const step of ticks(0, this.steps, Math.min(6, this.steps)).filter(Number.isInteger)) {
        this.label(x(step), bottom + 18, "middle", String(step));
      }
    }
    curve("each", this.losses);
    curve("smooth", this.smooth);
    curve("held-out", this.heldOut);
    for (const { step, value } of this.heldOut) this.add("circle", { cx: x(step), cy: y(value), r: 3.5 });
    if (this.pointer !== null && !empty) this.drawPointer(this.pointer, x, bottom, right);
    this.svg.replaceChildren(...this.parts);
  }

  /** The value under the pointer. */
  private drawPointer(pointer: number, x: (step: number) => number, bottom: number, right: number): void {
    const distance = ({ step }: Point): number => Math.abs(x(step) - pointer);
    let nearest = this.losses[0];
    for (const point of this.losses) if (distance(point) < distance(nearest!)) nearest = point;
    if (!nearest) return;
    const at = x(nearest.step);
    const [gap, anchor] = at < right / 2 ? ([8, "start"] as const) : ([-8, "end"] as const);
    this.add("line", { class: "cursor", x1: at, x2: at, y1: MARGIN.top, y2: bottom });
    const text = `step ${nearest.step}: ${nearest.value.toFixed(3)}`;
    this.label(at + gap, MARGIN.top + 10, anchor, text, "readout");
  }

  private add(name: string, attributes: Record<string, string | number>, text = ""): void {
    const part = document.createElementNS(NAMESPACE, name);
    for (const [key, value] of Object.entries(attributes)) part.setAttribute(key, String(value));
    part.textContent = text;
    this.parts.push(part);
  }

  private label(x: number, y: number, anchor: "start" | "middle" | "end", text: string, name = ""): void {
    this.add("text", { x, y, "text-anchor": anchor, class: name }, text);
  }
}
