/** Which referrers are wanted, and in which order: regclient's `MatchOpt`, as far as it is about referrers. */
import type { Descriptor } from '../oci/descriptor.js';
import type { ReferrersOptions } from '../store/store.js';

/** Filters are joined: a referrer has to pass each. */
export interface FindReferrersOptions extends ReferrersOptions {
  /** Annotations that it must have; with the value `''` the key is enough. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** Sorted by the value of this annotation, as text; those without it come last. */
  readonly sortBy?: string;
  /** The largest value first. */
  readonly descending?: boolean;
}

/** Sorting holds all of them: as many as are remembered of one image, 300 bytes each. */
const maxSorted = 10_000;

function fits({ annotations = {} }: Descriptor, wanted: FindReferrersOptions['annotations']): boolean {
  return Object.entries(wanted ?? {}).every(([key, value]) =>
    value === '' ? key in annotations : annotations[key] === value,
  );
}

/** Those that fit; as they come, or sorted once all have come (of more than 10,000 the first). */
export async function* filterReferrers(
  referrers: AsyncIterable<Descriptor>,
  options: FindReferrersOptions,
): AsyncGenerator<Descriptor, void> {
  const { sortBy, descending = false } = options;
  const kept: { readonly descriptor: Descriptor; readonly value: string | undefined }[] = [];
  for await (const descriptor of referrers) {
    if (!fits(descriptor, options.annotations)) continue;
    if (sortBy === undefined) yield descriptor;
    else if (kept.push({ descriptor, value: descriptor.annotations?.[sortBy] }) >= maxSorted) break;
  }
  const sign = descending ? -1 : 1;
  kept.sort(({ value: a }, { value: b }) => {
    if (a === undefined || b === undefined) return Number(a === undefined) - Number(b === undefined);
    return a < b ? -sign : a > b ? sign : 0;
  });
  for (const { descriptor } of kept) yield descriptor;
}
