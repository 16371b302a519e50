/** The Node modules that the file code asks for. */
interface Builtins {
  "node:fs": typeof import("node:fs");
  "node:path": typeof import("node:path");
  "node:url": typeof import("node:url");
  "node:crypto": typeof import("node:crypto");
  "node:dns": typeof import("node:dns");
  "node:os": typeof import("node:os");
}

/**
 * A Node module, or undefined where the host is no Node. Asked for at run time and not imported, so that a bundler for
 * browsers has nothing to resolve. Node has `process.getBuiltinModule` since 20.16; Deno and Bun have it too.
 */
export function nodeBuiltin<K extends keyof Builtins>(name: K): Builtins[K] | undefined {
  const host = (globalThis as { process?: { getBuiltinModule?: (id: string) => unknown } }).process;
  return host?.getBuiltinModule?.(name) as Builtins[K] | undefined;
}

/** As {@link nodeBuiltin}, but says what is missing. `where` is the function that needs the module. */
export function requireBuiltin<K extends keyof Builtins>(name: K, where: string): Builtins[K] {
  const found = nodeBuiltin(name);
  if (found === undefined) {
    throw new Error(
      `${where}: expected Node 20.16 or newer, Deno or Bun (module ${name}), got a host without it; ` +
        "pass a Blob, an ArrayBuffer or a map of them in place of a path",
    );
  }
  return found;
}
