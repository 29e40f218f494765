/** What somebody meant who mistyped a word. */

/** Changes of one letter, swaps of two neighbours included, that make one word of the other (optimal string alignment). */
function distance(a: string, b: string): number {
  let [before, row]: [number[], number[]] = [[], Array.from({ length: b.length + 1 }, (_, at) => at)];
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swap =
        a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? (before[j - 2] ?? Infinity) + 1 : Infinity;
      next.push(Math.min(change, swap, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    [before, row] = [row, next];
  }
  return row[b.length] ?? 0;
}

/** Longer words are nobody's typing error; the table below would grow with them. */
const maxLength = 100;

/** The known word that is nearest, as long as no more than a third of it, and one letter in any case, differs. */
export function nearestWord(word: string, known: Iterable<string>): string | undefined {
  if (word.length > maxLength) return undefined;
  let best: { readonly word: string; readonly distance: number } | undefined;
  for (const each of known) {
    const away = distance(word.toLowerCase(), each);
    if (away <= Math.max(1, Math.floor(each.length / 3)) && away < (best?.distance ?? Infinity))
      best = { word: each, distance: away };
  }
  return best?.word;
}
