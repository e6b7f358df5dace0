// What somebody reads before a shipment may come in: real Nix built what is carried, derivations travel along, and the pages are
// opened where there is no network, by a browser that is not helped by anything.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { Spec, Validation } from '@cyclonedx/cyclonedx-library';
import { type AirGap, openAirGap } from './support/air-gap.ts';
import { insertReadOnly, publicKeyLine, STRANGERS_KEY } from './support/carry.ts';
import { createNixEnvironment, type NixEnvironment } from './support/nix.ts';
import { nixferryCommand } from './support/nixferry.ts';

const TARBALL = 'the sources of greeter\n';
const TARBALL_SHA256 = createHash('sha256').update(TARBALL).digest('hex');
const SOURCE_URLS = ['mirror://gnu/greeter/greeter.tar', 'https://example.org/greeter.tar?a=1&b=2'];

/** A bundle whose second version has a newer greeter, another tool, and a library that was made from other inputs. */
function bundle(version: 1 | 2): string {
  return `
let
  make = name: script: extra: derivation ({
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-ec" script ];
    PATH = "/usr/bin:/bin";
  } // extra);
  source = derivation {
    name = "greeter.tar";
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-ec" "printf '%s\\\\n' 'the sources of greeter' > $out" ];
    outputHashAlgo = "sha256";
    outputHashMode = "flat";
    outputHash = "${TARBALL_SHA256}";
    urls = [ ${SOURCE_URLS.map((url) => `"${url}"`).join(' ')} ];
  };
  common = make "common-lib-1.0" "echo common > $out" { };
  rebuilt = make "shared-lib-3.1" "echo ${version} > $out" { };
  greeter = make "greeter-${version}.0" "mkdir -p $out $doc; cat $src > $out/text; echo ${version} \${common} \${rebuilt} >> $out/text; echo manual > $doc/manual" {
    outputs = [ "out" "doc" ];
    src = source;
    pname = "greeter";
    version = "${version}.0";
    license = "GPL-3.0-or-later";
  };
  tool = make "${version === 1 ? 'old' : 'new'}-tool-7" "echo tool $out > $out" { };
in make "bundle-${version}" "echo \${greeter} \${greeter.doc} \${tool} \${source} > $out" { }
`;
}

const CHROMIUM = [
  ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update'],
  ['--disable-sync', '--no-first-run', '--hide-scrollbars', '--disable-dev-shm-usage', '--enable-logging=stderr'],
].flat();

interface JsonLine {
  readonly type: string;
  readonly [field: string]: unknown;
}

interface Bom {
  readonly components: readonly {
    readonly name: string;
    readonly version?: string;
    readonly 'bom-ref': string;
    readonly hashes?: readonly unknown[];
    readonly licenses?: readonly unknown[];
    readonly externalReferences?: readonly { readonly url: string }[];
  }[];
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn?: readonly string[] }[];
}

function jsonLines(stdout: string): JsonLine[] {
  const lines = stdout.trimEnd().split('\n');
  return lines.map((line) => JSON.parse(line) as JsonLine);
}

function assertChanges(stdout: string): void {
  assert.match(stdout, /\n {2}greeter {2}1\.0 → 2\.0/);
  assert.match(stdout, /\nadded: 1 package\n {2}new-tool {2}7/);
  assert.match(stdout, /\nremoved: 1 package.*\n {2}old-tool {2}7/);
  assert.match(stdout, /\nrebuilt: 1 package.*\n {2}shared-lib {2}3\.1/);
}

