import { DownloadError } from "./download-error.js";
import { quoteName } from "./format-error.js";
import { nodeBuiltin } from "./node-builtin.js";

/** Which hosts may be asked. */
export interface HostPolicy {
  /**
   * Hosts that may be asked, as `host`, `host:port` or `*.domain`. Default: the host of the address itself and, after a
   * redirect, any public one.
   */
  allowedHosts?: readonly string[] | undefined;
  /** Addresses behind a host name; injected by tests. Default: the resolver of the system, where there is one. */
  lookup?: ((hostname: string) => Promise<readonly string[]>) | undefined;
}

/** An address for a message: no user, password or query, where secrets stand. */
export const showAddress = (url: URL): string => quoteName(`${url.origin}${url.pathname}`);

const bare = (hostname: string): string =>
  hostname
    .replace(/^\[|\]$/g, "")
    .replace(/\.$/, "")
    .toLowerCase();

/** True for this machine. */
export function isLoopback(hostname: string): boolean {
  const host = bare(hostname);
  return (
    host === "localhost" || host.endsWith(".localhost") || host === "::1" || /^127(?:\.\d+){3}$/.test(host)
  );
}

/**
 * True for an address that is not of the public Internet: loopback, private, link-local, shared, multicast, reserved
 * (RFC 6890), in IPv4, IPv6 or IPv4 within IPv6; and for names that only a local network knows.
 */
export function isPrivateHost(hostname: string): boolean {
  const host = bare(hostname);
  if (isLoopback(host)) return true;
  const v4 = /^(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(host);
  if (v4 !== null) return isPrivateV4(v4.slice(1).map(Number));
  if (host.includes(":")) return isPrivateV6(host);
  return !host.includes(".") || /\.(?:local|localdomain|internal|intranet|lan|home|corp|arpa)$/.test(host);
}

function isPrivateV4([a = 0, b = 0, c = 0]: number[]): boolean {
  return (
    a === 0 ||
    a === 10 ||
    a === 127 ||
    (a === 100 && b >= 64 && b < 128) ||
    (a === 169 && b === 254) ||
    (a === 172 && b >= 16 && b < 32) ||
    (a === 192 && (b === 168 || (b === 0 && (c === 0 || c === 2)))) ||
    (a === 198 && (b === 18 || b === 19 || (b === 51 && c === 100))) ||
    (a === 203 && b === 0 && c === 113) ||
    a >= 224
  );
}

function isPrivateV6(host: string): boolean {
  // A URL spells IPv6 in its shortest form, and IPv4 within it in hexadecimal digits.
  const [left = "", right] = (host.split("%")[0] as string).split("::");
  const groups = (part: string): string[] => (part === "" ? [] : part.split(":"));
  const [head, tail] = [groups(left), groups(right ?? "")];
  const dotted = /^(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(tail.at(-1) ?? head.at(-1) ?? "");
  const words = [...head, ...Array(Math.max(0, 8 - head.length - tail.length)).fill("0"), ...tail].map((w) =>
    Number.parseInt(w, 16),
  );
  const within = dotted?.slice(1).map(Number) ?? [
    words[6]! >> 8,
    words[6]! & 255,
    words[7]! >> 8,
    words[7]! & 255,
  ];
  const first = words[0]!;
  const zeros = words.slice(0, 5).every((w) => w === 0);
  if (zeros && (words[5] === 0xffff || words[5] === 0)) return isPrivateV4(within); // ::ffff:a.b.c.d, ::, ::1
  if (first === 0x64 && words[1] === 0xff9b) return isPrivateV4(within); // NAT64
  if (first === 0x2002) return isPrivateV4([words[1]! >> 8, words[1]! & 255, words[2]! >> 8]); // 6to4
  return (first & 0xe000) !== 0x2000 || (first === 0x2001 && words[1] === 0xdb8); // only 2000::/3 is global unicast
}

const matches = (url: URL, pattern: string): boolean =>
  pattern.startsWith("*.")
    ? url.hostname.endsWith(pattern.slice(1)) && url.port === ""
    : pattern === url.host || (pattern === url.hostname && url.port === "");

/**
 * Checks an address before anything is sent: https, or http on this machine; no user and password in it; its host
 * among the allowed ones.
 *
 * @throws DownloadError
 */
export function checkAddress(url: URL, { allowedHosts }: HostPolicy = {}): void {
  const refuse = (expected: string, got: string, hint?: string): never => {
    throw new DownloadError({ where: showAddress(url), expected, got, hint });
  };
  if (url.protocol !== "https:" && !(url.protocol === "http:" && isLoopback(url.hostname))) {
    refuse("https, or http on this machine", quoteName(url.protocol.replace(/:$/, "")));
  }
  if (url.username !== "" || url.password !== "")
    refuse("an address without user and password", "one with them");
  if (allowedHosts !== undefined && !allowedHosts.some((pattern) => matches(url, pattern))) {
    refuse(`a host among ${allowedHosts.join(", ")}`, quoteName(url.host));
  }
}

/**
 * Checks where a server sends us. A redirect may stay on its host or lead to an allowed one; without a list it may lead to
 * any public host, but never to this machine or a private network, by number or by name.
 *
 * @throws DownloadError
 */
export async function checkRedirect(from: URL, to: URL, policy: HostPolicy): Promise<void> {
  checkAddress(to, policy);
  if (to.origin === from.origin || policy.allowedHosts !== undefined) return;
  const refuse = (got: string): never => {
    throw new DownloadError({
      where: showAddress(from),
      expected: "no redirect to a private address",
      got: `one to ${got}`,
      hint: "name that address itself if you trust it",
    });
  };
  if (isPrivateHost(to.hostname)) refuse(quoteName(to.host));
  const lookup = policy.lookup ?? systemLookup;
  for (const address of await lookup(to.hostname)) {
    if (isPrivateHost(address)) refuse(`${quoteName(to.host)}, which is ${address}`);
  }
}

/** Empty where the host has no resolver to ask (a browser), or it knows nothing (then the request itself will fail). */
async function systemLookup(hostname: string): Promise<readonly string[]> {
  const dns = nodeBuiltin("node:dns");
  if (dns === undefined) return [];
  try {
    return (await dns.promises.lookup(hostname, { all: true })).map(({ address }) => address);
  } catch {
    return [];
  }
}
