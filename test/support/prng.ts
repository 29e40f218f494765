/** Random numbers that are the same for the same seed, so that a failing test can be run again. */

export interface Prng {
  /** Uniform in [0, 1). */
  next(): number;
  /** Uniform integer in [0, below). */
  integer(below: number): number;
  pick<T>(items: readonly T[]): T;
  bytes(length: number): Uint8Array;
  /** An independent generator that depends on this one's seed and `label` only, not on what was drawn so far. */
  fork(label: string): Prng;
}

/** FNV-1a, 32 bit: enough to spread labels over seeds. */
export function hashLabel(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  }
  return hash >>> 0;
}

/** mulberry32 (public domain): one 32-bit word of state, passes the usual small tests. */
export function createPrng(seed: number): Prng {
  let state = seed >>> 0;
  const word = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  const integer = (below: number): number => Math.floor((word() / 0x1_0000_0000) * below);
  return {
    next: () => word() / 0x1_0000_0000,
    integer,
    pick: (items) => {
      const item = items[integer(items.length)];
      if (items.length === 0) throw new RangeError('pick from nothing');
      return item as (typeof items)[number];
    },
    bytes: (length) => {
      const out = new Uint8Array(length);
      const words = new DataView(out.buffer);
      const whole = length - (length % 4);
      for (let at = 0; at < whole; at += 4) words.setUint32(at, word());
      for (let at = whole; at < length; at += 1) out[at] = word() & 0xff;
      return out;
    },
    fork: (label) => createPrng(hashLabel(`${seed >>> 0}/${label}`)),
  };
}