suite('proof on paper', () => {
  const cleanUp = new AsyncDisposableStack();
  let connected: NixEnvironment;
  let gap: AirGap;
  let senderKey: string;
  let first: string;
  let second: string;
  /** The outputs of version 2 and the closure of what built them. */
  let carried: string[];

  before(async () => {
    connected = cleanUp.use(await createNixEnvironment());
    const at = (...names: string[]) => path.join(connected.directory, ...names);
    await mkdir(at('medium'));
    await mkdir(at('upstream'));
    await writeFile(at('upstream', 'nix-cache-info'), 'StoreDir: /nix/store\n');
    for (const version of [1, 2] as const) {
      await writeFile(at('bundle.nix'), bundle(version));
      const [derivation = ''] = await connected.lines('nix-instantiate', [at('bundle.nix')]);
      await connected.lines('nix-store', ['--realise', derivation]);
      carried = await connected.lines('nix-store', ['--query', '--requisites', '--include-outputs', derivation]);
      await writeFile(at('carried'), `${carried.join('\n')}\n`);
      const from = ['--upstream', `file://${at('upstream')}`];
      const to = ['--to', at('medium', String(version)), '--site', 'lab', '--no-tools', '--mirror', at('mirror')];
      await connected.run(nixferryCommand, ['export', 'carried', ...from, ...to], { cwd: connected.directory });
    }
    senderKey = publicKeyLine(await connected.run(nixferryCommand, ['keys', 'show', '--mirror', at('mirror')]));
    gap = cleanUp.use(await openAirGap());
    const inserted = await insertReadOnly(gap, at('medium'));
    [first, second] = [path.join(inserted, '1'), path.join(inserted, '2')];
  });
  after(() => cleanUp.disposeAsync());

  const inGap = (...names: string[]) => path.join(gap.directory, ...names);
  const show = (args: readonly string[], exitCode = 0) => gap.run(nixferryCommand, args, { exitCode });

  test('show says who made the shipment and what to compare when nobody is trusted and there is no mirror', async () => {
    const { stdout } = await show(['show', second]);
    assert.match(stdout, /^shipment 2 for lab\n\nsignature NOT VERIFIED: /);
    assert.match(stdout, /in words: ([a-z]+ ){9}[a-z]+\n/);
    assert.match(stdout, /\n {2}greeter +2\.0 .*2 paths, licence GPL-3\.0-or-later\n/);
    assert.match(stdout, /brings .*bundle 2/);
    assert.doesNotMatch(stdout, /[^\n\P{C}]/u);
  });

  test('show verifies the signature with --trust, and exits with 12 when it is by somebody else', async () => {
    assert.match((await show(['show', second, '--trust', senderKey])).stdout, /signature verified: /);
    const { stderr } = await show(['show', second, '--trust', STRANGERS_KEY], 12);
    assert.match(stderr, /NOT VERIFIED/);
  });

  test('show --paths names every path with the hash that Nix has of it', async () => {
    const { stdout } = await show(['show', second, '--paths']);
    const outputs = carried.filter((storePath) => !storePath.endsWith('.drv'));
    const hashes = await connected.lines('nix-store', ['--query', '--hash', ...outputs]);
    for (const [index, storePath] of outputs.entries()) {
      const [digest = ''] = await connected.lines('nix-hash', ['--type', 'sha256', '--to-base16', hashes[index] ?? '']);
      assert.ok(stdout.includes(`${path.basename(storePath)}  sha256:${digest}\n`), storePath);
    }
  });

  test('show --json gives the same as lines, the verdict last', async () => {
    const lines = jsonLines((await show(['show', second, '--json', '--trust', senderKey])).stdout);
    const greeter = lines.find((line) => line.type === 'package' && line['name'] === 'greeter');
    assert.deepEqual([greeter?.['version'], greeter?.['licences']], ['2.0', ['GPL-3.0-or-later']]);
    assert.deepEqual(greeter?.['urls'], SOURCE_URLS);
    assert.deepEqual(lines.at(-1), { type: 'verdict', exitCode: 0, signature: 'verified' });
  });

  test('show --cyclonedx writes a bill that the official schema accepts, and its dependencies are the references', async () => {
    const file = inGap('bill.cdx.json');
    await show(['show', second, '--cyclonedx', file]);
    const text = await readFile(file, 'utf8');
    assert.equal(await new Validation.JsonStrictValidator(Spec.Version.v1dot6).validate(text), null);
    const bom = JSON.parse(text) as Bom;
    assert.deepEqual(bom.components.map((component) => component['bom-ref']).toSorted(), carried.toSorted());
    for (const { ref, dependsOn = [] } of bom.dependencies.slice(1)) {
      const references = await connected.lines('nix-store', ['--query', '--references', ref]);
      assert.deepEqual(dependsOn.toSorted(), references.filter((reference) => reference !== ref).toSorted(), ref);
    }
    const greeter = bom.components.find(({ name, version }) => name === 'greeter' && version === '2.0');
    assert.deepEqual(greeter?.licenses, [{ license: { name: 'GPL-3.0-or-later' } }]);
    assert.deepEqual(
      greeter?.externalReferences?.map(({ url }) => url),
      SOURCE_URLS,
    );
    const source = bom.components.find(({ name }) => name === 'greeter.tar');
    assert.deepEqual(source?.hashes, [{ alg: 'SHA-256', content: TARBALL_SHA256 }]);
  });

  test('diff in the mirror that sent it compares with what was sent before', async () => {
    const mirror = ['--mirror', path.join(connected.directory, 'mirror')];
    const folder = path.join(connected.directory, 'medium', '2');
    const { stdout } = await connected.run(nixferryCommand, ['diff', folder, ...mirror]);
    assertChanges(stdout);
    assert.match(stdout, /shipments up to number 1\n/);
  });

  test('diff on the isolated side compares with what is there, before the import and after it', async () => {
    const mirror = ['--mirror', inGap('mirror')];
    await show(['import', first, '--trust', senderKey, ...mirror]);
    assertChanges((await show(['diff', second, ...mirror])).stdout);
    const lines = jsonLines((await show(['diff', second, '--json', ...mirror])).stdout);
    const kinds = lines.filter(({ type }) => type === 'package').map(({ kind, name }) => `${kind} ${name}`);
    assert.deepEqual(kinds, [
      'changed bundle',
      'changed greeter',
      'added new-tool',
      'removed old-tool',
      'rebuilt shared-lib',
    ]);
    await show(['import', second, ...mirror]);
    assertChanges((await show(['diff', second, ...mirror])).stdout);
  });

  test('diff --against compares with a shipment or a mirror, and needs one of them', async () => {
    assertChanges((await show(['diff', second, '--against', first])).stdout);
    assert.match((await show(['diff', second, '--against', inGap('mirror')])).stdout, /unchanged/);
    assert.match((await show(['diff', second], 2)).stderr, /--against/);
  });

  test('show PATH says what the mirror knows, and who signed', async () => {
    const mirror = ['--mirror', inGap('mirror')];
    const greeter = carried.find((storePath) => storePath.endsWith('-greeter-2.0')) ?? '';
    for (const text of [greeter, path.basename(greeter), path.basename(greeter).slice(0, 32), `${greeter}/text`]) {
      const { stdout } = await show(['show', text, ...mirror]);
      assert.ok(stdout.startsWith(`${greeter}\n`), text);
      assert.match(stdout, /2 signatures\n( {2}.*: valid, by (this mirror|trusted sender)\n){2}/);
      assert.match(stdout, /1 root\n {2}carried: asked for itself, from shipment 2 /);
      assert.match(stdout, /1 referrer\n {2}[0-9a-z]{32}-bundle-2\n/);
      assert.match(stdout, /licence +GPL-3\.0-or-later\n/);
    }
    await show(['show', `/nix/store/${'0'.repeat(32)}-absent`, ...mirror], 2);
  });

  // Ahead of the browser, which looks for a network for reasons of its own.
  test('nothing tried to reach another machine while shipments were shown and compared', async () => {
    assert.equal(await gap.attemptsToLeave(), 0);
  });

  test('the pages open in a browser without network, as screen and as print, and it complains of nothing', async () => {
    const mirror = ['--mirror', inGap('mirror')];
    const pages = [inGap('show.html'), inGap('diff.html')] as const;
    await show(['show', second, '--html', pages[0], ...mirror]);
    await show(['diff', second, '--html', pages[1], ...mirror]);
    for (const page of pages) {
      const browse = async (...flags: string[]) => {
        const args = [...CHROMIUM, `--user-data-dir=${inGap('browser')}`, ...flags, `file://${page}`];
        const result = await gap.run('chromium', args, { env: { ...gap.env, HOME: gap.directory } });
        assert.doesNotMatch(result.stderr, /CONSOLE|Refused to/);
        return result.stdout;
      };
      const dom = await browse('--dump-dom');
      for (const text of ['greeter', 'shared-lib', 'Signature verified']) assert.ok(dom.includes(text), text);
      await browse(`--screenshot=${page}.png`, '--window-size=1280,1500');
      await browse(`--print-to-pdf=${page}.pdf`);
      assert.ok((await stat(`${page}.png`)).size > 20_000);
      assert.ok((await stat(`${page}.pdf`)).size > 5000);
    }
  });
});
