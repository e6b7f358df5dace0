import { stat } from 'node:fs/promises';
import { formatBytes, formatCount, formatNumber } from '../../base/amounts.ts';
import { NixferryError, systemErrorCode } from '../../base/errors.ts';
import type { HttpClient } from '../../base/http-client.ts';
import { LIMITS } from '../../base/limits.ts';
import { quoteForShell } from '../../base/shell-word.ts';
import { readFormerKeys } from '../../mirror/key-rotation.ts';
import { privateLayout } from '../../mirror/layout.ts';
import { openMirror } from '../../mirror/mirror.ts';
import { readLockHolder } from '../../mirror/mirror-lock.ts';
import { parseServerReadiness, READINESS_ADDRESS } from '../../mirror/server-readiness.ts';
import { type MirrorStatus, mirrorStatus } from '../../mirror/status.ts';
import { bounded } from './bounded.ts';
import { checkUpstreams } from './check-upstreams.ts';
import { type Finding, fine, inShell, problem, warning } from './finding.ts';

export interface MirrorOptions {
  readonly directory: string;
  /** Where its server should answer. */
  readonly serverUrl: string;
  readonly http: HttpClient;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

const LOW_BYTES = 2e9;
const VERY_LOW_BYTES = 256e6;

/** Whether a folder looks like a mirror at all. */
export async function isMirrorFolder(directory: string): Promise<boolean> {
  const found = await stat(privateLayout(directory).formatFile).catch(() => undefined);
  return found?.isFile() === true;
}

/** The server's side: the mirror, its key, the room that it has, and whether it is served. */
export async function checkMirror(options: MirrorOptions): Promise<Finding[]> {
  const findings: Finding[] = [];
  try {
    await using mirror = await openMirror(options.directory, { access: 'read' });
    const status = await mirrorStatus(mirror);
    findings.push(...checkContents(status), checkSpace(status), ...(await checkKeyFile(options.directory)));
  } catch (error) {
    if (!(error instanceof NixferryError)) throw error;
    findings.push(problem('mirror', error.message, { cure: error.hint }));
  }
  const holder = readLockHolder(privateLayout(options.directory));
  if (holder !== undefined) findings.push(fine('lock', `the mirror is being written by ${holder}`));
  findings.push(...(await checkServing(options)));
  return findings;
}

function checkContents({ directory, totals, roots, interrupted, pathsInNoRoot }: MirrorStatus): Finding[] {
  const mirror = quoteForShell(directory);
  const ofNone = pathsInNoRoot === 0 ? '' : `, ${formatNumber(pathsInNoRoot)} of them for none`;
  const held = `${formatCount(totals.paths, 'path')} for ${formatCount(roots.length, 'root')}${ofNone}`;
  const findings = [fine('mirror', `${directory} holds ${held}`)];
  if (interrupted.damaged + interrupted.withheld > 0) {
    const text = `damaged in the mirror: ${formatCount(interrupted.damaged, 'path')}; withheld for that: ${interrupted.withheld}: clients do not get them`;
    const command = `nixferry verify --mirror ${mirror}`;
    findings.push(
      problem('mirror-damaged', text, inShell('have them repaired (with --upstream where there is one)', command)),
    );
  }
  const incomplete = roots.filter(({ complete }) => !complete).map(({ name }) => name);
  if (incomplete.length > 0) {
    const text = `not complete: ${formatCount(incomplete.length, 'root')}: ${incomplete.slice(0, 10).join(', ')}`;
    const command = `nixferry check ${quoteForShell(incomplete[0] ?? '')} --mirror ${mirror}`;
    findings.push(warning('root-incomplete', text, inShell('see what they lack, and have it sent', command)));
  }
  if (interrupted.quarantined > 0) {
    findings.push(
      warning('import-interrupted', `interrupted: ${formatCount(interrupted.quarantined, 'import')}`, {
        cure: 'import the same shipment again: it goes on where it stopped',
      }),
    );
  }
  return findings;
}

function checkSpace({ directory, freeBytes }: MirrorStatus): Finding {
  const free = `${formatBytes(freeBytes)} are free where ${directory} is`;
  if (freeBytes > LOW_BYTES) return fine('disk-space', free);
  const remedy = inShell('make room, or move the mirror to a larger disk', `df -h ${quoteForShell(directory)}`);
  const text = `only ${free}: imports will stop there, and nothing new can be kept`;
  return freeBytes < VERY_LOW_BYTES ? problem('disk-space', text, remedy) : warning('disk-space', text, remedy);
}

async function checkKeyFile(directory: string): Promise<Finding[]> {
  const { secretKeyFile } = privateLayout(directory);
  const findings: Finding[] = [];
  try {
    const { mode } = await stat(secretKeyFile);
    const shown = (mode & 0o777).toString(8).padStart(3, '0');
    const remedy = inShell('let only its owner read it', `chmod 600 ${quoteForShell(secretKeyFile)}`);
    if ((mode & 0o077) === 0) findings.push(fine('key-file', 'the secret key can be read by its owner alone'));
    else
      findings.push(
        problem(
          'key-file',
          `the secret key can be read by others (mode ${shown}): whoever has it signs as this mirror`,
          remedy,
        ),
      );
    const former = await readFormerKeys({ directory });
    if (former.length > 0) {
      const names = former.map(({ name }) => name);
      const lines = names.map((name) => `nixferry keys retire ${name} --mirror ${quoteForShell(directory)}`);
      findings.push(
        fine(
          'key-rotation',
          `a change of keys is under way: ${names.join(', ')} still sign beside the new one (when all clients have that: ${lines.join('; ')})`,
        ),
      );
    }
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'EACCES')
      findings.push(
        warning(
          'key-file',
          `${secretKeyFile} is not for this user to look at: run doctor as its owner to have it checked`,
        ),
      );
    else if (code !== 'ENOENT') throw error;
    else
      findings.push(
        problem(
          'key-file',
          'the mirror has no secret key: it can sign nothing',
          inShell('make one', `nixferry init --mirror ${quoteForShell(directory)}`),
        ),
      );
  }
  return findings;
}

async function checkServing({ directory, serverUrl, http, timeoutMs, signal }: MirrorOptions): Promise<Finding[]> {
  const answer = await bounded(timeoutMs, signal, (limit) =>
    http.getBytes(`${serverUrl}/${READINESS_ADDRESS}`, {
      maxBytes: LIMITS.serverReadinessBytes,
      signal: limit,
      accept: [503],
    }),
  );
  if ('value' in answer && answer.value.status === 200) {
    const upstreams = parseServerReadiness(answer.value.bytes)?.upstreams;
    return [
      fine('serving', `the server at ${serverUrl} is ready`),
      ...checkUpstreams({ address: serverUrl, upstreams }),
    ];
  }
  if ('value' in answer) {
    const remedy = inShell('see why', `curl -s ${quoteForShell(`${serverUrl}/readyz`)}`);
    return [problem('serving', `the server at ${serverUrl} runs, and says that it is not ready`, remedy)];
  }
  const why = 'late' in answer ? `no answer within ${timeoutMs / 1000} s` : 'nobody answers';
  const start = `nixferry serve --mirror ${quoteForShell(directory)} --listen :8080`;
  const cure = 'start it; or say where it listens: nixferry doctor --server-url URL';
  return [warning('serving', `the mirror is not served at ${serverUrl}: ${why}`, inShell(cure, start))];
}
