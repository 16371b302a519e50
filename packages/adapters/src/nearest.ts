/** Number of letters to insert, delete or change to get from one word to the other (Levenshtein 1966). */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length]!;
}

/** The words closest to one, the nearest first. */
export const nearest = (word: string, words: readonly string[], count = 4): string[] =>
  [...new Set(words)]
    .map((w) => ({ w, distance: editDistance(word.slice(0, 200), w.slice(0, 200)) }))
    .sort((a, b) => a.distance - b.distance || (a.w < b.w ? -1 : 1))
    .slice(0, count)
    .map(({ w }) => w);
