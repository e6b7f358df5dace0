// The isolated machine has nothing but the medium: the Nixferry on it imports and serves, and real Nix installs from that.

import assert from 'node:assert/strict';
import { chmod, cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { type AirGap, openAirGap } from './support/air-gap.ts';
import { type BareRoot, type MediumMount, makeDebianRoot, makeNixosRoot } from './support/bare-root.ts';
import { assertInstalled, exportToMedium, type Medium, publicKeyLine, realise } from './support/carry.ts';
import { createNixEnvironment, type NixEnvironment } from './support/nix.ts';
import { repositoryRoot } from './support/nixferry.ts';
import { start } from './support/run.ts';
import { makeTempDir, type TempDir } from './support/temp-dir.ts';
import { makeUpstream, type TestUpstream } from './support/upstream.ts';

const DEBIAN_ENVIRONMENT = { PATH: '/usr/bin:/bin', HOME: '/root', TMPDIR: '/tmp' };
const MIRROR = '/srv/mirror';

suite('Nixferry from the medium, where nothing is installed', () => {
  const cleanUp = new AsyncDisposableStack();
  let temp: TempDir;
  let connected: NixEnvironment;
  let upstream: TestUpstream;
  let medium: Medium;
  let gap: AirGap;
  let version: string;

  before(async () => {
    temp = cleanUp.use(await makeTempDir('bare'));
    connected = cleanUp.use(await createNixEnvironment());
    upstream = await makeUpstream({
      nix: connected,
      paths: 12,
      compressions: ['xz', 'zstd', 'bzip2'],
      // Unpacked it is more than the decoder inside the program takes on: xz itself must be there.
      largestFileBytes: 12_000_000,
    });
    const url = `file://${upstream.directory}`;
    const { directory } = connected;
    medium = await exportToMedium({ nix: connected, upstream, url, site: 'lab', directory, tools: true });
    gap = cleanUp.use(await openAirGap());
    ({ version } = JSON.parse(await readFile(path.join(repositoryRoot, 'package.json'), 'utf8')) as {
      version: string;
    });
  });
  after(() => cleanUp.disposeAsync());

  const mount = (changes: Partial<MediumMount> = {}): MediumMount => {
    return { directory: medium.directory, at: '/media/stick', options: 'ro', ...changes };
  };
  const PROGRAM = '/media/stick/lab-0001/tools/nixferry';
  const makeRoot = {
    debian: (name: string) => makeDebianRoot(temp.join(name), gap.namespace, mount()),
    nixos: (name: string) => makeNixosRoot(temp.join(name), gap.namespace, mount()),
  };

  test('the medium holds files that every file system takes, all of them in SHA256SUMS', async () => {
    const shipment = path.join(medium.directory, 'lab-0001');
    await connected.run('sha256sum', ['--check', '--strict', '--quiet', 'SHA256SUMS'], { cwd: shipment });
    const listed = (await readFile(path.join(shipment, 'SHA256SUMS'), 'utf8')).match(/(?<= {2}).+/g) ?? [];
    const entries = await readdir(shipment, { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => !entry.isDirectory());
    assert.ok(files.every((entry) => entry.isFile() && /^[A-Za-z0-9._-]{1,60}$/.test(entry.name)));
    const names = files.map((entry) => path.relative(shipment, path.join(entry.parentPath, entry.name)));
    assert.deepEqual(listed.toSorted(), names.filter((name) => name !== 'SHA256SUMS').toSorted());
    assert.equal(new Set(names.map((name) => name.toLowerCase())).size, names.length);
  });

  const systems = [
    { name: 'a Debian without Node, xz and bzip2', make: makeRoot.debian, env: DEBIAN_ENVIRONMENT, port: 8081 },
    { name: 'a Debian with an empty PATH', make: makeRoot.debian, env: { PATH: '' }, port: 8082 },
    { name: 'a NixOS without /lib64 and without an environment', make: makeRoot.nixos, env: {}, port: 8083 },
  ];
  for (const { name, make, env, port } of systems) {
    test(`it imports xz, zstd and bzip2 and serves to real Nix on ${name}`, async () => {
      const root = await make(`root-${port}`);
      const nixferry = (...args: string[]) => root.run([PROGRAM, ...args], { env });
      assert.deepEqual(await outputOf(nixferry('--version')), [`${version}\n`, '']);
      await nixferry('import', '/media/stick', '--trust', medium.senderKey, '--mirror', MIRROR);
      const publicKey = publicKeyLine(await nixferry('keys', 'show', '--mirror', MIRROR));
      const address = `127.0.0.1:${port}`;
      const serve = ['serve', '--listen', address, '--workers', '2', '--mirror', MIRROR];
      await using server = root.start([PROGRAM, ...serve], { env });
      await server.waitForOutput(/serving /);
      await using client = await createNixEnvironment({ network: gap.namespace });
      await realise(client, upstream.root, { url: `http://${address}`, publicKey });
      await assertInstalled(client, connected, upstream);
      assert.equal((await server.stop()).exitCode, 0);
      assert.deepEqual(await readdir(path.join(root.directory, 'tmp')), []);
    });
  }

  test('it starts from a folder whose name holds blanks, colons and dollars, and through a link', async () => {
    const at = '/media/My stick: $ORIGIN;1';
    const root = (await makeRoot.debian('root-names')).withMedium(mount({ at }));
    const env = DEBIAN_ENVIRONMENT;
    const program = `${at}/lab-0001/tools/nixferry`;
    assert.deepEqual(await outputOf(root.run([program, '--version'], { env })), [`${version}\n`, '']);
    const linked = ['-euc', 'cd /tmp; ln -s "$0" ferry; ./ferry --version; rm ferry', program];
    await writeFile(path.join(root.directory, 'usr/bin/ln'), await readFile('/bin/ln'), { mode: 0o755 });
    assert.deepEqual(await outputOf(root.run(linked, { env })), [`${version}\n`, '']);
    assert.deepEqual(await readdir(path.join(root.directory, 'tmp')), []);
  });

  test('it says what to type next as it was started itself, and by its name alone when that is on the PATH', async () => {
    const root = await makeRoot.debian('root-typed');
    const hint = async (env: Record<string, string>): Promise<string> => {
      const { stderr } = await root.run([PROGRAM, 'status', '--mirror', '/srv/none'], { env, exitCode: 2 });
      return stderr.split('\n').find((line) => line.startsWith('next:')) ?? '';
    };
    assert.match(await hint(DEBIAN_ENVIRONMENT), new RegExp(`type: sh ${PROGRAM} init --mirror /srv/none\\)`));
    assert.match(await hint({ PATH: `/usr/bin:${path.dirname(PROGRAM)}` }), /type: nixferry init --mirror /);
  });

  test('it makes a copy for one run, and removes it, when the medium may not start programs', async () => {
    const root = (await makeRoot.debian('root-noexec')).withMedium(mount({ options: 'ro,noexec' }));
    for (const env of [DEBIAN_ENVIRONMENT, {}]) {
      await root.run([PROGRAM, 'import', '/media/stick', '--trust', medium.senderKey, '--mirror', MIRROR], { env });
      const { exitCode } = await root.run([PROGRAM, 'status', '--mirror', '/nowhere'], { env, exitCode: 'any' });
      assert.equal(exitCode, 2);
      assert.deepEqual(await readdir(path.join(root.directory, 'tmp')), []);
    }
  });

  test('it says what to do when the medium may not start programs and nothing can copy it', async () => {
    const root = (await makeRoot.nixos('root-helpless')).withMedium(mount({ options: 'ro,noexec' }));
    const { exitCode, stdout, stderr } = await root.run([PROGRAM, '--version'], { exitCode: 'any' });
    assert.deepEqual([exitCode, stdout], [2, '']);
    assert.match(stderr, /programs cannot be started from \S+\/tools\/\S+, .*\n {2}next: copy \S+\/tools to a disk/);
  });

  test('the lines of READ-ME-FIRST.txt keep it, also over an older one that is running', async () => {
    const kept = temp.join('opt/nixferry');
    const shipment = path.join(medium.directory, 'lab-0001');
    const readMe = await readFile(path.join(shipment, 'READ-ME-FIRST.txt'), 'ascii');
    const lines = /^ {2}(mkdir -p .*\n {2}cp .*)$/m.exec(readMe)?.[1] ?? 'false';
    const script = lines.replaceAll('/opt/nixferry', kept).replace('/path/to/lab-0001', shipment);
    const keep = (): Promise<unknown> => connected.run('sh', ['-euc', script]);
    await keep();
    const program = path.join(kept, 'nixferry');
    await connected.run('sh', [program, 'init', '--mirror', temp.join('kept-mirror')]);
    const serve = [program, 'serve', '--listen', '127.0.0.1:0', '--workers', '1', '--mirror', temp.join('kept-mirror')];
    await using server = start('sh', serve);
    await server.waitForOutput(/serving /);
    await keep();
    assert.deepEqual(await readdir(kept), await readdir(path.join(shipment, 'tools')));
    assert.equal((await server.stop()).exitCode, 0);
  });

  test('it starts from a copy on a disk that came from FAT32 without marks for programs', async () => {
    const root = await makeRoot.debian('root-copied');
    const copy = path.join(root.directory, 'srv/nixferry');
    await cp(path.join(medium.directory, 'lab-0001/tools'), copy, { recursive: true });
    for (const name of await readdir(copy, { recursive: true })) {
      if (!name.includes('.') && !(await isFolder(path.join(copy, name)))) await chmod(path.join(copy, name), 0o644);
    }
    await chmod(path.join(copy, process.arch, 'ld.so'), 0o644);
    const { stdout } = await root.run(['/srv/nixferry/nixferry', '--version'], { env: DEBIAN_ENVIRONMENT });
    assert.equal(stdout, `${version}\n`);
  });

  test('it can be packed onto the next medium by itself', async () => {
    const root = await makeRoot.debian('root-relay');
    const env = DEBIAN_ENVIRONMENT;
    await root.run([PROGRAM, 'import', '/media/stick', '--trust', medium.senderKey, '--mirror', MIRROR], { env });
    await mkdir(path.join(root.directory, 'srv/next'));
    await root.run([PROGRAM, 'pack', '--to', '/srv/next', '--site', 'annex', '--mirror', MIRROR], { env });
    const next = path.join(root.directory, 'srv/next/annex-0001');
    assert.equal(await toolsOf(next), await toolsOf(path.join(medium.directory, 'lab-0001')));
    const { stdout } = await root.run(['/srv/next/annex-0001/tools/nixferry', '--version'], { env });
    assert.equal(stdout, `${version}\n`);
    await rm(next, { recursive: true });
  });

  test('it says that it has no program for this machine when there is none', async () => {
    const root = await makeRoot.debian('root-other-machine');
    const tools = path.join(root.directory, 'srv/tools');
    await mkdir(tools);
    await cp(path.join(medium.directory, 'lab-0001/tools/nixferry'), path.join(tools, 'nixferry'));
    const { exitCode, stderr } = await root.run(['/srv/tools/nixferry'], { env: DEBIAN_ENVIRONMENT, exitCode: 'any' });
    assert.equal(exitCode, 2);
    assert.match(stderr, /there is no Nixferry for this machine \((x64|arm64)\) in \/srv\/tools\n {2}next: /);
  });

  test('nothing of all this tried to reach another machine', async () => {
    assert.equal(await gap.attemptsToLeave(), 0);
  });
});

async function outputOf(result: ReturnType<BareRoot['run']>): Promise<[string, string]> {
  const { stdout, stderr } = await result;
  return [stdout, stderr];
}

function toolsOf(shipment: string): Promise<string> {
  return readFile(path.join(shipment, 'tools/SHA256SUMS'), 'utf8');
}

async function isFolder(file: string): Promise<boolean> {
  return readdir(file).then(
    () => true,
    () => false,
  );
}
