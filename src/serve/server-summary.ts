import { LIMITS } from '../base/limits.ts';
import { findAnyPath, glanceAtIndex, indexToken, type MirrorGlance } from '../mirror/glance.ts';
import { readValidPublicKeys } from '../mirror/key-rotation.ts';
import { type PrivateLayout, privateLayout } from '../mirror/layout.ts';
import type { AddressRewrite } from '../mirror/repository-address.ts';
import { type RootRecord, readRoots } from '../mirror/roots.ts';
import type { ServerRoot, ServerStatus } from '../mirror/server-status.ts';
import { formatPublicKey } from '../nix/signature.ts';
import { hashPartOf } from '../nix/store-path.ts';
import { rewritesOf } from '../site/git-settings.ts';
import { ChangeWatch } from './change-watch.ts';
import { recordsToken } from './records-token.ts';

/** What the server says of itself, to people and to programs. Records of roots can be long: they are read again only when one has changed. */
export class ServerSummary {
  readonly #directory: string;
  readonly #storeDir: string;
  readonly #localStore: boolean;
  readonly #watch: ChangeWatch;
  readonly #layout: PrivateLayout;
  readonly #indexWatch: ChangeWatch;
  #glance: { readonly version: number; readonly found: MirrorGlance | undefined } | undefined;
  #known: { readonly version: number; readonly roots: Promise<RootsSummary> } | undefined;

  constructor(options: { readonly directory: string; readonly storeDir: string; readonly localStore: boolean }) {
    this.#directory = options.directory;
    this.#storeDir = options.storeDir;
    this.#localStore = options.localStore;
    this.#layout = privateLayout(options.directory);
    this.#watch = new ChangeWatch(() => recordsToken(this.#layout.rootsFolder), { checkMs: CHECK_MS });
    this.#indexWatch = new ChangeWatch(() => indexToken(this.#layout), { checkMs: COUNT_MS, settleMs: 0 });
  }

  /** At most a second old. Throws `damage` when a record cannot be read. */
  async read(): Promise<ServerStatus> {
    const place = { directory: this.#directory };
    const [{ roots, example = await findAnyPath(this.#directory) }, keys, holds] = await Promise.all([
      this.#roots(),
      readValidPublicKeys(place),
      this.#holds(),
    ]);
    return {
      format: 1,
      storeDir: this.#storeDir,
      publicKeys: keys.map(formatPublicKey),
      localStore: this.#localStore,
      roots,
      ...(holds === undefined ? {} : { holds }),
      ...(example === undefined ? {} : { example }),
    };
  }

  /** What makes clients' git ask here for the repositories of the roots. As old, and errors as of `read`. */
  async gitRewrites(): Promise<readonly AddressRewrite[]> {
    return (await this.#roots()).gitRewrites;
  }

  /** Counted again only when the index has changed, and then not for each request while somebody fills the mirror. */
  async #holds(): Promise<MirrorGlance | undefined> {
    const version = await this.#indexWatch.version();
    if (this.#glance?.version !== version) {
      // What cannot be read because somebody is writing is what it was, for the moment.
      this.#glance = { version, found: glanceAtIndex(this.#layout) ?? this.#glance?.found };
    }
    return this.#glance.found;
  }

  async #roots(): Promise<RootsSummary> {
    const version = await this.#watch.version();
    if (this.#known?.version !== version) {
      const roots = readRoots({ directory: this.#directory }).then(summarize);
      this.#known = { version, roots };
      roots.catch(() => {
        if (this.#known?.roots === roots) this.#known = undefined;
      });
    }
    return this.#known.roots;
  }
}

const CHECK_MS = 500;
const COUNT_MS = 2000;

interface RootsSummary {
  readonly roots: readonly ServerRoot[];
  readonly example: string | undefined;
  readonly gitRewrites: readonly AddressRewrite[];
}

function summarize(records: readonly RootRecord[]): RootsSummary {
  const example = records.find(({ complete, rootPaths }) => complete && rootPaths.length > 0)?.rootPaths[0];
  return {
    roots: records
      .slice(0, LIMITS.serverStatusRoots)
      .map(({ name, scope, complete, paths }) => ({ name, scope, complete, pathCount: paths.length })),
    example: example === undefined ? undefined : hashPartOf(example),
    gitRewrites: rewritesOf(records),
  };
}
