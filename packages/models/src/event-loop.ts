/** Longest time in milliseconds that a loop of passes keeps the thread for itself. */
const PATIENCE_MS = 30;

let last = 0;

/**
 * Lets events in where none has run for a while: a backend that computes on this thread leaves none between its passes,
 * so that signals, timers and an AbortController would have to wait for the last of them.
 */
export async function letEventsRun(): Promise<void> {
  if (performance.now() - last < PATIENCE_MS) return;
  await nextEvents();
  last = performance.now();
}

/** Lets the events in that wait. */
export const nextEvents = (): Promise<void> =>
  new Promise((resolve) => {
    if (typeof setImmediate === "function") return void setImmediate(resolve);
    const { port1, port2 } = new MessageChannel(); // not a timer, which a hidden page may hold back for seconds
    port1.onmessage = () => resolve(port1.close());
    port2.postMessage(0);
  });
