// What kind of file a library is, read from its first bytes: the loader of the system may crash on a broken one.
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { refuse } from "./library.js";

const HEADER = 64;
const LOAD = 1;

const ELF_MACHINES: Readonly<Record<number, string>> = {
  3: "ia32",
  8: "mips",
  21: "ppc64",
  22: "s390x",
  40: "arm",
  62: "x64",
  183: "arm64",
  243: "riscv64",
  258: "loong64",
};
const PE_MACHINES: Readonly<Record<number, string>> = { 332: "ia32", 34404: "x64", 43620: "arm64" };
const MACH_MACHINES: Readonly<Record<number, string>> = { 16777223: "x64", 16777228: "arm64" };

interface Binary {
  readonly format: "ELF" | "Mach-O" | "PE";
  /** As in `process.arch`; all that a file for several architectures holds. */
  readonly architectures: readonly string[];
  /** Bytes that the file must have to be whole, as far as its header says. */
  readonly leastBytes: number;
}

const WITH_ARTICLE = { ELF: "an ELF", "Mach-O": "a Mach-O", PE: "a PE" } as const;
const FORMATS: Partial<Record<NodeJS.Platform, Binary["format"]>> = { darwin: "Mach-O", win32: "PE" };

/**
 * @throws DeviceError if the file is missing, is no library of this system and processor, or is cut off. The libraries of
 * macOS itself are in no file and are let through.
 */
export function expectBinary(
  path: string,
  { platform, arch } = process as Pick<NodeJS.Process, "platform" | "arch">,
): void {
  if (platform === "darwin" && path.startsWith("/System/")) return;
  const wanted = FORMATS[platform] ?? "ELF";
  const expected = `${WITH_ARTICLE[wanted]} library for ${arch}`;
  let file: number;
  try {
    file = openSync(path, "r");
  } catch (error) {
    throw refuse(path, expected, (error as Error).message);
  }
  try {
    const stat = fstatSync(file);
    if (!stat.isFile()) throw refuse(path, expected, stat.isDirectory() ? "a folder" : "no file");
    const read = (at: number, bytes: number): DataView => {
      const into = new Uint8Array(bytes);
      const got = readSync(file, into, 0, bytes, at);
      return new DataView(into.buffer, 0, got);
    };
    const binary = describe(read);
    if (!binary) throw refuse(path, expected, `a file of ${stat.size} bytes that is no library`);
    const { format, architectures, leastBytes } = binary;
    if (format !== wanted || !architectures.includes(arch))
      throw refuse(path, expected, `${WITH_ARTICLE[format]} library for ${architectures.join(", ")}`);
    if (stat.size < leastBytes)
      throw refuse(
        path,
        `a whole library of at least ${leastBytes} bytes`,
        `${stat.size} bytes: the file is cut off`,
        "install it again",
      );
  } finally {
    closeSync(file);
  }
}

function describe(read: (at: number, bytes: number) => DataView): Binary | null {
  const head = read(0, HEADER);
  if (head.byteLength < HEADER) return null;
  const magic = head.getUint32(0);
  if (magic === 0x7f454c46) return elf(head, read);
  if (magic === 0xcffaedfe) return machO([head.getUint32(4, true)]);
  if (magic === 0xcafebabe) {
    const count = Math.min(head.getUint32(4), 2);
    return machO(Array.from({ length: count }, (_, i) => head.getUint32(8 + 20 * i)));
  }
  if (head.getUint16(0) !== 0x4d5a) return null;
  const at = head.getUint32(60, true);
  const pe = read(at, 6);
  if (pe.byteLength < 6 || pe.getUint32(0) !== 0x50450000) return null;
  const machine = pe.getUint16(4, true);
  return { format: "PE", architectures: [PE_MACHINES[machine] ?? `machine ${machine}`], leastBytes: at + 6 };
}

const machO = (machines: readonly number[]): Binary => ({
  format: "Mach-O",
  architectures: machines.map((machine) => MACH_MACHINES[machine] ?? `machine ${machine}`),
  leastBytes: HEADER,
});

/** The segments that are mapped must lie within the file: a thread that touches a page beyond its end is killed. */
function elf(head: DataView, read: (at: number, bytes: number) => DataView): Binary {
  const wide = head.getUint8(4) === 2;
  const little = head.getUint8(5) === 1;
  const machine = head.getUint16(18, little);
  const name = ELF_MACHINES[machine] ?? `machine ${machine}`;
  const architecture = wide ? name : name === "x64" ? "x32" : name;
  const binary = {
    format: "ELF",
    architectures: [little ? architecture : `${architecture}, big endian`],
  } as const;
  if (!wide || !little) return { ...binary, leastBytes: HEADER };
  const at = Number(head.getBigUint64(32, true));
  const size = head.getUint16(54, true);
  const count = head.getUint16(56, true);
  let leastBytes = at + size * count;
  const table = read(at, size * count);
  for (let i = 0; (i + 1) * size <= table.byteLength && size >= 56; i++) {
    const segment = i * size;
    if (table.getUint32(segment, true) !== LOAD) continue;
    const end = Number(table.getBigUint64(segment + 8, true) + table.getBigUint64(segment + 32, true));
    leastBytes = Math.max(leastBytes, end);
  }
  return { ...binary, leastBytes };
}
