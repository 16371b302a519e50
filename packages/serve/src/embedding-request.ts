import * as v from "valibot";
import { check, chosen } from "./text-request.js";

/** Inputs of a request at most, as OpenAI has it. */
const MOST = 2048;

const text = v.pipe(v.string(), v.nonEmpty());
const ids = v.pipe(v.array(v.pipe(v.number(), v.safeInteger())), v.nonEmpty());
const several = <T extends v.GenericSchema>(item: T) =>
  v.pipe(v.array(item), v.nonEmpty(), v.maxLength(MOST));

const schema = v.object({
  ...chosen,
  input: v.union([text, several(text), ids, several(ids)]),
  encoding_format: v.nullish(v.picklist(["float", "base64"])),
});

/** What is asked for, checked. */
export interface EmbeddingRequest {
  readonly model: string | null;
  readonly adapter: string | null;
  /** Texts, or token ids. */
  readonly inputs: readonly (string | readonly number[])[];
  readonly base64: boolean;
}

/** @throws HttpError 400 naming the member at fault. */
export function readEmbeddingRequest(body: unknown): EmbeddingRequest {
  const { model, adapter, input, encoding_format: format } = check(schema, body);
  const one = typeof input === "string" || typeof input[0] === "number";
  return {
    model: model ?? null,
    adapter: adapter ?? null,
    inputs: (one ? [input] : input) as EmbeddingRequest["inputs"],
    base64: format === "base64",
  };
}
