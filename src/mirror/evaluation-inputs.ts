import { z } from 'zod';
import { NixferryError } from '../base/errors.ts';
import type { MirrorPlace } from './keys.ts';
import { type RootEvaluationInput, type RootRecord, readRoots, rootEvaluationInput } from './roots.ts';

/** What evaluating one root reads, for whoever wants to evaluate it. */
export interface RootInputs extends Pick<RootRecord, 'id' | 'name' | 'request' | 'complete'> {
  readonly inputs: readonly RootEvaluationInput[];
}

/** The list that `serve` publishes for clients; it needs no signature, for they fetch what it names as they fetch everything. */
export interface EvaluationInputsList {
  readonly format: 1;
  readonly storeDir: string;
  readonly roots: readonly RootInputs[];
}

/** Where the list lies below the address of a mirror; the second as plain text, a store path a line. */
export const EVALUATION_INPUTS_ADDRESS = 'nixferry/evaluation-inputs.json';
export const EVALUATION_INPUTS_TEXT_ADDRESS = 'nixferry/evaluation-inputs.txt';

/** The roots that were evaluated, with what that read. Throws as `readRoots` does. */
export async function readEvaluationInputs(place: MirrorPlace, storeDir: string): Promise<EvaluationInputsList> {
  return { format: 1, storeDir, roots: listRootInputs(await readRoots(place)) };
}

export function listRootInputs(records: readonly RootRecord[]): RootInputs[] {
  return records.flatMap(({ id, name, request, complete, evaluationInputs = [] }) =>
    evaluationInputs.length === 0 ? [] : [{ id, name, request, complete, inputs: evaluationInputs }],
  );
}

/** Reads the list as a server gave it; `where` names it. Throws `damage`, or `newer-format` for that of a newer Nixferry. */
export function parseEvaluationInputs(bytes: Uint8Array, where: string): EvaluationInputsList {
  const value = parseJson(bytes);
  const format = z.object({ format: z.number() }).safeParse(value);
  if (format.success && format.data.format > 1) {
    throw new NixferryError('newer-format', `${where} was written by a newer Nixferry`, {
      hint: 'use a Nixferry as new as the one that serves the mirror',
    });
  }
  const parsed = listSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new NixferryError('damage', `${where} is no list of evaluation inputs: ${parsed.error.issues[0]?.message}`, {
    hint: 'check the address: it must be that of a mirror which nixferry serve serves',
  });
}

const listSchema = z.object({
  format: z.literal(1),
  storeDir: z.string().regex(/^(\/[0-9A-Za-z+._?=-]+)+$/),
  roots: z.array(
    z.object({
      id: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,119}$/),
      name: z.string(),
      request: z.string(),
      complete: z.boolean(),
      inputs: z.array(rootEvaluationInput),
    }),
  ),
});

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    return undefined;
  }
}
