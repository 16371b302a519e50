import type { FileLayer } from "../src/file-layer.js";

/**
 * A disk in memory that remembers what would survive a power cut: of a file what was synced, of a folder the names that
 * were synced. Calls that change something are counted; at a chosen one the machine stops or the call fails.
 */

interface DiskFile {
  kind: "file";
  bytes: number[];
  synced: number[];
}
interface DiskFolder {
  kind: "folder";
  entries: Map<string, DiskNode>;
  synced: Map<string, DiskNode>;
  /** Changes of names since the last sync, in order. */
  pending: ((entries: Map<string, DiskNode>) => void)[];
}
type DiskNode = DiskFile | DiskFolder;

/** What becomes of everything that was not synced when the power goes. */
export type Fate = "lost" | "kept" | ((choices: number) => number);

const newFolder = (): DiskFolder => ({ kind: "folder", entries: new Map(), synced: new Map(), pending: [] });

function systemError(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}

export class SimulatedDisk {
  private root = newFolder();
  private calls = 0;
  /** The machine stops at this call, before it has done anything; it and all later ones throw. */
  stopAt = Number.POSITIVE_INFINITY;
  /** This one call fails with `failWith`; a write that fails has written half. */
  failAt = Number.POSITIVE_INFINITY;
  failWith = "ENOSPC";

  get callCount(): number {
    return this.calls;
  }

  /** The power goes and comes back. */
  crash(fate: Fate): void {
    const visit = (node: DiskNode): void => {
      if (node.kind === "file") {
        if (fate === "lost") node.bytes = [...node.synced];
        else if (fate !== "kept") {
          // Torn: some of what was written later is there, perhaps as zeros.
          const length = node.synced.length + fate(node.bytes.length - node.synced.length + 1);
          node.bytes = node.bytes.slice(0, length);
          if (fate(2) === 1) node.bytes.fill(0, node.synced.length);
        }
        node.synced = [...node.bytes];
        return;
      }
      const entries = new Map(node.synced);
      for (const change of node.pending)
        if (fate === "kept" || (fate !== "lost" && fate(2) === 1)) change(entries);
      node.entries = entries;
      node.synced = new Map(entries);
      node.pending = [];
      for (const child of entries.values()) visit(child);
    };
    visit(this.root);
    this.stopAt = Number.POSITIVE_INFINITY;
    this.failAt = Number.POSITIVE_INFINITY;
    this.calls = 0;
  }

  private step(path: string): void {
    const call = this.calls++;
    if (call >= this.stopAt) throw new Error("the machine has stopped");
    if (call === this.failAt) throw systemError(this.failWith, path);
  }

  private find(path: string): DiskNode | undefined {
    let node: DiskNode | undefined = this.root;
    for (const part of path.split("/").filter(Boolean))
      node = node?.kind === "folder" ? node.entries.get(part) : undefined;
    return node;
  }

  private parent(path: string): { folder: DiskFolder; name: string } {
    const at = path.lastIndexOf("/");
    const folder = this.find(path.slice(0, at));
    if (folder?.kind !== "folder") throw systemError("ENOENT", path);
    return { folder, name: path.slice(at + 1) };
  }

  private change(folder: DiskFolder, change: (entries: Map<string, DiskNode>) => void): void {
    change(folder.entries);
    folder.pending.push(change);
  }

  /** Flips one bit of a stored file. */
  flip(path: string, byte: number, bit: number): void {
    const file = this.find(path);
    if (file?.kind !== "file") throw systemError("ENOENT", path);
    file.bytes[byte] = (file.bytes[byte] as number) ^ (1 << bit);
  }

  size(path: string): number {
    const file = this.find(path);
    return file?.kind === "file" ? file.bytes.length : -1;
  }

  text(path: string): string | undefined {
    const file = this.find(path);
    return file?.kind === "file" ? new TextDecoder().decode(Uint8Array.from(file.bytes)) : undefined;
  }

  names(path: string): string[] {
    const folder = this.find(path);
    return folder?.kind === "folder" ? [...folder.entries.keys()].sort() : [];
  }

  readonly layer: FileLayer = {
    makeFolder: async (path) => {
      this.step(path);
      const { folder, name } = this.parent(path);
      if (folder.entries.has(name)) throw systemError("EEXIST", path);
      const made = newFolder();
      this.change(folder, (entries) => entries.set(name, made));
    },
    create: async (path) => {
      this.step(path);
      const { folder, name } = this.parent(path);
      if (folder.entries.has(name)) throw systemError("EEXIST", path);
      const file: DiskFile = { kind: "file", bytes: [], synced: [] };
      this.change(folder, (entries) => entries.set(name, file));
      return {
        write: async (bytes) => {
          try {
            this.step(path);
          } catch (error) {
            file.bytes.push(...bytes.subarray(0, bytes.length >> 1));
            throw error;
          }
          file.bytes.push(...bytes);
        },
        sync: async () => {
          this.step(path);
          file.synced = [...file.bytes];
        },
        close: async () => {},
      };
    },
    rename: async (from, to) => {
      this.step(to);
      const source = this.parent(from);
      const target = this.parent(to);
      if (source.folder !== target.folder) throw systemError("EXDEV", to);
      const node = source.folder.entries.get(source.name);
      const existing = target.folder.entries.get(target.name);
      if (node === undefined) throw systemError("ENOENT", from);
      if (existing !== undefined && (node.kind === "folder" || existing.kind === "folder"))
        throw systemError("ENOTEMPTY", to);
      this.change(target.folder, (entries) => {
        entries.delete(source.name);
        entries.set(target.name, node);
      });
    },
    remove: async (path) => {
      this.step(path);
      const { folder, name } = this.parent(path);
      if (folder.entries.has(name)) this.change(folder, (entries) => entries.delete(name));
    },
    syncFolder: async (path) => {
      this.step(path);
      const folder = this.find(path);
      if (folder?.kind !== "folder") throw systemError("ENOENT", path);
      folder.synced = new Map(folder.entries);
      folder.pending = [];
    },
    list: async (path) => {
      const folder = this.find(path);
      if (folder?.kind !== "folder") throw systemError("ENOENT", path);
      return [...folder.entries.keys()];
    },
    exists: async (path) => this.find(path) !== undefined,
    read: (path) => this.content(path),
  };

  private async *content(path: string): AsyncGenerator<Uint8Array> {
    const file = this.find(path);
    if (file?.kind !== "file") throw systemError("ENOENT", path);
    for (let at = 0; at < file.bytes.length; at += 7) yield Uint8Array.from(file.bytes.slice(at, at + 7));
  }
}
