import type { FolderInput } from "@lowrank/models";
import { showDifference, stateDifference } from "@lowrank/nn";
import { type Assignment, ConfigError, evaluate, type Parameter } from "@lowrank/tensor";
import type { Attached } from "./attached.js";
import { readPeft } from "./peft.js";

/**
 * Gives an adapter on a model the values of another in a PEFT folder, in place: the parameters, whoever holds them and every
 * plan that was made with them stay. The other needs the same method on the same layers with the same shapes; an alpha
 * of its own changes the program, so that its first pass makes a plan.
 *
 * All values change together, after everything has been checked. Trained on or not stays as it was.
 *
 * @example
 * ```ts
 * const adapted = await loadPeft(model, "adapters/formal");
 * await hotSwap(adapted, "adapters/terse");
 * ```
 * @throws ConfigError for another method, other layers or shapes (all listed), other settings of a method that derives some of its
 * numbers from them, and a merged adapter; FormatError for a damaged file.
 * @category Contract
 */
export async function hotSwap(attached: Attached, input: FolderInput): Promise<void> {
  const { adapter, model, places, name } = attached;
  const where = `hotSwap ${name}`;
  const refuse = (expected: string, got: string, hint: string): never => {
    throw new ConfigError({ where, expected, got, hint });
  };
  if (attached.merged) refuse("layers that are not merged", "merged ones", "call unmerge() first");
  const read = await readPeft(model, input, { name: `${name}-swapped`, adapters: [adapter] });
  const entries = new Map(read.plan.layers.map(({ entry }) => [entry.target.path, entry]));
  const difference = showDifference(
    stateDifference(
      new Map(shapes([...places.map(({ entry }) => entry)], attached.full.parameters())),
      new Map(shapes([...entries.values()], read.plan.full.parameters())),
    ),
  );
  const hint = "detach() this one and use loadPeft, or an adapterPool, which takes any rank up to its own";
  if (difference !== "") refuse(`the parameters of ${name}`, difference, hint);
  const settings = JSON.stringify(attached.config);
  if (adapter.derived !== undefined && JSON.stringify(read.config) !== settings)
    refuse(`settings ${settings}`, JSON.stringify(read.config), hint);

  const assignments = new Map<Parameter, Assignment>();
  for (const { entry } of places) {
    for (const [field, value] of Object.entries(read.values.get(entries.get(entry.target.path)!)!))
      assignments.set(entry.params[field]!, entry.params[field]!.assign(value));
  }
  for (const [path, own] of attached.full.parameters())
    assignments.set(own, own.assign(read.full.get(path)!));
  await evaluate(...assignments.values());
  for (const { entry } of places) entry.config = entries.get(entry.target.path)!.config;
  attached.config = read.config;
  const { key, dtype, patterns } = attached.options;
  attached.options = { key, dtype, patterns, ...read.options, name };
}

type Named = [name: string, parameter: Parameter];

const shapes = (
  entries: readonly { target: { path: string }; params: Readonly<Record<string, Parameter>> }[],
  full: readonly Named[],
): Named[] => [
  ...entries.flatMap(({ target: { path }, params }) =>
    Object.entries(params).map(([field, p]): Named => [`${path}.${field}`, p]),
  ),
  ...full,
];
