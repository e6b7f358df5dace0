import { randomInt } from 'node:crypto';

export interface Random {
  /** What to set NIXFERRY_SEED to for the same numbers again. */
  readonly seed: number;
  /** From 0 up to, but not, 1. */
  next(): number;
}

/** Numbers that look random and can be had again: print the seed where a test may fail. (mulberry32) */
export function makeRandom(seed = Number(process.env['NIXFERRY_SEED'] ?? randomInt(2 ** 31))): Random {
  let state = seed;
  return {
    seed,
    next: () => {
      state = (state + 0x6d2b79f5) | 0;
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
    },
  };
}
