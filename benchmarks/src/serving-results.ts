import { markdownTable } from "./markdown.js";
import type { BatchRate, MixCost, ServingLine, SwapCost, SwitchCost } from "./serving.js";

const mebi = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(2)} MiB`;

/** Markdown of a run of `serving`. */
export function servingMarkdown(lines: readonly ServingLine[]): string {
  const of = <L extends ServingLine>(row: L["row"]): L[] => lines.filter((l): l is L => l.row === row);
  const mixes = of<MixCost>("mix");
  const [first] = mixes;
  const parts = [];
  if (first !== undefined) {
    parts.push(
      `${first.machine}; ${first.threads === 1 ? "one thread" : `${first.threads} threads`}. ${first.about}. A forward pass in four ways that take turns, medians of ${first.turns} in milliseconds; ratios are medians of those of one turn. The machine did other things too (load average ${Math.min(...mixes.map((l) => l.load))} to ${Math.max(...mixes.map((l) => l.load))}).`,
      markdownTable(
        [
          "tokens a row",
          "no adapter",
          "one, attached",
          "8 mixed",
          "one of the pool",
          "8 mixed / one",
          "by processor time",
          "largest difference to alone",
        ],
        mixes.map((l) =>
          [l.tokens, l.bare_ms, l.one_ms, l.mixed_ms, l.pool_one_ms, l.ratio, l.ratio_cpu]
            .map(String)
            .concat(`${l.difference.toExponential(1)} of ${l.largest_logit}`),
        ),
      ),
    );
  }
  for (const l of of<SwitchCost>("switch")) {
    parts.push(
      `Switch: the first step with other adapters takes ${l.switch_ms} ms longer than one with the same (median of ${l.turns} pairs); choosing them and building the graph takes ${l.host_ms} ms, ${l.plans_made} plans were made.`,
    );
  }
  for (const l of of<SwapCost>("swap")) {
    parts.push(
      `Swap: an adapter takes ${mebi(l.bytes_per_adapter)} beside a base of ${mebi(l.base_bytes)}; loading one from memory takes ${l.load_ms} ms, unloading ${l.unload_ms} ms. Over ${l.swaps} swaps memory went from ${mebi(l.owned_early_bytes)} (after a tenth) to ${mebi(l.owned_late_bytes)}.`,
    );
  }
  for (const l of of<BatchRate>("batch")) {
    parts.push(
      `Texts, milliseconds a token (of what processors worked): ${l.alone_ms} (${l.alone_cpu_ms}) of one by \`generate\`, ${l.one_in_batch_ms} (${l.one_in_batch_cpu_ms}) of one in a batch of ${l.slots} slots, ${l.one_fewest_ms} (${l.one_fewest_cpu_ms}) of the same without idle rows, ${l.full_ms} (${l.full_cpu_ms}) of ${l.slots} together; medians of ${l.turns} turns.`,
    );
  }
  return parts.join("\n\n");
}
