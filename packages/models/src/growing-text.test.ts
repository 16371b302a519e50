import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { GrowingText } from "./growing-text.js";
import { randomStream } from "./sampling.js";
import { loadTokenizer, type Tokenizer } from "./tokenizer.js";

const quickstart = fileURLToPath(new URL("../../../examples/quickstart/model", import.meta.url));
const bytes = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

/** A vocabulary of bytes and words with a space mark, as Llama 2 has it. */
function fallbackJson(): object {
  const words = ["▁the", "▁whale", "▁a", "s", "<unk>"];
  const vocab: Record<string, number> = {};
  for (let i = 0; i < 256; i++) vocab[`<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`] = i;
  for (const [i, word] of words.entries()) vocab[word] = 256 + i;
  return {
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: { type: "BPE", vocab, merges: [], byte_fallback: true, unk_token: "<unk>", fuse_unk: true },
  };
}

let byteLevel: Tokenizer;
let fallback: Tokenizer;
beforeAll(async () => {
  byteLevel = await loadTokenizer(quickstart);
  fallback = await loadTokenizer({ "tokenizer.json": bytes(fallbackJson()) });
});

function grow(tokenizer: Tokenizer, ids: readonly number[], stops: string[] = [], prompt: number[] = []) {
  const growing = new GrowingText(tokenizer, prompt, stops);
  const pieces: string[] = [];
  for (const id of ids) {
    pieces.push(growing.add(id));
    if (growing.stopped) break;
  }
  pieces.push(growing.end());
  return { growing, pieces, text: pieces.join("") };
}

/** Single bytes as tokens, so that borders fall within every character. */
const byBytes = (text: string): number[] =>
  Array.from(new TextEncoder().encode(text), (byte) => {
    const id = byteLevel.tokenToId(byteLevelName(byte));
    if (id === undefined) throw new Error(`no token for byte ${byte}`);
    return id;
  });

/** The character by which byte-level vocabularies write a byte (Radford et al. 2019, the GPT-2 release). */
function byteLevelName(byte: number): string {
  const printable = (b: number): boolean =>
    (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
  if (printable(byte)) return String.fromCharCode(byte);
  let before = 0;
  for (let b = 0; b < byte; b++) if (!printable(b)) before++;
  return String.fromCharCode(256 + before);
}

describe("text that grows token by token", () => {
  test("pieces make up the decoded whole, for random tokens of a byte-level vocabulary", () => {
    const random = randomStream(4);
    for (let run = 0; run < 40; run++) {
      const ids = Array.from({ length: 60 }, () => 3 + Math.floor(random() * (run % 2 ? 400 : 4093)));
      expect(grow(byteLevel, ids).text).toBe(byteLevel.decode(ids));
    }
  });

  test("no piece holds a part of a character", () => {
    const text = "naïve — 鯨 🐋🐳 e\u0301 👩‍👩‍👧 end";
    const { pieces, text: whole } = grow(byteLevel, byBytes(text));
    expect(whole).toBe(text);
    for (const piece of pieces) {
      expect(piece).not.toContain("\ufffd");
      expect(piece).not.toMatch(/\p{Surrogate}/u);
    }
    expect(pieces.filter((piece) => piece === "").length).toBeGreaterThan(20);
  });

  test("a character that never becomes whole comes at the end, as the replacement character", () => {
    const ids = byBytes("a🐋").slice(0, 3);
    const { growing, pieces, text } = grow(byteLevel, ids);
    expect(pieces).toEqual(["a", "", "", byteLevel.decode(ids).slice(1)]);
    expect(text).toBe(byteLevel.decode(ids));
    expect(growing.text).toBe(text);
  });

  test("spaces and bytes of a vocabulary with byte fallback come out as in the middle of a text", () => {
    const whale = Array.from(new TextEncoder().encode("🐋鯨"));
    const prompt = [256, 257];
    const ids = [258, 257, 259, ...Array.from({ length: 6 }, () => whale).flat(), 257, 259];
    const { text, pieces } = grow(fallback, ids, [], prompt);
    expect(text).toBe(` a whales${"🐋鯨".repeat(6)} whales`);
    for (const piece of pieces) expect(piece).not.toContain("\ufffd");
    expect(grow(fallback, ids).text.startsWith("a whales")).toBe(true);
  });

  test("each token costs the decoding of a few, however long the text is", () => {
    let [most, calls] = [0, 0];
    const counting: Tokenizer = {
      ...byteLevel,
      decode: (ids, options) => {
        most = Math.max(most, ids.length);
        calls++;
        return byteLevel.decode(ids, options);
      },
    };
    const ids = byteLevel.encode("the whale and the sea and the ship ".repeat(60), {
      addSpecialTokens: false,
    });
    expect(grow(counting, ids).text).toBe(byteLevel.decode(ids));
    expect(most).toBeLessThan(25);
    expect(calls).toBeLessThan(3 * ids.length);
  });
});

describe("stop texts", () => {
  const text = "It was the ship. It was the whale! END of it. END";
  /** What is left before the stop text that is complete first. */
  function cut(whole: string, stops: string[]): string {
    for (let end = 1; end <= whole.length; end++) {
      const found = stops.filter((stop) => whole.slice(0, end).endsWith(stop));
      if (found.length > 0) return whole.slice(0, end - Math.max(...found.map((s) => s.length)));
    }
    return whole;
  }

  test.each([
    [["END"]],
    [["whale"]],
    [["ship. It was the whale!"]],
    [["zzz", "e w", "whale"]],
    [["abc", "he whale! ENDX", "le!"]],
    [["I"]],
    [["END of it. END."]],
  ])("%o: ends before it, whatever the tokens are, and shows nothing of it", (stops) => {
    const random = randomStream(9);
    const wanted = cut(text, stops);
    const cuts = [byBytes(text), byteLevel.encode(text, { addSpecialTokens: false })];
    for (let run = 0; run < 10; run++) {
      // Parts of random length, each encoded by itself: other tokens for the same text.
      const ids: number[] = [];
      for (let at = 0; at < text.length; ) {
        const to = at + 1 + Math.floor(random() * 7);
        ids.push(...byteLevel.encode(text.slice(at, to), { addSpecialTokens: false }));
        at = to;
      }
      cuts.push(ids);
    }
    for (const ids of cuts) {
      const { growing, text: got } = grow(byteLevel, ids, stops);
      expect(got).toBe(wanted);
      expect(growing.text).toBe(wanted);
      expect(growing.stopped).toBe(wanted !== text);
    }
  });

  test("what may begin a stop text waits, and comes when it does not", () => {
    const { pieces } = grow(byteLevel, byBytes("ab<|x ab<|end"), ["<|end"]);
    expect(pieces).toEqual(["a", "b", "", "", "<|x", " ", "a", "b", "", "", "", "", "", ""]);
  });

  test("a stop text within characters of several bytes", () => {
    const { text: got, growing } = grow(byteLevel, byBytes("🐋🐳🐋🐋"), ["🐋🐋"]);
    expect(got).toBe("🐋🐳");
    expect(growing.stopText).toBe("🐋🐋");
  });

  test("the prompt is no part of it", () => {
    const prompt = byBytes("say EN");
    expect(grow(byteLevel, byBytes("D of it"), ["END"], prompt).text).toBe("D of it");
  });

  test("an empty one is refused", () => {
    expect(() => new GrowingText(byteLevel, [], [""])).toThrow(/stop: expected texts that are not empty/);
  });
});
