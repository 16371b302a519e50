import type { FileContent } from "./atomic-write.js";
import { ConfigError } from "@lowrank/tensor";
import { FormatError } from "./format-error.js";
import { tensorSizeBytes } from "./safetensors-dtype.js";
import { safetensorsChunks, type TensorToWrite, type WriteSafetensorsOptions } from "./safetensors-write.js";

export interface CheckpointOptions extends Pick<WriteSafetensorsOptions, "metadata"> {
  /** Largest data of one file. Default: 5·10⁹ bytes. A tensor that is larger has a file of its own. */
  maxShardBytes?: number | undefined;
  /** File name without its ending. Default: `model`. */
  stem?: string;
}

const DEFAULT_SHARD_BYTES = 5e9;

/**
 * The files of a checkpoint by name: `model.safetensors`, or where that would be larger than `maxShardBytes`
 * `model-00001-of-00002.safetensors`, ..., and `model.safetensors.index.json`, which `openCheckpoint` reads. Tensors keep
 * their order; a shard is begun when the next one would not fit.
 *
 * The contents are made piece by piece as they are written, so that one tensor at a time is in memory: give them to
 * `writeFolderAtomic`.
 *
 * Layout: that of `save_pretrained` in Transformers.
 *
 * @throws ConfigError for a `maxShardBytes` that is no positive integer, FormatError for a tensor without a size.
 */
export function checkpointFiles(
  tensors: ReadonlyMap<string, TensorToWrite>,
  { maxShardBytes = DEFAULT_SHARD_BYTES, stem = "model", metadata }: CheckpointOptions = {},
): Map<string, FileContent> {
  if (!Number.isSafeInteger(maxShardBytes) || maxShardBytes < 1) {
    throw new ConfigError({
      where: "checkpointFiles",
      expected: "maxShardBytes to be a positive integer",
      got: String(maxShardBytes),
    });
  }
  const write = metadata === undefined ? {} : { metadata };
  const shards: Map<string, TensorToWrite>[] = [new Map()];
  let shardBytes = 0;
  let totalBytes = 0;
  for (const [name, tensor] of tensors) {
    const size = tensorSizeBytes(tensor.dtype, tensor.shape);
    if (size === undefined) {
      throw new FormatError({
        format: "safetensors",
        where: "checkpointFiles",
        expected: `${JSON.stringify(name)} to have a size in whole bytes`,
        got: `${tensor.dtype} [${tensor.shape.join(", ")}]`,
      });
    }
    if (shardBytes + size > maxShardBytes && shards.at(-1)!.size > 0) {
      shards.push(new Map());
      shardBytes = 0;
    }
    shards.at(-1)!.set(name, tensor);
    shardBytes += size;
    totalBytes += size;
  }
  if (shards.length === 1) return new Map([[`${stem}.safetensors`, safetensorsChunks(shards[0]!, write)]]);
  const five = (n: number): string => String(n).padStart(5, "0");
  const files = new Map<string, FileContent>();
  const places: [tensor: string, file: string][] = [];
  shards.forEach((shard, i) => {
    const file = `${stem}-${five(i + 1)}-of-${five(shards.length)}.safetensors`;
    files.set(file, safetensorsChunks(shard, write));
    for (const name of shard.keys()) places.push([name, file]);
  });
  places.sort(([a], [b]) => (a < b ? -1 : 1));
  // Written by hand: an object would put integer-like names first, and "__proto__" nowhere.
  const rows = places.map(([name, file]) => `    ${JSON.stringify(name)}: ${JSON.stringify(file)}`);
  const index = `{\n  "metadata": {\n    "total_size": ${totalBytes}\n  },\n  "weight_map": {\n${rows.join(",\n")}\n  }\n}\n`;
  return files.set(`${stem}.safetensors.index.json`, index);
}
