// What `nixferry doctor` finds on a real client, and that its cures work: each finding is provoked, its lines are pasted, and it is gone.

import assert from 'node:assert/strict';
import { appendFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { type AirGap, openAirGap } from './air-gap.ts';
import { publicKeyLine, realise, STRANGERS_KEY } from './carry.ts';
import { createNixEnvironment, type NixEnvironment } from './nix.ts';
import { nixferryCommand, repositoryRoot } from './nixferry.ts';

export interface DoctorSuiteOptions {
  /** Whose Nix is looked at. */
  readonly whose: string;
  readonly chroot: () => Promise<string | undefined>;
}

interface FoundThing {
  readonly id: string;
  readonly level: string;
  readonly text: string;
  readonly cure?: string;
  readonly paste?: { readonly into: string; readonly lines: readonly string[] };
}

interface DoctorAnswer {
  readonly findings: readonly FoundThing[];
  readonly exitCode: number;
  readonly tookMs: number;
  of(id: string): FoundThing;
  ids(level: string): readonly string[];
}

/** Looks at clients with one Nix. */
export function doctorSuite({ whose, chroot }: DoctorSuiteOptions): void {
  suite(`doctor with the Nix of ${whose}`, () => {
    const cleanUp = new AsyncDisposableStack();
    let gap: AirGap;
    let url: string;
    let publicKey: string;
    let top: string;
    let mirror: string;

    const openClient = async (): Promise<NixEnvironment> =>
      createNixEnvironment({ network: gap.namespace, chroot: await chroot(), shared: [repositoryRoot, gap.directory] });
    /** As the page of the server says it. */
    const configureAsServed = async (client: NixEnvironment): Promise<void> => {
      const served = (await gap.run('curl', ['-sf', `${url}/nix.conf`])).stdout;
      await configure(client, [served, 'extra-experimental-features = nix-command flakes']);
    };
    const HEEDED = { NIX_CONFIG: 'substitute = true' };

    before(async () => {
      gap = cleanUp.use(await openAirGap());
      [top = ''] = await gap.build(
        'derivation { name = "top"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo top > $out" ]; }',
      );
      mirror = path.join(gap.directory, 'mirror');
      await gap.run(nixferryCommand, ['init', '--mirror', mirror]);
      publicKey = publicKeyLine(await gap.run(nixferryCommand, ['keys', 'show', '--mirror', mirror]));
      const serving = gap.start(nixferryCommand, [
        'serve',
        '--listen',
        '127.0.0.1:0',
        '--mirror',
        mirror,
        '--workers',
        '1',
        '--local-store',
      ]);
      [, url = ''] = await serving.waitForOutput(/on (http:\/\/127\.0\.0\.1:\d+)/);
    });
    after(() => cleanUp.disposeAsync());

    test('finds nothing wrong on a client that is configured as the server says', async () => {
      await using client = await openClient();
      await configureAsServed(client);
      const answer = await doctor(client, ['--path', top], { ...HEEDED, NIX_HASHED_MIRRORS: `${url}/hashed` });
      assert.deepEqual(answer.ids('problem'), []);
      assert.deepEqual(answer.ids('warning'), ['no-network-interface']);
      assert.equal(answer.exitCode, 0);
      assert.match(answer.of('nix').text, /^Nix 2\./);
      assert.match(answer.of('signature').text, /top carries a signature that counts here/);
      assert.ok(answer.ids('fine').includes('flake-registry'));
    });

    test('knows the trap of a machine without a network interface, and the line against it', async () => {
      await using client = await openClient();
      await configureAsServed(client);
      const finding = (await doctor(client)).of('no-network-interface');
      assert.equal(finding.level, 'problem');
      const [line = ''] = finding.paste?.lines ?? [];
      assert.match(line, /^export NIX_CONFIG=/);
      // Nix itself: not without the line, and with it.
      const install = `nix build --no-link ${top}`;
      assert.notEqual((await client.run('/bin/sh', ['-c', install], { exitCode: 'any' })).exitCode, 0);
      await client.run('/bin/sh', ['-euc', `${line}; ${install}`]);
    });

    test('shows a key that is not trusted, and gives the line that makes Nix take the path', async () => {
      await using client = await openClient();
      await configureAsServed(client);
      await configure(client, [`trusted-public-keys = ${STRANGERS_KEY}`]);
      const refused = await doctor(client, ['--path', top], HEEDED);
      assert.equal(refused.exitCode, 10);
      const finding = refused.of('key-not-trusted');
      assert.equal(finding.level, 'problem');
      assert.deepEqual(finding.paste?.lines, [`trusted-public-keys = ${publicKey} ${STRANGERS_KEY}`]);
      await configure(client, finding.paste?.lines ?? []);
      assert.equal((await doctor(client, ['--path', top], HEEDED)).of('signature').level, 'fine');
      await client.run('nix-store', ['--realise', top], { env: { ...client.env, ...HEEDED } });
    });

    test('finds paths that Nix remembers as missing though they have come, and how to make it forget', async () => {
      await using client = await openClient();
      await configureAsServed(client);
      await configure(client, ['narinfo-cache-negative-ttl = 3600']);
      const file = path.join(gap.directory, 'late');
      await writeFile(file, 'came later');
      const [late = ''] = await gap.lines('nix-store', ['--add', file]);
      await gap.run('nix-store', ['--delete', late]);
      assert.notEqual((await realise(client, late, { url, publicKey }, 'any')).exitCode, 0);
      await gap.run('nix-store', ['--add', file]);
      const finding = (await doctor(client, [], HEEDED)).of('remembered-missing');
      assert.match(finding.text, new RegExp(path.basename(late).slice(0, 32)));
      assert.notEqual((await realise(client, late, { url, publicKey }, 'any')).exitCode, 0);
      await client.run('/bin/sh', ['-euc', finding.paste?.lines.join('\n') ?? '']);
      await realise(client, late, { url, publicKey });
      assert.ok(!(await doctor(client, [], HEEDED)).ids('problem').includes('remembered-missing'));
    });

    test('names a cache of the internet that is still in the list, and one that is off, in bounded time', async () => {
      await using client = await openClient();
      await configureAsServed(client);
      await configure(client, [`substituters = ${url} https://cache.nixos.org/ http://127.0.0.1:9`]);
      const answer = await doctor(client, [], HEEDED);
      for (const id of ['internet-cache', 'substituter-unreachable']) {
        assert.equal(answer.of(id).level, 'problem');
        assert.deepEqual(answer.of(id).paste?.lines, [`substituters = ${url}`]);
      }
      assert.ok(answer.tookMs < 40_000, `${answer.tookMs} ms`);
    });

    test('says what a default configuration costs, and repeats what Nix complains of', async () => {
      await using client = await openClient();
      await configure(client, ['require-sigs = false', 'no-such-setting = 1', 'trusted-public-keys = broken:key']);
      const answer = await doctor(client, ['--url', url], HEEDED);
      const warnings = answer.ids('warning');
      for (const id of ['require-sigs', 'fallback', 'negative-ttl', 'nix-complains']) {
        assert.ok(warnings.includes(id), `${id} in ${warnings.join(' ')}`);
      }
      assert.equal(answer.of('bad-key').level, 'problem');
      assert.match(answer.of('nix-complains').text, /no-such-setting/);
    });

    test('counts what is odd with Nix on a server as a note, unless its Nix fetches from the mirror there', async () => {
      await using server = await openClient();
      await configure(server, [
        'substituters = https://cache.nixos.org/',
        'extra-experimental-features = nix-command flakes',
      ]);
      const here = ['--mirror', mirror, '--server-url', url];
      const serving = await doctor(server, here);
      assert.deepEqual([...serving.ids('problem'), ...serving.ids('warning')], []);
      assert.equal(serving.exitCode, 0);
      assert.ok(serving.ids('note').includes('server-only') && serving.ids('note').includes('internet-cache'));
      assert.equal(serving.of('serving').level, 'fine');
      assert.ok((await doctor(server, [...here, '--url', url])).ids('problem').includes('internet-cache'));
      await configure(server, [`substituters = ${url} https://cache.nixos.org/`]);
      assert.ok((await doctor(server, here)).ids('problem').includes('internet-cache'));
    });

    test('changes nothing on the client', async () => {
      await using client = await openClient();
      await configureAsServed(client);
      await realise(client, top, { url, publicKey });
      const list = () => client.run('find', [path.join(client.directory), '-printf', '%p %T@ %s\n']);
      const unchanged = (await list()).stdout;
      await doctor(client, ['--path', top]);
      assert.equal((await list()).stdout, unchanged);
    });

    test('works where Nix is missing, and says so first', async () => {
      await using client = await openClient();
      const answer = await doctor(client, ['--url', url], { PATH: '/nonexistent' });
      assert.equal(answer.findings[0]?.id, 'nix-missing');
      assert.equal(answer.exitCode, 10);
      assert.equal(answer.of('substituter').level, 'fine');
    });
  });
}

/** As the program itself: in a chroot there is no Node for the launcher to begin with. */
async function doctor(
  client: NixEnvironment,
  args: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): Promise<DoctorAnswer> {
  const started = performance.now();
  const main = [path.join(repositoryRoot, 'src/cli/main.ts'), 'doctor', '--json', '--timeout', '2', ...args];
  const options = { exitCode: 'any' as const };
  const set = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const { stdout, stderr, exitCode } = await client.run('/usr/bin/env', [...set, process.execPath, ...main], options);
  assert.equal(stderr, '');
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const findings: FoundThing[] = lines.filter(({ type }) => type === 'result');
  return {
    findings,
    exitCode: exitCode ?? -1,
    tookMs: performance.now() - started,
    of: (id) => findings.find((finding) => finding.id === id) ?? assert.fail(`no finding ${id} in ${stdout}`),
    ids: (level) => findings.filter((finding) => finding.level === level).map(({ id }) => id),
  };
}

function configFile(client: NixEnvironment): string {
  return path.join(client.directory, 'etc/nix.conf');
}

/** The lines that others have set, then ours; Nix goes by the last of each name. */
function configure(client: NixEnvironment, lines: readonly string[]): Promise<void> {
  return appendFile(configFile(client), `${lines.join('\n')}\n`);
}
