// A sender whose one root moves on from version to version, and the shipments that it makes of it.
import { join } from 'node:path';
import { type Mirror, openMirror } from '../../src/mirror/mirror.ts';
import type { RootRecord } from '../../src/mirror/roots.ts';
import type { NarInfo } from '../../src/nix/index.ts';
import { type AcknowledgeResult, acknowledgeReceipt } from '../../src/shipment/acknowledge.ts';
import { chooseBasis, type Since } from '../../src/shipment/choose-basis.ts';
import { type ImportResult, importShipment } from '../../src/shipment/import.ts';
import { lostShipments } from '../../src/shipment/lost-shipments.ts';
import { type PackResult, packShipment } from '../../src/shipment/pack.ts';
import { writeReceipt } from '../../src/shipment/write-receipt.ts';
import { addTestPaths, makeTestMirror, makeTestRoot, noise, PACK, type TestPath } from './shipments.ts';
import { copyTemplate } from './templates.ts';

/** Version 3 of the root consists of `libc`, of `lib-1` to `lib-3`, each of which refers to the one before, and of `app-3`. */
export interface Depot extends AsyncDisposable {
  readonly folder: string;
  readonly mirror: Mirror;
  readonly paths: Map<string, NarInfo>;
  /** The root as it is now. */
  readonly root: RootRecord;
  /** Goes on to the next version. */
  release(): Promise<void>;
  pack(since?: Since, site?: string): Promise<PackResult>;
  packLost(...sequences: number[]): Promise<PackResult>;
  openSite(name?: string): Promise<Mirror>;
  import(site: Mirror, shipment: PackResult): Promise<ImportResult>;
  /** Carries a receipt of the last import back. */
  acknowledge(result: ImportResult, options?: { readonly restored?: boolean }): Promise<AcknowledgeResult>;
}

export const ACKNOWLEDGED: Since = { type: 'acknowledged' };

export async function openDepot(): Promise<Depot> {
  const temp = await copyTemplate('depot', async (folder) => {
    const contents = [{ name: 'libc', contents: noise('libc', 4000) }, ...versionPaths(1)];
    await using sender = await makeTestMirror(join(folder, 'sender'), contents);
    return sender.paths;
  });
  const mirror = await openMirror(join(temp.folder, 'sender'), { access: 'write' });
  const paths = new Map<string, NarInfo>(temp.made);
  let version = 1;
  let root = rootOf(paths, version);
  const pack = (roots: readonly RootRecord[], basis: Parameters<typeof packShipment>[0]['basis'], site: string) =>
    packShipment({ ...PACK, mirror, roots, basis, site, to: join(temp.folder, 'media') });
  const depot: Depot = {
    folder: temp.folder,
    mirror,
    paths,
    get root() {
      return root;
    },
    async release() {
      await addTestPaths(mirror, paths, versionPaths(++version));
      root = rootOf(paths, version);
    },
    async pack(since = ACKNOWLEDGED, site = PACK.site) {
      return pack([root], await chooseBasis(mirror, site, [root], since), site);
    },
    async packLost(...sequences) {
      const { roots, basis } = await lostShipments(mirror, PACK.site, sequences);
      return packShipment({ ...PACK, mirror, roots, basis, to: join(temp.folder, 'media') });
    },
    openSite: (name = 'site') =>
      openMirror(join(temp.folder, name), { access: 'write', create: true, keyName: `${name}-1` }),
    import: (site, { folder }) => importShipment({ mirror: site, directories: [folder], trust: [mirror.publicKey] }),
    async acknowledge({ receipt }, options = {}) {
      const file = await writeReceipt(receipt, join(temp.folder, 'receipt'));
      return acknowledgeReceipt({ mirror, receipt: file, trust: [receipt.key], ...options });
    },
    async [Symbol.asyncDispose]() {
      await mirror.close();
      await temp[Symbol.asyncDispose]();
    },
  };
  return depot;
}

/** What a version brings beyond those before. */
function versionPaths(version: number): TestPath[] {
  const [app, lib] = [`app-${version}`, `lib-${version}`];
  const before = version === 1 ? 'libc' : `lib-${version - 1}`;
  return [
    { name: lib, contents: noise(lib, 1000), references: [before] },
    { name: app, contents: noise(app, 500), references: [lib, 'libc'] },
  ];
}

function rootOf(paths: ReadonlyMap<string, NarInfo>, version: number): RootRecord {
  const app = `app-${version}`;
  return { ...makeTestRoot(paths, app, [app]), name: 'app', request: 'app', id: 'app' };
}
