import type { Group, Load, Schedule, Value } from "@lowrank/tensor/backend";

const show = (value: Value): string => {
  const { home } = value;
  const place = home.kind === "temp" ? `@${home.offset}` : `${home.kind}${home.slot}`;
  return `${value.dtype}[${value.dims.join(",")}] ${place}`;
};

const showLoad = (load: Load): string => {
  if (load.kind === "scalar") return `${load.dtype} s${load.slot}`;
  if (load.kind === "iota") return `${load.dtype} iota`;
  return show(load.value);
};

function showGroup(group: Group): string {
  if (group.kind === "kernel") {
    const inputs = group.inputs.map((input) =>
      "value" in input ? show(input.value) : `${input.dtype} s${input.scalarSlot}`,
    );
    return `kernel ${group.name}: ${inputs.join(", ")} -> ${group.outputs.map(show).join(", ")}`;
  }
  const space = group.space.map((size, axis) => (group.reduced[axis] ? `(${size})` : size)).join("×") || "1";
  const outputs = [...group.stores, ...group.reductions].map(({ value }) => show(value));
  return `loop ${group.name} over ${space}, ${group.code.length} instructions: ${group.loads.map(showLoad).join(", ")} -> ${outputs.join(", ")}`;
}

/** The groups of a plan in order, one a line: sizes in brackets are reduced, `@` is an offset in the arena. */
export function explainSchedule(schedule: Schedule): string {
  const lines = schedule.groups.map((group, i) => `${i}. ${showGroup(group)}`);
  lines.push(`arena ${schedule.arenaBytes} bytes (at least ${schedule.liveBytes} are alive at once)`);
  return lines.join("\n");
}
