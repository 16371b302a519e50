import type { Group, KernelGroup, LoopGroup, Schedule, Value } from "./ir.js";

const home = (v: Value): string =>
  v.home.kind === "temp"
    ? `@${v.home.offset}`
    : v.home.kind === "leaf"
      ? `leaf${v.home.slot}`
      : v.home.kind === "root"
        ? `root${v.home.slot}`
        : "";

const name = (v: Value): string => `v${v.id}:${v.dtype}[${v.dims.join(",")}]${home(v)}`;

const input = (i: KernelGroup["inputs"][number]): string =>
  "value" in i ? name(i.value) : `s${i.scalarSlot}`;

function line(group: Group): string {
  if (group.kind === "kernel") {
    const { epilogue } = group;
    const outputs = epilogue ? written(epilogue) : group.outputs.map(name).join(", ");
    const more = epilogue ? `; ${loaded(epilogue)}` : "";
    return `${group.name} (${group.inputs.map(input).join(", ")}${more}) -> ${outputs}`;
  }
  const axes = group.space.map((n, d) => (group.reduced[d] ? `${n}r` : `${n}`)).join(",");
  return `loop ${group.name} [${axes}] (${loaded(group)}) -> ${written(group)}`;
}

const loaded = (loop: LoopGroup): string =>
  loop.loads.map((l) => (l.kind === "value" ? name(l.value) : l.kind)).join(", ");

const written = (loop: LoopGroup): string =>
  [...loop.stores, ...loop.reductions].map((s) => name(s.value)).join(", ");

/** The groups of a schedule in order and its memory, as text that can be compared. */
export function explainSchedule(schedule: Schedule): string {
  const lines = schedule.groups.map((g, i) => `${String(i).padStart(3)} ${line(g)}`);
  return [...lines, `arena ${schedule.arenaBytes} bytes, alive at once ${schedule.liveBytes}`].join("\n");
}
