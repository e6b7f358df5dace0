import { z } from 'zod';
import type { UpstreamState } from './upstream-state.ts';

/** What a server says at `/readyz`, as far as others read it. It is not signed: nothing may be trusted for it. */
export interface ServerReadiness {
  readonly ready: boolean;
  /** Those of a caching proxy; empty for others, and while nobody knows. */
  readonly upstreams: readonly UpstreamState[];
}

/** Below the address of a mirror. */
export const READINESS_ADDRESS = 'readyz';

/** Undefined for whatever is not such an answer. */
export function parseServerReadiness(bytes: Uint8Array): ServerReadiness | undefined {
  try {
    return schema.safeParse(JSON.parse(Buffer.from(bytes).toString('utf8'))).data;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

const text = z.string().max(4000);
const schema = z.object({
  ready: z.boolean(),
  upstreams: z
    .array(
      z.object({
        url: text,
        state: z.enum(['up', 'down', 'unusable', 'not known yet']),
        reason: text.optional(),
        next: text.optional(),
        refused: z.object({ answers: z.int().min(0), lastReason: text, lastPath: text }).optional(),
      }),
    )
    .max(100)
    .default([]),
});
