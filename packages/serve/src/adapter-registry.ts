import type { AdapterPool } from "@lowrank/adapters";
import type { FolderInput } from "@lowrank/models";
import { ADAPTER_NAME, type AdapterSource } from "./adapter-source.js";
import { HttpError } from "./http-error.js";

/** An adapter as the list of models tells it. */
export interface AdapterState {
  readonly name: string;
  readonly loaded: boolean;
  /** Requests that use it now. */
  readonly inUse: number;
}

interface Loaded {
  users: number;
  lastUse: number;
  /** Goes as soon as nobody uses it. */
  leaving: boolean;
  ready: Promise<void>;
}

export interface AdapterRegistryOptions {
  /** Folders of adapters by their names. */
  registered: ReadonlyMap<string, FolderInput>;
  /** Where others are. */
  source: AdapterSource | undefined;
  /** Runs a change of the pool while no pass is under way. */
  between<T>(f: () => T | Promise<T>): Promise<T>;
}

/**
 * Which adapters there are and which are in the pool. A request holds its adapter from the moment that it is accepted; one
 * that is registered and not loaded is loaded then, in the place of the one that nobody has used for longest if need be.
 */
export class AdapterRegistry {
  private readonly loaded = new Map<string, Loaded>();
  private clock = 0;

  constructor(
    private readonly pool: AdapterPool,
    private readonly options: AdapterRegistryOptions,
  ) {}

  /** Those registered and those loaded, in order of their names. */
  async list(): Promise<AdapterState[]> {
    const { registered, source } = this.options;
    const names = new Set([...registered.keys(), ...((await source?.list()) ?? []), ...this.loaded.keys()]);
    return [...names].sort().map((name) => {
      const entry = this.loaded.get(name);
      return { name, loaded: entry !== undefined && !entry.leaving, inUse: entry?.users ?? 0 };
    });
  }

  /**
   * Takes an adapter for a request.
   *
   * @returns what gives it back.
   * @throws HttpError 404 if there is none of that name, 503 if all places of the pool are in use.
   */
  async acquire(name: string): Promise<() => void> {
    const entry = this.loaded.get(name) ?? (await this.begin(name));
    if (entry.leaving) throw unknown(name);
    entry.users++;
    entry.lastUse = ++this.clock;
    let held = true;
    const release = (): void => {
      if (!held) return;
      held = false;
      entry.users--;
      if (entry.leaving && entry.users === 0) this.drop(name, entry);
    };
    try {
      await entry.ready;
    } catch (error) {
      release();
      throw error;
    }
    return release;
  }

  /** Loads an adapter before the first request for it. */
  async load(name: string): Promise<void> {
    (await this.acquire(name))();
  }

  /**
   * Takes an adapter out of the pool; requests that use it end first.
   *
   * @returns whether it is gone already.
   * @throws HttpError 404 if it is not loaded.
   */
  unload(name: string): boolean {
    const entry = this.loaded.get(name);
    if (entry === undefined || entry.leaving) {
      throw new HttpError(
        404,
        "adapter_not_loaded",
        `no adapter ${JSON.stringify(name.slice(0, 100))} is loaded`,
      );
    }
    entry.leaving = true;
    if (entry.users > 0) return false;
    this.drop(name, entry);
    return true;
  }

  private drop(name: string, entry: Loaded): void {
    if (this.loaded.get(name) !== entry) return;
    this.loaded.delete(name);
    if (this.pool.names.includes(name)) this.pool.unload(name);
  }

  private async begin(name: string): Promise<Loaded> {
    if (!ADAPTER_NAME.test(name)) throw unknown(name);
    const folder = this.options.registered.get(name) ?? (await this.options.source?.find(name));
    if (folder === undefined) throw unknown(name);
    const meanwhile = this.loaded.get(name);
    if (meanwhile !== undefined) return meanwhile;
    this.makeRoom();
    const entry: Loaded = { users: 0, lastUse: 0, leaving: false, ready: Promise.resolve() };
    this.loaded.set(name, entry);
    entry.ready = this.options
      .between(() => this.pool.load(name, folder))
      .catch((error: unknown) => {
        if (this.loaded.get(name) === entry) this.loaded.delete(name);
        entry.leaving = true;
        throw error;
      });
    entry.ready.catch(() => {}); // each request that waits is told
    return entry;
  }

  private makeRoom(): void {
    if (this.loaded.size < this.pool.slots) return;
    let oldest: [string, Loaded] | null = null;
    for (const [name, entry] of this.loaded) {
      if (entry.users === 0 && (oldest === null || entry.lastUse < oldest[1].lastUse)) oldest = [name, entry];
    }
    if (oldest === null) {
      const message = `all ${this.pool.slots} places for adapters are in use`;
      throw new HttpError(503, "adapters_in_use", message, null, 2);
    }
    this.drop(...oldest);
  }
}

const unknown = (name: string): HttpError =>
  new HttpError(404, "model_not_found", `there is no adapter ${JSON.stringify(name.slice(0, 100))}`, "model");
