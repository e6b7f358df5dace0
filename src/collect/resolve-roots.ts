import { NixferryError } from '../base/errors.ts';
import type { EvaluatedDerivation, Installable } from '../evaluate/installable.ts';
import { NixFormatError, nameOf, parseStorePath, type StorePath } from '../nix/index.ts';
import type { RootRequest } from './root-request.ts';

/** A root as store paths: what `run` carries is their closure. */
export interface ResolvedRoot {
  /** As it was asked for. */
  readonly request: string;
  /** Short, for people: `hello-2.12`, `nixos-26.05`, `web01`. */
  readonly name: string;
  readonly paths: readonly StorePath[];
  /** The paths are outputs of derivations, which may not be built anywhere yet. */
  readonly fromDerivation: boolean;
}

/** The collaborators that know where lists come from and how to ask Nix. */
export interface RootSources {
  readonly storeDir: string;
  /** A list of store paths: a file, a URL, or `-` for stdin. */
  list(source: string): AsyncIterable<StorePath>;
  /** The list of store paths of a channel. */
  channel(name: string): AsyncIterable<StorePath>;
  evaluate(installable: Installable): Promise<readonly EvaluatedDerivation[]>;
  outputs(drvPath: string, wanted: 'all' | readonly string[]): Promise<readonly StorePath[]>;
}

/**
 * Resolves requests to store paths, in order.
 * @throws NixferryError `bad-root` when a root stands for nothing; what the sources throw.
 */
export async function resolveRoots(requests: readonly RootRequest[], sources: RootSources): Promise<ResolvedRoot[]> {
  const roots: ResolvedRoot[] = [];
  for (const request of requests) {
    const paths = [...new Set(await pathsOf(request, sources))];
    if (paths.length === 0) {
      throw new NixferryError('bad-root', `'${request.request}' names no store path at all`, {
        hint: 'a list of store paths has one path a line',
      });
    }
    const fromDerivation = request.kind === 'derivation' || request.kind === 'installable';
    roots.push({ request: request.request, name: rootName(request, paths), paths, fromDerivation });
  }
  return roots;
}

async function pathsOf(request: RootRequest, sources: RootSources): Promise<readonly StorePath[]> {
  switch (request.kind) {
    case 'store-path':
      return [readStorePath(request.path, sources.storeDir)];
    case 'derivation':
      return sources.outputs(request.path, 'all');
    case 'list':
      return Array.fromAsync(sources.list(request.source));
    case 'channel':
      return Array.fromAsync(sources.channel(request.channel));
    case 'installable': {
      const derivations = await sources.evaluate(request.installable);
      const outputs = await Promise.all(
        derivations.map(({ drvPath, outputs: wanted }) => sources.outputs(drvPath, wanted)),
      );
      return outputs.flat();
    }
  }
}

function readStorePath(text: string, storeDir: string): StorePath {
  try {
    return parseStorePath(text, storeDir);
  } catch (error) {
    if (!(error instanceof NixFormatError)) throw error;
    throw new NixferryError('bad-root', error.message, {
      hint: `a store path is written ${storeDir}/, 32 letters and digits, a dash, a name`,
      cause: error,
    });
  }
}

function rootName(request: RootRequest, paths: readonly StorePath[]): string {
  switch (request.kind) {
    case 'channel':
      return request.channel;
    case 'list':
      return request.source === '-' ? 'list from standard input' : lastPart(request.source);
    case 'installable':
      return installableName(request.installable);
    default:
      return paths[0] === undefined ? request.request : nameOf(paths[0]);
  }
}

/** The attribute, as it is what people call the thing; else the flake or file. */
function installableName(installable: Installable): string {
  if (installable.kind === 'file')
    return installable.attribute === '' ? lastPart(installable.file) : installable.attribute;
  const { reference } = installable;
  return reference.includes('#') ? reference.slice(reference.indexOf('#') + 1) : reference;
}

function lastPart(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}
