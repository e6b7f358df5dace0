import { rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Semaphore } from '../base/concurrency.ts';
import { NixferryError, systemErrorCode } from '../base/errors.ts';
import { showUrl } from '../base/http/shown-url.ts';
import { type HttpClient, HttpError } from '../base/http-client.ts';
import { LIMITS } from '../base/limits.ts';
import type { Mirror } from '../mirror/mirror.ts';
import type { PublishCandidate } from '../mirror/publish.ts';
import {
  encodeBase32,
  formatHash,
  hashAlgorithm,
  hashBytes,
  hashDigest,
  NixFormatError,
  type StorePath,
} from '../nix/index.ts';
import { composeSource } from './compose-source.ts';
import { WrongContents } from './content-proof.ts';
import { download } from './download.ts';
import type { FetchRecipe, FixedSource } from './fixed-source.ts';
import { HostPlaces } from './host-places.ts';
import { MirrorLists, type ReadDerivation } from './mirror-lists.ts';
import { withOutput } from './output-forms.ts';
import type { FolderCandidate, SourceFolder } from './source-folder.ts';

/** One place where a source was looked for, and why it was not had from there. */
export interface SourceAttempt {
  /** An address, a file, or what was run. */
  readonly from: string;
  readonly problem: string;
}

/** A source that could be had from nowhere. */
export class SourceMissing extends NixferryError {
  readonly attempts: readonly SourceAttempt[];

  constructor(source: FixedSource, attempts: readonly SourceAttempt[]) {
    super('upstream-incomplete', `${source.storePath} could not be had`);
    this.attempts = attempts;
  }
}

/** What the real builder made of a derivation. */
export interface BuiltSource {
  readonly references: readonly StorePath[];
  nar(): AsyncIterable<Uint8Array>;
}

/**
 * Has the real builder make an output, and says where it is. What the mirror has already need not be fetched for it again. Throws NixferryErrors
 * with what the builder said.
 */
export type BuildSource = (
  source: FixedSource,
  options: { readonly mirrorDirectory: string; readonly signal: AbortSignal },
) => Promise<BuiltSource>;

export interface SourceSupplyOptions {
  /** Asked first, in order. */
  readonly folders: readonly SourceFolder[];
  /** Base addresses of servers that know flat files by hash, as tarballs.nixos.org does. */
  readonly hashedMirrors: readonly string[];
  readonly http: HttpClient;
  readonly readDerivation: ReadDerivation;
  /** A path in a source folder, file or tree, as a NAR. */
  readonly dump: (path: string) => AsyncIterable<Uint8Array>;
  /** Undefined where there is no Nix. */
  readonly build: BuildSource | undefined;
  readonly storeDir: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export interface ObtainOptions {
  readonly mirror: Mirror;
  readonly signal: AbortSignal;
  /** Bytes from the network, as they come. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

export interface ObtainedSource {
  readonly candidate: PublishCandidate;
  /** A file that is of no more use once the source is published, and spares fetching it again until then. */
  readonly leftover?: string;
}

/** Where sources come from that no cache has. */
export class SourceSupply {
  readonly #options: SourceSupplyOptions;
  readonly #mirrorLists: MirrorLists;
  readonly #hosts = new HostPlaces();
  readonly #builds = new Semaphore(LIMITS.sourceBuildsAtOnce);

  constructor(options: SourceSupplyOptions) {
    this.#options = options;
    this.#mirrorLists = new MirrorLists(options.readDerivation, options.storeDir, options.environment);
  }

  /** Whether there is any place to look for it. Opens no connection. */
  mayHave(source: FixedSource): boolean {
    const { build, folders } = this.#options;
    return (
      build !== undefined || source.recipe !== undefined || folders.some((folder) => folder.find(source).length > 0)
    );
  }

  /** Whether there are builders to turn to. */
  get canBuild(): boolean {
    return this.#options.build !== undefined;
  }

  /**
   * Brings the source into the mirror's partial folder, ready to be published: from a folder, by its hash, or from its own addresses, whichever is first
   * to give what the derivation declares.
   * @throws SourceMissing with all that was tried; `no-space` and the signal's reason at once.
   */
  async obtain(source: FixedSource, options: ObtainOptions): Promise<ObtainedSource> {
    const attempts: SourceAttempt[] = [];
    for await (const place of this.#places(source, options)) {
      try {
        return await place.take();
      } catch (error) {
        options.signal.throwIfAborted();
        attempts.push({ from: place.from, problem: problemOf(error) });
      }
    }
    throw new SourceMissing(source, attempts);
  }

