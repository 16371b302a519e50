export const whole = (n: number): string => Math.round(n).toLocaleString("en");

/** "3.95 million" */
export const millions = (n: number): string => `${(n / 1e6).toFixed(2)} million`;

/** "8.1 MB" */
export const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

/** "240 ms", "1.3 s" */
export const milliseconds = (ms: number): string =>
  ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;

/** "8 s", "2 min 5 s" */
export function duration(seconds: number): string {
  const s = Math.round(seconds);
  return s < 60 ? `${s} s` : `${Math.floor(s / 60)} min ${s % 60} s`;
}
