/** Longer pieces are no result of training, and their splits would take quadratic time. */
const MAX_PIECE = 512;

/**
 * The merges of a SentencePiece BPE: every way to cut a piece into two others, in the order of the pieces' scores, highest
 * first. Among cuts of one score those with longer left halves come first, as in Hugging Face's conversion.
 */
export function scoredMerges(tokens: readonly string[], scores: ArrayLike<number>): [string, string][] {
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const merges: { left: string; right: string; score: number }[] = [];
  for (const [id, token] of tokens.entries()) {
    if (token.length > MAX_PIECE) continue;
    const cuts: typeof merges = [];
    for (let at = 1; at < token.length; at++) {
      const [left, right] = [token.slice(0, at), token.slice(at)];
      if (ids.has(left) && ids.has(right)) cuts.push({ left, right, score: scores[id]! });
    }
    cuts.sort((a, b) => ids.get(a.left)! - ids.get(b.left)! || ids.get(a.right)! - ids.get(b.right)!);
    merges.push(...cuts);
  }
  const length = (text: string): number => [...text].length;
  merges.sort(
    (a, b) => b.score - a.score || length(b.left) - length(a.left) || length(b.right) - length(a.right),
  );
  return merges.map(({ left, right }) => [left, right]);
}
