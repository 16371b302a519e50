import type { Group } from "@lowrank/tensor/backend";

/** Time spent in the groups of one name. */
export interface ProfileRow {
  readonly name: string;
  readonly runs: number;
  readonly ms: number;
}

/** Adds up the time of groups by name and shape. */
export class Profile {
  private readonly rows = new Map<string, { name: string; runs: number; ms: number }>();

  add(group: Group, ms: number): void {
    const name = nameOf(group);
    let row = this.rows.get(name);
    if (!row) this.rows.set(name, (row = { name, runs: 0, ms: 0 }));
    row.runs++;
    row.ms += ms;
  }

  /** The rows, the most expensive first; starts counting anew. */
  take(): ProfileRow[] {
    const rows = [...this.rows.values()].sort((a, b) => b.ms - a.ms);
    this.rows.clear();
    return rows;
  }
}

function nameOf(group: Group): string {
  if (group.kind === "loop") return `${group.name} over ${group.space.join("×") || "1"}`;
  const shapes = group.inputs.map((input) => ("value" in input ? input.dims.join("×") : "scalar"));
  return `${group.name} of ${shapes.join(", ")}`;
}