  /**
   * The same by the real builder, which may need tools that have sources of their own: best when the mirror has all that can be had without.
   * @param tried what `obtain` has tried.
   * @throws as `obtain`.
   */
  async build(
    source: FixedSource,
    options: ObtainOptions,
    tried: readonly SourceAttempt[] = [],
  ): Promise<ObtainedSource> {
    const { build } = this.#options;
    const { signal, mirror } = options;
    if (build === undefined) throw new SourceMissing(source, tried);
    try {
      const { directory: mirrorDirectory } = mirror;
      const built = await this.#builds.use(() => build(source, { mirrorDirectory, signal }), signal);
      return { candidate: await this.#compose(source, built.nar(), options, built.references) };
    } catch (error) {
      signal.throwIfAborted();
      const attempt = { from: `nix-store --realise ${source.drvPath}`, problem: problemOf(error) };
      throw new SourceMissing(source, [...tried, attempt]);
    }
  }

  async *#places(source: FixedSource, options: ObtainOptions): AsyncGenerator<Place, void, undefined> {
    const { folders, hashedMirrors } = this.#options;
    const { address, recipe } = source;
    for (const folder of folders) {
      for (const candidate of folder.find(source)) {
        yield { from: candidate.file, take: () => this.#takeFromFolder(candidate, source, options) };
      }
    }
    if (address.method === 'flat') {
      for (const base of hashedMirrors) {
        const url = new URL(
          `${hashAlgorithm(address.hash)}/${formatHash(address.hash, 'base16', { prefix: false })}`,
          withSlash(base),
        );
        yield { from: showUrl(url), take: () => this.#takeFromAddress(url, 'file', source, options) };
      }
    }
    if (recipe !== undefined) {
      for (const one of await this.#mirrorLists.expand(recipe)) {
        if ('url' in one) {
          yield { from: showUrl(one.url), take: () => this.#takeFromAddress(one.url, recipe.form, source, options) };
        } else {
          yield { from: one.text, take: () => Promise.reject(new NixferryError('upstream-incomplete', one.problem)) };
        }
      }
    }
  }

  async #takeFromFolder(
    { kind, file }: FolderCandidate,
    source: FixedSource,
    options: ObtainOptions,
  ): Promise<ObtainedSource> {
    if (kind === 'path') return { candidate: await this.#compose(source, this.#options.dump(file), options) };
    const form = kind === 'fetched' ? (source.recipe?.form ?? 'tree') : kind;
    return { candidate: await this.#composeFile(file, form, source, options) };
  }

  /** What came stays in the partial folder until it is published, so that the next run goes on with it, or finds it whole. */
  async #takeFromAddress(
    url: URL,
    form: FetchRecipe['form'],
    source: FixedSource,
    options: ObtainOptions,
  ): Promise<ObtainedSource> {
    const { signal } = options;
    const { whole, part } = downloadFiles(url, source, options.mirror);
    let isFresh = false;
    if (!(await isFile(whole))) isFresh = await this.#download(url, part, whole, options);
    for (;;) {
      try {
        return { candidate: await this.#composeFile(whole, form, source, options), leftover: whole };
      } catch (error) {
        if (isAboutThisMachine(error) || signal.aborted) throw error;
        await rm(whole, { force: true });
        // What an earlier run had left may be to blame: begin anew, once.
        if (isFresh) throw error;
      }
      isFresh = await this.#download(url, part, whole, options);
    }
  }

  /** False when a part of it had been there. */
  async #download(
    url: URL,
    part: string,
    whole: string,
    { signal, onBytes }: Pick<ObtainOptions, 'signal' | 'onBytes'>,
  ): Promise<boolean> {
    const { http } = this.#options;
    const { resumedBytes } = await this.#hosts.use(url, () => download(url, part, { http, signal, onBytes }), signal);
    await rename(part, whole);
    return resumedBytes === 0;
  }

  #composeFile(
    file: string,
    form: FetchRecipe['form'],
    source: FixedSource,
    options: ObtainOptions,
  ): Promise<PublishCandidate> {
    const { mirror, signal } = options;
    const forms = { tempFolder: mirror.layout.tempFolder, signal };
    return withOutput(file, source, form, forms, (nar) => this.#compose(source, nar, options));
  }

  #compose(
    source: FixedSource,
    nar: AsyncIterable<Uint8Array>,
    { mirror, signal }: ObtainOptions,
    references: readonly StorePath[] = [],
  ): Promise<PublishCandidate> {
    return composeSource({ mirror, source, nar, references, signal });
  }
}

interface Place {
  readonly from: string;
  take(): Promise<ObtainedSource>;
}

function downloadFiles(url: URL, { storePath }: FixedSource, { layout }: Mirror): { whole: string; part: string } {
  const name = encodeBase32(hashDigest(hashBytes('sha256', `${storePath} ${url.href}`)));
  const whole = join(layout.partialFolder, `source-${name}`);
  return { whole, part: `${whole}.part` };
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return false;
    throw error;
  }
}

function withSlash(base: string): string {
  return base.endsWith('/') ? base : `${base}/`;
}

/** What would stop every source is thrown. */
function problemOf(error: unknown): string {
  if (isAboutThisMachine(error)) throw error;
  if (error instanceof HttpError) return error.what;
  if (error instanceof WrongContents) return error.message;
  if (error instanceof NixferryError || error instanceof NixFormatError) return error.message;
  if (NOT_THERE.has(systemErrorCode(error) ?? '')) return 'it cannot be read any more';
  throw error;
}

function isAboutThisMachine(error: unknown): boolean {
  return error instanceof NixferryError && (error.code === 'no-space' || error.code === 'usage');
}

// A folder of sources may change, or lose its disk, while we work.
const NOT_THERE: ReadonlySet<string> = new Set(['ENOENT', 'ENOTDIR', 'EACCES', 'EIO']);
