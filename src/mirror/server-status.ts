import { z } from 'zod';
import { SCOPES } from './roots.ts';

/** What a server says of itself to programs. It is not signed: nothing may be trusted for it. */
export interface ServerStatus {
  readonly format: 1;
  readonly storeDir: string;
  /** `name:base64`; the first is what it signs with, others are former ones that still sign. */
  readonly publicKeys: readonly string[];
  /** Whether it offers its own store, too. */
  readonly localStore: boolean;
  readonly roots: readonly ServerRoot[];
  /** All that the mirror holds, of roots or not; absent when that cannot be said cheaply. */
  readonly holds?: { readonly paths: number; readonly fileBytes: number } | undefined;
  /** The hash part of a path that it has, to try out a client with. */
  readonly example?: string | undefined;
}

export interface ServerRoot {
  readonly name: string;
  readonly scope: (typeof SCOPES)[number];
  readonly complete: boolean;
  readonly pathCount: number;
}

/** Below the address of a mirror. */
export const SERVER_STATUS_ADDRESS = 'nixferry/status.json';

/** Undefined for whatever is not such a status. */
export function parseServerStatus(bytes: Uint8Array): ServerStatus | undefined {
  try {
    return schema.safeParse(JSON.parse(Buffer.from(bytes).toString('utf8'))).data;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

const schema = z.object({
  format: z.literal(1),
  storeDir: z.string().max(256),
  publicKeys: z.array(z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._+@=-]{0,119}:[A-Za-z0-9+/]{43}=$/)).max(64),
  localStore: z.boolean(),
  roots: z
    .array(
      z.object({
        name: z.string().max(1000),
        scope: z.enum(SCOPES),
        complete: z.boolean(),
        pathCount: z.int().min(0),
      }),
    )
    .max(10_000),
  holds: z.object({ paths: z.int().min(0), fileBytes: z.number().min(0) }).optional(),
  example: z
    .string()
    .regex(/^[0-9abcdfghijklmnpqrsvwxyz]{32}$/)
    .optional(),
});
