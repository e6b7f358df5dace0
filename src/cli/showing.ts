import { relative, resolve } from 'node:path';
import { formatBytes } from '../base/amounts.ts';
import { NixferryError } from '../base/errors.ts';
import { writeStreamAtomic } from '../base/write-stream-atomic.ts';
import { type Mirror, openMirror } from '../mirror/mirror.ts';
import { readTrustedKeys } from '../mirror/trusted-keys.ts';
import { DEFAULT_STORE_DIR, type PublicKey } from '../nix/index.ts';
import {
  type DerivationSource,
  derivationsOfMirror,
  derivationsOfStore,
} from '../shipment/describe/derivation-source.ts';
import { signatureWords } from '../shipment/describe/show-words.ts';
import type { SignatureState } from '../shipment/describe/signature-state.ts';
import { type CommonOptions, readCommonOptions } from './common-options.ts';
import type { Output } from './output.ts';
import type { CommandRun } from './run.ts';
import { readPublicKey } from './upstream-options.ts';
import { readVersion } from './version.ts';

// What show and diff share: the mirror that may be there, whose keys count, and where pages go.

export const WRITER = { name: 'nixferry', version: readVersion() } as const;
export const GENERATOR = `${WRITER.name} ${WRITER.version}`;

/** The mirror of this machine, or undefined where there is none; but one that was named must be there. */
export async function openMirrorIfThere(options: CommonOptions, output: Output): Promise<Mirror | undefined> {
  const { mirrorDirectory } = await readCommonOptions(options);
  const isNamed = options.mirror !== undefined || process.env['NIXFERRY_MIRROR'] !== undefined;
  try {
    return await openMirror(mirrorDirectory, { access: 'read' });
  } catch (error) {
    if (isNamed || !(error instanceof NixferryError)) throw error;
    // A shipment can be looked at beside a mirror that is of no use; but its keys are then missing.
    if (error.code !== 'not-a-mirror') output.warn(`the mirror's keys do not count: ${error.message}`);
    return undefined;
  }
}

/** Keys that count for the signature of a shipment. A mirror trusts its own shipments, too. */
export async function readSenderKeys(mirror: Mirror | undefined, trust: readonly string[]): Promise<PublicKey[]> {
  const given = trust.map(readPublicKey);
  if (mirror === undefined) return given;
  return [...given, ...(await readTrustedKeys(mirror, 'sender')), ...(mirror.hasKey ? [mirror.publicKey] : [])];
}

/** Where derivations are looked for besides the shipment: the mirror, then the store of this machine. */
export function derivationSources(mirror: Mirror | undefined, signal: AbortSignal): DerivationSource[] {
  const store = derivationsOfStore(mirror?.storeDir ?? DEFAULT_STORE_DIR);
  return mirror === undefined ? [store] : [derivationsOfMirror(mirror, signal), store];
}

/** Prints pieces of whole lines as they come; a list may be long. Nothing with --json. */
export async function printPieces(pieces: Iterable<string>, { output, signal }: CommandRun): Promise<void> {
  if (output.json) return;
  let text = '';
  for (const piece of pieces) {
    text += piece;
    if (text.length < PRINTED_CHARACTERS) continue;
    output.result(text.trimEnd(), {});
    text = '';
    // Lets a Ctrl-C through.
    await new Promise((done) => setImmediate(done));
    signal.throwIfAborted();
  }
  if (text !== '') output.result(text.trimEnd(), {});
}

/** Writes a page or list to the file that was asked for, whole or not at all, and says so. */
export async function writeReport(
  file: string,
  pieces: AsyncIterable<string> | Iterable<string>,
  { output, signal }: CommandRun,
): Promise<void> {
  const target = resolve(file);
  const sizeBytes = await writeStreamAtomic(target, pieces, signal);
  output.say(`written: ${file} (${formatBytes(sizeBytes)})`);
  output.event('written', { file: target, sizeBytes });
}

/** Throws `usage` when a file that is to be written lies in the shipment: a medium stays as its sender wrote it. */
export function refuseFilesInShipment(files: readonly (string | undefined)[], shipmentFolder: string): void {
  for (const file of files) {
    if (file === undefined || relative(shipmentFolder, resolve(file)).startsWith('..')) continue;
    throw new NixferryError('usage', `${file} lies in the shipment ${shipmentFolder}, which stays as it is`, {
      hint: 'name a file somewhere else, such as /tmp/shipment.html',
    });
  }
}

/**
 * To be called when all is shown. A signature that does not hold, or that is by another key than the trusted one of that name, throws
 * `not-trusted`; an unknown sender does so only when `trust` says whose signature was expected.
 */
export function refuseWrongSignature(signature: SignatureState, folder: string, trust: readonly string[]): void {
  if (signature.kind === 'verified' || (signature.kind === 'unknown-sender' && trust.length === 0)) return;
  const { verdict, advice } = signatureWords(signature, folder);
  throw new NixferryError('not-trusted', `${folder}: ${verdict}`, {
    hint: advice === undefined ? undefined : [advice.text, advice.command ?? ''].join(' ').trimEnd(),
  });
}

const PRINTED_CHARACTERS = 64 * 1024;
