import type { Form } from "./network.js";

/** A round of one federation. */
export interface Line {
  readonly form: Form;
  readonly seed: number;
  readonly round: number;
  /** Sent so far, both ways. */
  readonly bytes: number;
  /** Of the server's network on digits that nobody has; null for pFedPara, whose server has no whole network. */
  readonly accuracy: number | null;
  /** Mean over the clients, each with its own part, on held-out digits of its own kind. */
  readonly local: number;
  readonly seconds: number;
}

/** Rounds of the form with the fewest bytes at which all are compared. */
const MARKS = [10, 30, 60];

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

function show(values: readonly number[]): string {
  if (values.length === 0) return "–";
  const m = mean(values);
  const spread = Math.sqrt(values.reduce((sum, v) => sum + (v - m) ** 2, 0) / Math.max(1, values.length - 1));
  return `${(100 * m).toFixed(2)}${values.length > 1 ? ` ± ${(100 * spread).toFixed(2)}` : ""} %`;
}

/** Last round of one form and seed within a budget of bytes. */
const within = (lines: readonly Line[], bytes: number): Line | undefined =>
  lines.filter((line) => line.bytes <= bytes).at(-1);

/**
 * Accuracies of all forms at the bytes that FedPara has sent after some of its rounds, and at the end; of several seeds the mean and
 * the standard deviation.
 */
export function table(lines: readonly Line[]): string {
  const forms = [...new Set(lines.map(({ form }) => form))];
  const seeds = [...new Set(lines.map(({ seed }) => seed))];
  const of = (form: Form, seed: number): Line[] =>
    lines.filter((line) => line.form === form && line.seed === seed);
  const measure = of(forms.includes("FedPara") ? "FedPara" : forms[0]!, seeds[0]!);
  const budgets = MARKS.flatMap((round) => measure.find((line) => line.round === round)?.bytes ?? []);
  const head = [
    "",
    "bytes a round",
    ...budgets.map((b) => `at ${(b / 1e6).toFixed(1)} MB`),
    "after all rounds",
    "on own digits",
  ];
  const rows = forms.map((form) => {
    const first = of(form, seeds[0]!)[0]!;
    const last = seeds.map((seed) => of(form, seed).at(-1)!);
    return [
      form,
      first.bytes.toLocaleString("en"),
      ...budgets.map((b) => show(seeds.flatMap((seed) => within(of(form, seed), b)?.accuracy ?? []))),
      show(last.flatMap(({ accuracy }) => accuracy ?? [])),
      show(last.map(({ local }) => local)),
    ];
  });
  return [head, ["---", ...head.slice(1).map(() => "---:")], ...rows]
    .map((row) => `| ${row.join(" | ")} |`)
    .join("\n");
}
