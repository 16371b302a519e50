import { FormatError } from "./format-error.js";
import type { ByteSource } from "./source.js";

const CHUNK_BYTES = 1 << 20;
/** Room for vocabularies ten times the largest published one. */
const MAX_HEADER_BYTES = 256 * 2 ** 20;

/**
 * Reads the header of a file from its start on, a piece at a time. What is asked for is compared with what the file has
 * before anything is fetched; the numbers are read from the piece at hand, after `need`.
 */
export class GgufCursor {
  private bytes: Uint8Array = new Uint8Array(0);
  private view = new DataView(this.bytes.buffer);
  /** Offset in the file of the first byte at hand. */
  private base = 0;
  /** Place in the piece at hand. */
  private at = 0;
  private readonly limit: number;

  constructor(private readonly source: ByteSource) {
    this.limit = Math.min(source.size, MAX_HEADER_BYTES);
  }

  /** Offset in the file of what comes next. */
  get offset(): number {
    return this.base + this.at;
  }

  /** Bytes of the file that a header can still take. */
  get left(): number {
    return this.limit - this.offset;
  }

  refuse(expected: string, got: string, offset = this.offset): never {
    throw new FormatError({ format: "gguf", where: this.source.name, offset, expected, got });
  }

  /** Whether `count` bytes are at hand; if not, `fetch` them. */
  has(count: number): boolean {
    return this.bytes.length - this.at >= count;
  }

  /** Brings `count` bytes to hand. */
  async fetch(count: number, what: string): Promise<void> {
    if (count > this.left) {
      const within = this.limit === this.source.size ? "of the file" : "of the largest header that is read";
      this.refuse(`${count} bytes for ${what}`, `${this.left} that are left ${within}`);
    }
    this.base = this.offset;
    const length = Math.min(Math.max(count, CHUNK_BYTES), this.limit - this.base);
    this.bytes = await this.source.read(this.base, length);
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength);
    this.at = 0;
  }

  /** A view at the next `count` bytes, which are at hand, and behind them. */
  next(count: number): DataView {
    const view = new DataView(this.view.buffer, this.view.byteOffset + this.at, count);
    this.at += count;
    return view;
  }

  u32(): number {
    const value = this.view.getUint32(this.at, true);
    this.at += 4;
    return value;
  }

  u64(): bigint {
    const value = this.view.getBigUint64(this.at, true);
    this.at += 8;
    return value;
  }

  /** The next `count` bytes, a view of what is at hand. */
  take(count: number): Uint8Array {
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }
}
