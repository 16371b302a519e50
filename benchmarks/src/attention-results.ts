import {
  ABOUT,
  type AttentionConvert,
  type AttentionDecode,
  type AttentionLine,
  type AttentionLoss,
} from "./attention.js";
import type { KindName } from "./attention-models.js";
import { markdownTable } from "./markdown.js";

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
const kibi = (bytes: number): string => `${(bytes / 1024).toFixed(2)} KiB`;

/** The mean of a few numbers, and the farthest of them. */
const spread = (values: readonly number[]): string => {
  const middle = mean(values);
  return `${middle.toFixed(3)} ± ${Math.max(...values.map((x) => Math.abs(x - middle))).toFixed(3)}`;
};

/** Markdown of a run of `attention`: a line for each kind. */
export function attentionMarkdown(lines: readonly AttentionLine[]): string {
  const losses = lines.filter((l): l is AttentionLoss => l.row === "loss");
  const decodes = lines.filter((l): l is AttentionDecode => l.row === "decode");
  const kinds = [...new Set(lines.map((l) => l.kind))];
  const of = <L extends AttentionLine>(all: readonly L[], kind: KindName): L[] =>
    all.filter((l) => l.kind === kind);
  const parts: string[] = [`${ABOUT[0]!.toUpperCase()}${ABOUT.slice(1)}.`];
  const [first] = losses;
  if (first !== undefined) {
    const mha = of(losses, "MHA")[0];
    const seeds = new Set(losses.map((l) => l.seed)).size;
    parts.push(
      `Trained alike from a random start: ${first.steps} steps of ${first.batch} rows of ${first.length} bytes with AdamW, the same batches for all. Losses are nats a byte, the mean of ${seeds} seeds and the farthest of them, over ${first.held_out_bytes.toLocaleString("en")} bytes of held-out chapters. Bytes of the cache are those of the whole model for one token, as its layers count them and its cache has them.`,
      markdownTable(
        [
          "",
          "attention",
          "parameters",
          "of these attention",
          "cache a token, f32",
          "f16",
          "of MHA's",
          "training loss",
          "held-out loss",
        ],
        kinds.flatMap((kind) => {
          const own = of(losses, kind);
          const [one] = own;
          if (one === undefined) return [];
          return [
            [
              kind,
              one.about,
              one.parameters.toLocaleString("en"),
              one.attention_parameters.toLocaleString("en"),
              `${one.cache_bytes_per_token} B`,
              `${one.cache_bytes_per_token_f16} B`,
              mha ? `${((100 * one.cache_bytes_per_token) / mha.cache_bytes_per_token).toFixed(1)} %` : "–",
              spread(own.map((l) => l.training_loss)),
              spread(own.map((l) => l.held_out_loss)),
            ],
          ];
        }),
      ),
    );
  }
  const converts = lines.filter((l): l is AttentionConvert => l.row === "convert");
  const [convert] = converts;
  if (convert !== undefined) {
    parts.push(
      `The model with MHA of the first seed, trained, has its attention cut to MFA by \`mfaFromAttention\`, with latent queries ${convert.query_dim} wide, and goes on for ${convert.steps} steps. Errors are those of the circuits of query and key and of value and output, the mean of the layers; losses are those of the held-out chapters, ${convert.loss_before} before.`,
      markdownTable(
        [
          "width of the key",
          "cache a token, f32",
          "query and key",
          "value and output",
          "loss when cut",
          "after more steps",
        ],
        converts.map((l) => [
          String(l.head_dim),
          `${l.cache_bytes_per_token} B`,
          String(l.query_key_error),
          String(l.value_output_error),
          l.loss_cut.toFixed(3),
          l.loss_trained.toFixed(3),
        ]),
      ),
    );
  }
  const [decode] = decodes;
  if (decode !== undefined) {
    const contexts = [...new Set(decodes.map((d) => d.context))];
    parts.push(
      `A token of \`generate\` behind so many bytes, by the same models, which take turns: medians of ${decode.turns} turns of ${decode.tokens} tokens in milliseconds, with the first and third quartile. The cache has room for twice as many positions, as that makes it; the one of MFA-KR turns its keys at each token, all that it has room for. ${decode.machine}; ${decode.threads === 1 ? "one thread" : `${decode.threads} threads`}.`,
      markdownTable(
        ["", ...contexts.flatMap((n) => [`behind ${n.toLocaleString("en")}`, "room of the cache"])],
        kinds.flatMap((kind) => {
          const own = of(decodes, kind);
          if (own.length === 0) return [];
          return [
            [kind, ...own.flatMap((d) => [`${d.median_ms} (${d.q1_ms}–${d.q3_ms})`, kibi(d.cache_bytes)])],
          ];
        }),
      ),
    );
  }
  return parts.join("\n\n");
}
