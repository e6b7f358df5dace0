import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { formatCount } from '../../base/amounts.ts';
import { EXIT, NixferryError } from '../../base/errors.ts';
import { makeFolders, namesIn, writeFileAtomic } from '../../base/files.ts';
import { currentSystem } from '../../evaluate/private-nix.ts';
import { DEFAULT_STORE_DIR, storeDirOf } from '../../nix/index.ts';
import { INSTALLER_FILE } from '../../shipment/format.ts';
import { openShippedNix, type ShippedNix } from '../../shipment/with-nix.ts';
import { formatRegistrations } from '../../store/registration.ts';
import { unpackClosure } from '../../store/unpack-closure.ts';
import { addCommonOptions, type CommonOptions, collectValues } from '../common-options.ts';
import type { CommandRun } from '../run.ts';
import { openMirrorIfThere, readSenderKeys } from '../showing.ts';

interface UnpackNixOptions extends CommonOptions {
  readonly to: string;
  readonly trust?: readonly string[];
  readonly system?: string;
}

export function define(command: Command, run: CommandRun): void {
  command
    .argument('<dirs...>', 'the medium; several folders where its volumes lie apart')
    .option('--to <dir>', 'the root of the system that gets it', '/')
    .option('--trust <key>', 'key of the sender, name:base64, taken over by another way than the medium', collectValues)
    .option('--system <system>', `the kind of machine (default: ${currentSystem()})`);
  addCommonOptions(command, [
    `nixferry unpack-nix /media/stick --trust office-1:8pV3...   # ${INSTALLER_FILE} on the medium does this, and the rest`,
    'nixferry unpack-nix /media/stick --to /mnt',
  ]).action((directories: string[], options: UnpackNixOptions) => unpackNix(directories, options, run));
}

async function unpackNix(directories: readonly string[], options: UnpackNixOptions, run: CommandRun): Promise<void> {
  const { output, signal } = run;
  await using mirror = await openMirrorIfThere(options, output);
  const trusted = await readSenderKeys(mirror, options.trust ?? []);
  await using nix = await openNix(directories, trusted, options, mirror, run);
  const { storePath, closure } = nix;
  const root = resolve(options.to);
  const own = join(root, 'nix', OWN_FOLDER);
  await claim(join(root, 'nix'), own);
  const storeFolder = join(root, storeDirOf(storePath));
  const result = await unpackClosure(closure, { storeFolder, onProgress: output.onProgress, signal });
  output.onProgress({ type: 'phase', phase: '' });
  const registration = join(own, 'registration');
  await writeFileAtomic(registration, formatRegistrations(closure.paths));
  output.say(
    `complete: ${formatCount(result.unpackedPaths, 'path')} unpacked into ${storeFolder}, ${result.presentPaths} were there`,
  );
  output.result(storePath, { storePath, registration, ...result });
  output.say(`next: ${storePath}/bin/nix-store --load-db < ${registration}`);
  output.verdict(EXIT.complete, { storePath, registration, ...result });
}

async function openNix(
  directories: readonly string[],
  trusted: Awaited<ReturnType<typeof readSenderKeys>>,
  options: UnpackNixOptions,
  mirror: Awaited<ReturnType<typeof openMirrorIfThere>>,
  { signal }: CommandRun,
): Promise<ShippedNix> {
  const system = options.system ?? currentSystem();
  try {
    const nix = await openShippedNix({ directories, trusted, system, mirror, signal });
    if (storeDirOf(nix.storePath) === DEFAULT_STORE_DIR) return nix;
    await nix[Symbol.asyncDispose]();
    throw new NixferryError('store-dir-mismatch', `${nix.storePath} is not in ${DEFAULT_STORE_DIR}`, {
      hint: `ask for a shipment that was packed --with-nix of a mirror for ${DEFAULT_STORE_DIR}`,
    });
  } catch (error) {
    if (!(error instanceof NixferryError) || error.code !== 'not-trusted' || trusted.length > 0) throw error;
    throw new NixferryError('not-trusted', error.message, {
      hint: `compare key or words with the sender, by telephone or on paper; then type the same command again with --trust and the key`,
      cause: error,
    });
  }
}

/** What says that /nix was made by us, and what is in it. */
const OWN_FOLDER = '.nixferry';

/** A store that somebody else made is left alone: its database would not know of what we put there. */
async function claim(nixFolder: string, own: string): Promise<void> {
  const names = await namesIn(nixFolder);
  const foreign = names.filter((name) => name !== 'lost+found');
  if (foreign.length > 0 && !foreign.includes(OWN_FOLDER)) {
    throw new NixferryError('target-occupied', `${nixFolder} holds a Nix already: ${foreign.join(', ')}`, {
      hint: 'nothing was changed; that Nix can use the mirror as it is: nixferry client-config; or remove it first',
    });
  }
  await makeFolders(own);
}
