import type { TrainEvent } from "@lowrank/train";
import { LossChart } from "./chart.js";
import { duration, milliseconds, whole } from "./format.js";
import { page } from "./page.js";

/** Steps over whose time the remaining time is estimated. */
const RECENT = 10;

/** Shows a training run while it goes on: curve, numbers, progress. */
export class RunView {
  private readonly chart = new LossChart(page.chart);
  private times: number[] = [];
  private steps = 1;
  private perplexityBefore: number | null = null;

  begin(steps: number): void {
    this.steps = steps;
    this.times = [];
    this.perplexityBefore = null;
    this.chart.begin(steps);
    for (const place of [page.step, page.loss, page.perplexity, page.speed, page.stepTime, page.left])
      place.textContent = "–";
    page.progress.value = 0;
  }

  /** Takes in what the trainer tells. */
  add(event: TrainEvent): void {
    if (event.type === "eval") this.addEvaluation(event.step, event.loss, event.perplexity);
    if (event.type === "step") this.addStep(event);
  }

  private addStep({ step, loss, ms, tokensPerSecond }: Extract<TrainEvent, { type: "step" }>): void {
    this.chart.addLoss(step, loss);
    this.times = [...this.times.slice(1 - RECENT), ms];
    const mean = this.times.reduce((a, b) => a + b) / this.times.length;
    page.step.textContent = `${step} / ${this.steps}`;
    page.loss.textContent = loss.toFixed(3);
    page.speed.textContent = whole(tokensPerSecond);
    page.stepTime.textContent = milliseconds(ms);
    page.left.textContent = duration(((this.steps - step) * mean) / 1000);
    page.progress.value = step / this.steps;
  }

  private addEvaluation(step: number, loss: number, perplexity: number): void {
    this.chart.addHeldOut(step, loss);
    this.perplexityBefore ??= perplexity;
    const before = whole(this.perplexityBefore);
    page.perplexity.textContent = step === 0 ? before : `${before} → ${whole(perplexity)}`;
  }
}
