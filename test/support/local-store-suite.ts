// What `serve --local-store` promises, with real Nix on both sides: what was built on the server is installed by clients that demand signatures.

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { type AirGap, openAirGap } from './air-gap.ts';
import { assertRefused, publicKeyLine, realise } from './carry.ts';
import { createNixEnvironment, type NixEnvironment } from './nix.ts';
import { nixferryCommand } from './nixferry.ts';

export interface LocalStoreSuiteOptions {
  /** Whose Nix builds on the server and installs on the client. */
  readonly whose: string;
  readonly chroot: () => Promise<string | undefined>;
}

const EXPRESSION = `
let
  build = name: script: derivation {
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-euc" "PATH=/usr/bin:/bin; \${script}" ];
  };
  source = builtins.toFile "words.txt" "some words";
  dep = build "dep" "mkdir $out; cp \${source} $out/words; chmod 755 $out/words";
  large = build "large" "head -c 3000000 /dev/zero | tr '\\\\0' x > $out";
in
build "top" "mkdir -p $out/bin; ln -s \${dep}/words $out/bin/words; echo \${large} $out > $out/refers"
`;

/** Serves the store of one Nix to another. */
export function localStoreSuite({ whose, chroot }: LocalStoreSuiteOptions): void {
  suite(`the store of a server with the Nix of ${whose}`, () => {
    const cleanUp = new AsyncDisposableStack();
    let gap: AirGap;
    let server: NixEnvironment;
    let url: string;
    let publicKey: string;
    let top: string;
    let drv: string;
    const client = async (): Promise<NixEnvironment> =>
      createNixEnvironment({ network: gap.namespace, chroot: await chroot() });
    const status = async (address: string): Promise<string> => {
      const curl = ['-s', '--path-as-is', '-o', '/dev/null', '-w', '%{http_code}', `${url}/${address}`];
      return (await gap.run('curl', curl, { exitCode: 'any' })).stdout;
    };
    const narInfo = async (storePath: string): Promise<string> => {
      const { stdout } = await gap.run('curl', ['-sf', `${url}/${path.basename(storePath).slice(0, 32)}.narinfo`]);
      return stdout;
    };
    const narUrl = async (storePath: string): Promise<string> =>
      /^URL: (.*)$/m.exec(await narInfo(storePath))?.[1] ?? '';

    before(async () => {
      gap = cleanUp.use(await openAirGap());
      server = cleanUp.use(await client());
      [top = ''] = await server.build(EXPRESSION);
      [drv = ''] = await server.lines('nix-store', ['--query', '--deriver', top]);
      const mirror = path.join(server.directory, 'mirror');
      // Nixferry sees the store from outside: where another system's Nix built, there is no Node.
      await gap.run(nixferryCommand, ['init', '--mirror', mirror]);
      publicKey = publicKeyLine(await gap.run(nixferryCommand, ['keys', 'show', '--mirror', mirror]));
      const serve = ['serve', '--listen', '127.0.0.1:0', '--mirror', mirror, '--workers', '2'];
      const serving = gap.start(nixferryCommand, [...serve, `--local-store=${server.directory}`]);
      [, url = ''] = await serving.waitForOutput(/on (http:\/\/127\.0\.0\.1:\d+)/);
    });
    after(() => cleanUp.disposeAsync());

    test('is installed from by a client that demands signatures and trusts the key of the mirror alone', async (context) => {
      await using installing = await client();
      context.diagnostic((await installing.run('nix', ['--version'])).stdout.trim());
      await assertRefused(installing, top, url);
      await realise(installing, top, { url, publicKey });
      const closure = (nix: NixEnvironment) => nix.lines('nix-store', ['--query', '--requisites', top]);
      assert.deepEqual((await closure(installing)).toSorted(), (await closure(server)).toSorted());
      await installing.run('nix-store', ['--verify', '--check-contents']);
      await gap.run('diff', ['-r', '--no-dereference', server.physical(top), installing.physical(top)]);
    });

    test('gives derivations too, from which a client builds, or fetches what is built', async () => {
      await using installing = await client();
      await realise(installing, drv, { url, publicKey });
      assert.deepEqual(await installing.lines('nix-store', ['--query', '--outputs', drv]), [top]);
      await installing.run('nix-store', ['--check-validity', drv, top]);
      await using copying = await client();
      const trust = ['--option', 'trusted-public-keys', publicKey, '--option', 'require-sigs', 'true'];
      await copying.run('nix', ['copy', '--from', url, '--derivation', drv, ...trust]);
      const inputs = (nix: NixEnvironment) => nix.lines('nix-store', ['--query', '--requisites', drv]);
      assert.deepEqual((await inputs(copying)).toSorted(), (await inputs(server)).toSorted());
      const [rebuilt] = await copying.lines('nix-store', ['--realise', drv]);
      assert.equal(rebuilt, top);
    });

    test('gives each NAR as Nix dumps it, whole and from any byte on', async () => {
      const name = await narUrl(top);
      const dump = 'nix-store --dump "$1"';
      const fetch = 'curl -sf "$0"';
      const compare = (ours: string, theirs: string) =>
        server.run('bash', ['-euc', `cmp <(${ours}) <(${theirs})`, `${url}/${name}`, top]);
      await compare(fetch, dump);
      await compare('curl -sf -r 100- "$0"', `${dump} | tail -c +101`);
      await compare('curl -sf -r 8-23 "$0"', `${dump} | tail -c +9 | head -c 16`);
    });

    test('has nothing that is not a valid path: nothing beside it, nothing unfinished, nothing collected', async () => {
      const file = path.join(server.directory, 'gone');
      await writeFile(file, 'soon');
      const [dep = ''] = await server.lines('nix-store', ['--add', file]);
      const gone = { narInfo: `${path.basename(dep).slice(0, 32)}.narinfo`, nar: await narUrl(dep) };
      assert.deepEqual([await status(gone.narInfo), await status(gone.nar)], ['200', '200']);
      await server.run('nix-store', ['--delete', dep]);
      assert.deepEqual([await status(gone.narInfo), await status(gone.nar)], ['404', '404']);
      // The file is there again, and Nix knows nothing of it: as while it is being built.
      await server.run('/bin/sh', ['-euc', 'echo unfinished > "$0"', dep]);
      assert.deepEqual([await status(gone.narInfo), await status(gone.nar)], ['404', '404']);
      const hash = /-([0-9a-z]{52}\.nar)$/.exec(await narUrl(top))?.[1];
      for (const name of [
        '../mirror/.nixferry/keys/secret',
        '..%2fmirror',
        `${'0'.repeat(32)}-${hash}`,
        top,
        '.links',
      ]) {
        assert.match(await status(`local/${name}`), /^40[04]$/, name);
      }
      const other = (await narUrl(top)).replace(/-[0-9a-z]{52}/, `-${'0'.repeat(52)}`);
      assert.equal(await status(other), '404');
    });

    test('never gives wrong bytes as whole: what is damaged breaks off, and is missing from then on', async () => {
      const [bad = ''] = await server.build(
        'derivation { name = "bad"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-euc" "PATH=/usr/bin:/bin; head -c 2000000 /dev/zero > $out" ]; }',
      );
      const info = await narInfo(bad);
      const name = await narUrl(bad);
      const spoil = 'chmod u+w "$0"; printf x | dd of="$0" bs=1 seek=1000000 conv=notrunc status=none';
      await server.run('/bin/sh', ['-euc', spoil, bad]);
      const size = 'curl -sf -o /dev/null -w "%{size_download} %{http_code}" "$0"';
      const cut = await server.run('/bin/sh', ['-uc', size, `${url}/${name}`], { exitCode: 'any' });
      assert.equal(cut.exitCode, 18, 'curl: partial file');
      const narSize = /^NarSize: (\d+)$/m.exec(info)?.[1];
      assert.ok(Number(cut.stdout.split(' ')[0]) < Number(narSize));
      await using installing = await client();
      const refused = await realise(installing, bad, { url, publicKey }, 'any');
      assert.notEqual(refused.exitCode, 0);
      assert.notEqual((await installing.run('nix-store', ['--check-validity', bad], { exitCode: 'any' })).exitCode, 0);
    });

    test('is served without a word to another machine', async () => {
      assert.equal(await gap.attemptsToLeave(), 0);
    });
  });
}
