/** Letters to insert, delete or change to get from one word to the other (Levenshtein 1966). */
function distance(a: string, b: string): number {
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

/** The known word that is closest to one that is not known. */
export function nearest(word: string, known: readonly string[]): string {
  const cut = word.slice(0, 80).toLowerCase();
  return known.reduce((best, w) => (distance(cut, w) < distance(cut, best) ? w : best), known[0]!);
}
