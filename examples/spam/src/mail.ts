/** One mail, as a model reads it. */
export interface Mail {
  readonly id: string;
  readonly spam: boolean;
  /** Subject and body. */
  readonly text: string;
}

/** Characters of a body that are kept; a model reads far fewer. */
const MOST = 4000;

/**
 * Subject and body of a mail as it was sent: of parts the first, quoted-printable and base64 decoded, tags of HTML left out. Other
 * headers say by which way a mail came and would give the answer away.
 */
export function readable(raw: string): string {
  const { head, body } = split(raw);
  const subject = field(head, "subject");
  let [part, kind] = [body, field(head, "content-type")];
  let encoding = field(head, "content-transfer-encoding");
  const boundary = /boundary="?([^";\s]+)"?/i.exec(kind)?.[1];
  if (boundary !== undefined) {
    const first = split((body.split(`--${boundary}`)[1] ?? body).replace(/^\r?\n/, ""));
    [part, kind] = [first.body, field(first.head, "content-type")];
    encoding = field(first.head, "content-transfer-encoding");
  }
  let text = decoded(part, encoding.toLowerCase());
  if (/html/i.test(kind) || /<html|<body/i.test(text.slice(0, 2000))) text = withoutTags(text);
  return `${subject}\n${text}`.replace(/\s+/g, " ").trim().slice(0, MOST);
}

function split(raw: string): { head: string; body: string } {
  const at = /\r?\n\r?\n/.exec(raw);
  if (at === null) return { head: raw, body: "" };
  return { head: raw.slice(0, at.index), body: raw.slice(at.index + at[0].length) };
}

/** A header, its lines joined; empty if there is none. */
function field(head: string, name: string): string {
  const lines = head.replace(/\r?\n[ \t]+/g, " ").split(/\r?\n/);
  const line = lines.find((l) => l.toLowerCase().startsWith(`${name}:`));
  return line === undefined ? "" : line.slice(name.length + 1).trim();
}

function decoded(text: string, encoding: string): string {
  if (encoding.startsWith("base64")) return Buffer.from(text, "base64").toString("latin1");
  if (!encoding.startsWith("quoted-printable")) return text;
  return text
    .replace(/=\r?\n/g, "")
    .replace(/=([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

const NAMED: Readonly<Record<string, string>> = { nbsp: " ", amp: "&", lt: "<", gt: ">", quot: '"' };

/** What a reader would see of HTML, roughly. */
const withoutTags = (html: string): string =>
  html
    .replace(/<(style|script)\b[^>]*>[\s\S]*?<\/\1>/gi, " ")
    .replace(/<!--[\s\S]*?-->/g, " ")
    .replace(/<[^>]*>/g, " ")
    .replace(/&(nbsp|amp|lt|gt|quot);/gi, (_, name: string) => NAMED[name.toLowerCase()]!);
