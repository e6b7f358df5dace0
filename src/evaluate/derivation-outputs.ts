import { NixferryError } from '../base/errors.ts';
import { readFileIfExists } from '../base/files.ts';
import { LIMITS } from '../base/limits.ts';
import { type Derivation, NixFormatError, parseDerivation, type StorePath } from '../nix/index.ts';
import { locateStorePath } from './private-nix.ts';

/** The bytes of a `.drv` file; undefined where there is none. */
export type ReadDerivationFile = (drvPath: string) => Promise<Buffer | undefined>;

/**
 * The store paths of a derivation's outputs, read from its `.drv` file in the local store unless `read` finds it elsewhere.
 * @param wanted names of outputs, or `all`.
 * @throws NixferryError `bad-root` when the file is missing or no derivation, when an output is unknown, or when its path is
 *   decided only by building (content-addressed derivations).
 */
export async function readDerivationOutputs(
  drvPath: string,
  wanted: 'all' | readonly string[],
  storeDir: string,
  read: ReadDerivationFile = readLocally,
): Promise<StorePath[]> {
  const outputs = await findDerivationOutputs(drvPath, wanted, storeDir, read);
  return outputs.map(({ name, path }) => {
    if (path !== undefined) return path;
    throw new NixferryError('bad-root', `the path of output '${name}' of ${drvPath} is known only once it is built`, {
      hint: 'build it with `nix build`, then name the store path that came out',
    });
  });
}

/** An output that was asked for; `path` is undefined where it is decided only by building. */
export interface DerivationOutputPath {
  readonly name: string;
  readonly path: StorePath | undefined;
}

/**
 * As `readDerivationOutputs`, with the outputs of which no path is known.
 * @throws NixferryError `bad-root` when the file is missing or no derivation, or when an output is unknown.
 */
export async function findDerivationOutputs(
  drvPath: string,
  wanted: 'all' | readonly string[],
  storeDir: string,
  read: ReadDerivationFile = readLocally,
): Promise<DerivationOutputPath[]> {
  const { outputs } = await readDerivation(drvPath, storeDir, read);
  const names = wanted === 'all' ? [...outputs.keys()] : wanted;
  return names.map((name) => {
    const output = outputs.get(name);
    if (output !== undefined) return { name, path: output.path };
    throw new NixferryError('bad-root', `${drvPath} has no output '${name}'`, {
      hint: `its outputs are: ${[...outputs.keys()].join(', ')}`,
    });
  });
}

/**
 * The names of a derivation's outputs.
 * @throws NixferryError `bad-root` when its file is missing or no derivation.
 */
export async function readDerivationOutputNames(
  drvPath: string,
  storeDir: string,
  read: ReadDerivationFile = readLocally,
): Promise<string[]> {
  const { outputs } = await readDerivation(drvPath, storeDir, read);
  return [...outputs.keys()];
}

function readLocally(drvPath: string): Promise<Buffer | undefined> {
  return readFileIfExists(locateStorePath(drvPath), LIMITS.derivationBytes);
}

async function readDerivation(drvPath: string, storeDir: string, read: ReadDerivationFile): Promise<Derivation> {
  const bytes = await read(drvPath);
  if (bytes === undefined) {
    throw new NixferryError('bad-root', `there is no derivation ${drvPath} in the local store`, {
      hint: 'instantiate it here first, name a folder that has it with --derivations, or name its outputs as store paths',
    });
  }
  try {
    return parseDerivation(bytes, storeDir);
  } catch (error) {
    if (!(error instanceof NixFormatError)) throw error;
    throw new NixferryError('bad-root', `${drvPath}: ${error.message}`, {
      hint: 'the local store may be damaged: nix-store --verify --check-contents finds out',
      cause: error,
    });
  }
}
