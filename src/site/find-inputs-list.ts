import { isAbsolute } from 'node:path';
import { fileURLToPath } from 'node:url';
import { NixferryError } from '../base/errors.ts';
import type { HttpClient } from '../base/http-client.ts';
import { LIMITS } from '../base/limits.ts';
import {
  EVALUATION_INPUTS_ADDRESS,
  type EvaluationInputsList,
  parseEvaluationInputs,
  readEvaluationInputs,
} from '../mirror/evaluation-inputs.ts';
import { openMirror } from '../mirror/mirror.ts';

export interface FindInputsListOptions {
  readonly http: HttpClient;
  readonly signal: AbortSignal;
}

export interface FoundInputsList {
  /** The address or folder. */
  readonly where: string;
  readonly list: EvaluationInputsList;
}

/**
 * Asks one mirror after another what evaluating its roots reads, and takes the first that knows.
 * @param places addresses (http, https, file) and folders.
 * @throws NixferryError `not-a-mirror` when none does; `damage` and `newer-format` of the first that answers.
 */
export async function findInputsList(
  places: readonly string[],
  options: FindInputsListOptions,
): Promise<FoundInputsList> {
  const refusals: string[] = [];
  for (const place of places) {
    options.signal.throwIfAborted();
    const found = await readFrom(place, options, refusals);
    if (found !== undefined) return { where: place, list: found };
  }
  const why = refusals.length === 0 ? '' : `: ${refusals.join('; ')}`;
  throw new NixferryError('not-a-mirror', `nobody says what evaluation reads${why}`, {
    hint: 'name the mirror as nixferry serve serves it, with --url http://ferry:8080, or its folder with --mirror DIR',
  });
}

async function readFrom(
  place: string,
  { http, signal }: FindInputsListOptions,
  refusals: string[],
): Promise<EvaluationInputsList | undefined> {
  try {
    const folder = folderOf(place);
    if (folder !== undefined) {
      await using mirror = await openMirror(folder, { access: 'read' });
      return await readEvaluationInputs(mirror, mirror.storeDir);
    }
    const url = addressOf(place);
    const { status, bytes } = await http.getBytes(url, {
      maxBytes: LIMITS.evaluationInputsBytes,
      signal,
      accept: [404],
    });
    if (status === 200) return parseEvaluationInputs(bytes, url);
    refusals.push(`${place} has no such list`);
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof NixferryError) || !PASSED_OVER.has(error.code)) throw error;
    refusals.push(error.message);
  }
  return undefined;
}

const PASSED_OVER: ReadonlySet<string> = new Set(['upstream-unreachable', 'not-a-mirror', 'usage']);

function folderOf(place: string): string | undefined {
  if (isAbsolute(place)) return place;
  const url = URL.parse(place);
  return url?.protocol === 'file:' ? fileURLToPath(url) : undefined;
}

/** The store's parameters, as Nix takes them behind a `?`, are not the mirror's. */
function addressOf(place: string): string {
  const url = URL.parse(place);
  if (url === null || !['http:', 'https:'].includes(url.protocol)) {
    throw new NixferryError('usage', `${place} is no address that can be asked`, {
      hint: 'write http://HOST:PORT, https://HOST, or the folder of the mirror',
    });
  }
  url.search = '';
  url.hash = '';
  return `${url.href.replace(/\/+$/, '')}/${EVALUATION_INPUTS_ADDRESS}`;
}
