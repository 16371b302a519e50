export interface EventStreamOptions {
  /** Milliseconds for which a reader may leave what is there. */
  stallMs: number;
  /** The reader has left, or has taken nothing for too long. */
  leave(): void;
}

/** Texts as server-sent events, each taken from its source when the reader has room for it. */
export function eventStream(
  events: AsyncGenerator<string>,
  { stallMs, leave }: EventStreamOptions,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let stalled: ReturnType<typeof setTimeout> | undefined;
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        // A comment, so that the reader learns at once that it was let in, be its turn far away.
        controller.enqueue(encoder.encode(": accepted\n\n"));
      },
      async pull(controller) {
        clearTimeout(stalled);
        const { value, done } = await events.next();
        if (done) {
          controller.close();
          return;
        }
        controller.enqueue(encoder.encode(`data: ${value}\n\n`));
        stalled = setTimeout(() => {
          leave();
          controller.error(new Error("the reader takes nothing"));
        }, stallMs);
      },
      cancel() {
        clearTimeout(stalled);
        leave();
      },
    },
    { highWaterMark: 1 },
  );
}
