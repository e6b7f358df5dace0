import { lstatSync } from 'node:fs';
import { readFileIfExists } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import { type Derivation, isFixedOutput, NixFormatError, outputPaths, parseDerivation } from '../nix/index.ts';
import type { NixStory } from './nix-messages.ts';

/** Something that Nix could not have in the room. */
export interface MissingThing {
  /** A store path in full, or an address that was to be downloaded. */
  readonly what: string;
  /** The derivation that would have made it, where that was tried. */
  readonly derivation: string | undefined;
}

export interface Failures {
  readonly missing: readonly MissingThing[];
  /** Derivations whose builder failed for another reason than something missing, in full. */
  readonly failed: readonly string[];
}

/**
 * Names what was missing when a command of Nix failed: what Nix says that it cannot have, and the outputs of fixed-output derivations that it
 * tried to download.
 * @param outside where the file system has a path of the room
 */
export async function findFailures(
  story: NixStory,
  storeDir: string,
  outside: (path: string) => string,
): Promise<Failures> {
  const missing = new Map<string, MissingThing>();
  const failed: string[] = [];
  for (const what of namedByNix(story)) missing.set(what, { what, derivation: undefined });
  for (const drvPath of story.built) {
    const derivation = await readDerivation(outside(drvPath), storeDir);
    if (derivation === undefined || isMade(derivation, drvPath, story, outside)) continue;
    const [fixed] = isFixedOutput(derivation) ? [...outputPaths(derivation).values()] : [];
    if (fixed === undefined) failed.push(drvPath);
    else missing.set(fixed, { what: fixed, derivation: drvPath });
  }
  return { missing: [...missing.values()], failed };
}

/** What the words of Nix name, from 2.4 on. */
function namedByNix({ said }: NixStory): Set<string> {
  const named = new Set<string>();
  let isListing = false;
  for (const { kind, text } of said) {
    // A heading, then a message for each path.
    const listed = /^ {2}(\/\S+)$/.exec(text)?.[1];
    if (isListing && listed !== undefined) named.add(listed);
    else isListing = /don't know how to build these paths/.test(text);
    if (kind !== 'error') continue;
    for (const pattern of CANNOT_BE_HAD) for (const [, what = ''] of text.matchAll(pattern)) named.add(what);
  }
  return named;
}

const CANNOT_BE_HAD = [
  /path '(\/[^']+)' (?:is required, but|is not valid|does not exist|is not signed|(?:because it )?lacks a)/g,
  /missing derivation '(\/[^']+)'/g,
  /cannot fetch input '([^']+)'/g,
  /(?:unable to download|cannot download|failed to fetch|while fetching(?: the input)?) '([^']+)'/g,
  /don't know how to (?:build|open) (?:the )?(?:path|derivation)?\s*'(\/[^']+)'/g,
];

/** Whether the outputs are there; where they have no name beforehand, whether Nix complains of the derivation tells. */
function isMade(derivation: Derivation, drvPath: string, story: NixStory, outside: (path: string) => string): boolean {
  const paths = [...outputPaths(derivation).values()].filter((path) => path !== undefined);
  if (paths.length > 0) return paths.every((path) => isThere(outside(path)));
  return !story.said.some(({ kind, text }) => kind === 'error' && text.includes(drvPath));
}

async function readDerivation(file: string, storeDir: string): Promise<Derivation | undefined> {
  const bytes = await readFileIfExists(file, LIMITS.derivationBytes);
  try {
    return bytes === undefined ? undefined : parseDerivation(bytes, storeDir);
  } catch (error) {
    // Nix built it, so it is a derivation; of a kind that is newer than this Nixferry.
    if (error instanceof NixFormatError) return undefined;
    throw error;
  }
}

function isThere(file: string): boolean {
  return lstatSync(file, { throwIfNoEntry: false }) !== undefined;
}
