import { type Command, InvalidArgumentError } from 'commander';
import { formatCount } from '../../base/amounts.ts';
import { ERROR_TABLE, EXIT } from '../../base/errors.ts';
import { type Diagnosis, diagnose } from '../../site/doctor/diagnose.ts';
import type { Finding } from '../../site/doctor/finding.ts';
import { addCommonOptions, type CommonOptions, readCommonOptions, wholeNumber } from '../common-options.ts';
import { hashPartIn, noStorePath } from '../path-word.ts';
import type { CommandRun } from '../run.ts';

interface DoctorOptions extends CommonOptions {
  readonly url?: string;
  readonly path?: string;
  readonly serverUrl: string;
  readonly timeout?: number;
}

export function define(command: Command, run: CommandRun): void {
  command
    .option('--url <url>', 'a cache to look at besides those that Nix is configured to use', httpAddress)
    .option('--path <path>', 'a store path that the caches should have')
    .option(
      '--server-url <url>',
      'where the server of the mirror on this machine answers',
      httpAddress,
      'http://127.0.0.1:8080',
    )
    .option('--timeout <seconds>', 'for each thing that may not answer (default: 5)', wholeNumber(1, 120));
  addCommonOptions(command, [
    'nixferry doctor',
    'nixferry doctor --url http://ferry:8080 --path /nix/store/...-hello-2.12',
  ]).action((options: DoctorOptions) => doctor(options, run));
}

async function doctor(options: DoctorOptions, run: CommandRun): Promise<void> {
  const { output, signal } = run;
  const { mirrorDirectory } = await readCommonOptions(options);
  const path = options.path === undefined ? undefined : await hashPartIn(options.path);
  if (options.path !== undefined && path === undefined) {
    throw noStorePath(options.path);
  }
  const diagnosis = await diagnose({
    mirrorDirectory,
    serverUrl: options.serverUrl,
    url: options.url,
    path,
    environment: process.env,
    timeoutMs: options.timeout === undefined ? undefined : options.timeout * 1000,
    onProgress: output.onProgress,
    signal,
  });
  output.onProgress({ type: 'phase', phase: '' });
  for (const finding of diagnosis.findings) output.result(describe(finding), { ...finding });
  const counts = countLevels(diagnosis);
  const code = counts.problem > 0 ? ('unhealthy' as const) : undefined;
  const exitCode = code === undefined ? EXIT.complete : ERROR_TABLE[code].exitCode;
  const notes = counts.note === 0 ? '' : `, ${formatCount(counts.note, 'note')}`;
  const sum = `${formatCount(counts.problem, 'problem')}, ${formatCount(counts.warning, 'warning')}${notes}`;
  output.say(`\n${code === undefined ? 'healthy' : 'not healthy'}: ${sum}`);
  run.finish(exitCode);
  const { isServer, nixVersion } = diagnosis;
  output.verdict(exitCode, { ...(code === undefined ? {} : { code }), ...counts, isServer, nixVersion });
}

function countLevels({ findings }: Diagnosis): Record<Finding['level'], number> {
  const count = (level: Finding['level']): number => findings.filter((finding) => finding.level === level).length;
  return { problem: count('problem'), warning: count('warning'), note: count('note'), fine: count('fine') };
}

const SIGNS = { problem: 'PROBLEM', warning: 'warning', note: 'note   ', fine: 'fine   ' } as const;

function describe({ level, text, cure, paste }: Finding): string {
  const lines = [`${SIGNS[level]}  ${text}`];
  if (cure !== undefined) lines.push(`  cure: ${cure}`);
  if (paste !== undefined) lines.push(`  into ${paste.into}:`, ...paste.lines.map((line) => `    ${line}`));
  return lines.join('\n');
}

function httpAddress(text: string): string {
  const url = URL.parse(text);
  if (url !== null && ['http:', 'https:'].includes(url.protocol)) return text.replace(/\/+$/, '');
  throw new InvalidArgumentError('It must be an address such as http://ferry:8080.');
}
