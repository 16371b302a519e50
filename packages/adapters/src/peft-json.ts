import { ConfigError } from "@lowrank/tensor";

type Json = Readonly<Record<string, unknown>>;

/** Refuses a field of an `adapter_config.json`. */
export function refuseField(json: Json, field: string, expected: string): never {
  throw new ConfigError({
    where: "adapter_config.json",
    expected,
    got: `${field} ${JSON.stringify(json[field])?.slice(0, 120)}`,
  });
}

/** Refuses fields that change what is computed and that we do not have, where they are set. */
export function refuseFields(json: Json, fields: readonly string[]): void {
  for (const field of fields) if (json[field]) refuseField(json, field, `no ${field}`);
  if ((json["bias"] ?? "none") !== "none") refuseField(json, "bias", 'bias "none"');
}

/** A number of the file, or PEFT's default where the field is missing. */
export function numberField(json: Json, field: string, fallback: number): number {
  const value = json[field] ?? fallback;
  return typeof value === "number" ? value : refuseField(json, field, `${field} to be a number`);
}
