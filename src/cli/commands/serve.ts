import type { Command } from 'commander';
import pino from 'pino';
import { EXIT, NixferryError } from '../../base/errors.ts';
import { startServer } from '../../serve/server.ts';
import { addCommonOptions, type CommonOptions, readCommonOptions, wholeNumber } from '../common-options.ts';
import type { CommandRun } from '../run.ts';

interface ServeOptions extends CommonOptions {
  readonly listen: string;
  readonly workers?: number;
  readonly priority?: number;
}

export function define(command: Command, run: CommandRun): void {
  command
    .option('--listen <address>', 'HOST:PORT, :PORT for all addresses, or [IPV6]:PORT', '127.0.0.1:8080')
    .option('--workers <n>', 'processes that serve (default: one for each core)', wholeNumber(1, 256))
    .option(
      '--priority <n>',
      'what clients sort caches by; lower is asked first (default: as the mirror says, 30)',
      wholeNumber(0, 1_000_000),
    );
  addCommonOptions(command, ['nixferry serve --listen :8080']).action((options: ServeOptions) => serve(options, run));
}

/** Serves until it is told to stop. The log is JSON on stderr; the address goes to stdout as soon as it answers. */
async function serve(options: ServeOptions, { output, signal }: CommandRun): Promise<void> {
  const { mirrorDirectory } = await readCommonOptions(options);
  const logger = pino({ base: { name: 'nixferry' } }, pino.destination({ dest: 2, sync: true }));
  const server = await startServer({
    mirrorDirectory,
    listen: options.listen,
    workers: options.workers,
    priority: options.priority,
    logger,
    signal,
  });
  output.result(`serving ${mirrorDirectory} on ${server.url}`, { url: server.url, mirror: mirrorDirectory });
  output.say(`on each client, type: nixferry client-config --url URL (URL as the client reaches this machine)`);
  await server.closed;
  if (!signal.aborted) throw new NixferryError('address-in-use', `the server on ${server.url} has stopped by itself`);
  output.verdict(EXIT.complete, {});
}
