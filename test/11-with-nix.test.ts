// A bare machine that has neither Nix nor a network: install-nix.sh on the medium puts Nix there, and that one installs from the site's mirror.

import assert from 'node:assert/strict';
import { appendFile, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { type AirGap, openAirGap } from './support/air-gap.ts';
import { type BareRoot, makeDebianRoot } from './support/bare-root.ts';
import { publicKeyLine } from './support/carry.ts';
import { createNixEnvironment, type NixEnvironment } from './support/nix.ts';
import { makeNixClosure, type NixClosure, nixSystem } from './support/nix-closure.ts';
import { nixferryCommand } from './support/nixferry.ts';
import type { RunResult } from './support/run.ts';
import { makeTempDir, type TempDir } from './support/temp-dir.ts';
import { makeUpstream, type TestUpstream } from './support/upstream.ts';

const ENVIRONMENT = { PATH: '/usr/bin:/bin', HOME: '/root', TMPDIR: '/tmp' };
const MIRROR = '/var/lib/nixferry';
const SHIPMENT = '/media/stick/lab-0001';
const INSTALL = `${SHIPMENT}/install-nix.sh`;
const PROFILE = '/nix/var/nix/profiles/default';

suite('Nix from the medium, where there is none', () => {
  const cleanUp = new AsyncDisposableStack();
  let temp: TempDir;
  let connected: NixEnvironment;
  let closure: NixClosure;
  let upstream: TestUpstream;
  let gap: AirGap;
  let medium: string;
  let senderKey: string;

  const nixferry = (...args: string[]): Promise<RunResult> =>
    connected.run(nixferryCommand, [...args, '--mirror', path.join(connected.directory, 'mirror')], {
      env: { ...connected.env, NIXFERRY_NIX: path.join(connected.directory, 'private') },
      exitCode: 'any',
      timeoutMs: 300_000,
    });

  before(async () => {
    temp = cleanUp.use(await makeTempDir('with-nix'));
    connected = cleanUp.use(await createNixEnvironment());
    upstream = await makeUpstream({ nix: connected, paths: 6 });
    closure = await makeNixClosure({ nix: connected });
    medium = path.join(connected.directory, 'medium');
    const trust = ['--trusted-public-key', closure.publicKey, '--trusted-public-key', upstream.publicKey];
    const upstreams = ['--upstream', `file://${closure.directory}`, '--upstream', `file://${upstream.directory}`];
    // The one button: there is no Nix in the mirror yet, and nixferry.toml says which one is wanted.
    const config = path.join(connected.directory, 'nixferry.toml');
    await writeFile(config, `nix = "${closure.storePath}"\n`);
    const exported = await nixferry(
      'export',
      upstream.root,
      ...upstreams,
      ...trust,
      '--config',
      config,
      '--site',
      'lab',
      '--to',
      medium,
      '--with-nix',
    );
    assert.equal(exported.exitCode, 0, exported.stderr);
    assert.match(exported.stdout, /and where there is no Nix: sh DIR\/lab-0001\/install-nix\.sh --trust \S+ --url/);
    senderKey = publicKeyLine(await nixferry('keys', 'show'));
    gap = cleanUp.use(await openAirGap());
  });
  after(() => cleanUp.disposeAsync());

  const makeRoot = async (name: string, directory = medium): Promise<BareRoot> => {
    const mount = { directory, at: '/media/stick', options: 'ro', proc: true } as const;
    const root = await makeDebianRoot(temp.join(name), gap.namespace, mount);
    const at = (file: string) => path.join(root.directory, file);
    await mkdir(at('etc'), { recursive: true });
    await writeFile(at('etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
    await writeFile(at('etc/group'), 'root:x:0:\n');
    return root;
  };
  test('the script is signed for with the manifest, and listed in SHA256SUMS', async () => {
    const shipment = path.join(medium, 'lab-0001');
    await connected.run('sha256sum', ['--check', '--strict', '--quiet', 'SHA256SUMS'], { cwd: shipment });
    const sums = await readFile(path.join(shipment, 'SHA256SUMS'), 'utf8');
    const sha256 = /^(\w{64}) {2}install-nix\.sh$/m.exec(sums)?.[1];
    const manifest = JSON.parse(await readFile(path.join(shipment, 'manifest.json'), 'utf8')) as {
      installer: { sha256: string; sizeBytes: number };
    };
    assert.equal(manifest.installer.sha256, sha256);
    assert.equal(manifest.installer.sizeBytes, (await stat(path.join(shipment, 'install-nix.sh'))).size);
    assert.match(
      await readFile(path.join(shipment, 'READ-ME-FIRST.txt'), 'utf8'),
      /sh \S+\/lab-0001\/install-nix\.sh --trust/,
    );
  });

  test('it installs for root, from the medium alone, and Nix then installs from the mirror of that machine', async () => {
    const root = await makeRoot('server');
    await ok(root, `${SHIPMENT}/tools/nixferry`, 'import', '/media/stick', '--trust', senderKey, '--mirror', MIRROR);
    // The mirror there knows the sender, and is where the machine fetches from.
    const said = await ok(root, INSTALL);
    for (const step of ['1.', '2.', '3.', '4.', '5.', 'complete: nix (Nix)'])
      assert.match(said, new RegExp(`^${step.replaceAll(/[.()]/g, '\\$&')}`, 'm'));
    assert.match(await ok(root, '-euc', `. /etc/profile.d/nixferry-nix.sh; nix --version`), /^nix \(Nix\) /);
    await ok(root, '-euc', `${PROFILE}/bin/nix-store --realise ${upstream.root}`);
    await ok(root, '-euc', `${PROFILE}/bin/nix-store --verify --check-contents`);
    const program = path.join(upstream.root, 'bin', path.basename(upstream.root).slice(33));
    assert.equal(await ok(root, '-euc', program), `${path.basename(program)}\n`);
  });

  test('it may be repeated, and goes on where it was cut off', async () => {
    const root = await makeRoot('again');
    const install = ['--trust', senderKey, '--single-user'];
    const said = await ok(root, INSTALL, ...install);
    const next = `  sh ${INSTALL} ${install.join(' ')} --url http://SERVER:8080 --public-key KEY`;
    assert.ok(said.split('\n').includes(next), said);
    const state = async () => {
      const files = ['etc/nix/nix.conf', 'etc/nix/nixferry.conf', 'etc/profile.d/nixferry-nix.sh', 'etc/passwd'];
      const texts = await Promise.all(files.map((file) => readFile(path.join(root.directory, file), 'utf8')));
      return [
        ...texts,
        await readdir(path.join(root.directory, 'nix/store')),
        await readdir(path.join(root.directory, 'nix/var/nix/profiles')),
      ];
    };
    const earlier = await state();
    await appendFile(path.join(root.directory, 'etc/nix/nix.conf'), 'cores = 1\n');
    await ok(root, INSTALL, ...install);
    assert.deepEqual((await state()).slice(1), earlier.slice(1));
    assert.equal(
      await readFile(path.join(root.directory, 'etc/nix/nix.conf'), 'utf8'),
      'include nixferry.conf\ncores = 1\n',
    );
    // Killed before the database was written, with half a path.
    await rm(path.join(root.directory, 'nix/var'), { recursive: true });
    const [one = ''] = closure.paths;
    await rm(path.join(root.directory, one), { recursive: true });
    await mkdir(path.join(root.directory, 'nix/store/.tmp-00/half'), { recursive: true });
    await ok(root, INSTALL, ...install);
    await ok(root, '-euc', `${PROFILE}/bin/nix-store --verify --check-contents`);
    assert.deepEqual(await readdir(path.join(root.directory, 'nix/store')), earlier[4]);
  });

  test('it leaves a Nix alone that it has not made, and installs for nobody who is not trusted', async () => {
    const root = await makeRoot('foreign');
    await mkdir(path.join(root.directory, 'nix/store'), { recursive: true });
    const occupied = await sh(root, INSTALL, '--trust', senderKey);
    assert.equal(occupied.exitCode, 2);
    assert.match(occupied.stderr, /\/nix holds a Nix already: store\nnext: {2}nothing was changed/);
    assert.deepEqual(await readdir(path.join(root.directory, 'nix')), ['store']);
    await rm(path.join(root.directory, 'nix'), { recursive: true });
    const unknown = await sh(root, INSTALL);
    assert.equal(unknown.exitCode, 12);
    assert.match(unknown.stderr, /is not trusted here: \S+, in words: [^]*type the same command again with --trust/);
    const early = await sh(root.withMedium({ directory: medium, at: '/media/stick', options: 'ro' }), INSTALL);
    assert.match(early.stderr, /\/proc is not mounted, and Nix needs it\n {2}next: mount -t proc/);
    await assert.rejects(stat(path.join(root.directory, 'nix')), /ENOENT/);
    await assert.rejects(stat(path.join(root.directory, 'etc/nix')), /ENOENT/);
  });

  test('with a daemon it serves others than root, and systemd starts it', async () => {
    const root = await makeRoot('multi');
    const at = (file: string) => path.join(root.directory, file);
    await mkdir(at('run/systemd/system'), { recursive: true });
    await mkdir(at('etc/systemd/system'), { recursive: true });
    await writeFile(at('usr/bin/systemctl'), '#!/bin/sh\necho "$@" >>/tmp/systemctl.log\n', { mode: 0o755 });
    await writeFile(at('usr/bin/chgrp'), await readFile('/bin/chgrp'), { mode: 0o755 });
    const url = ['--url', 'http://127.0.0.1:8090', '--public-key', senderKey];
    await mkdir(at('etc/nix'));
    await writeFile(at('etc/nix/nix.conf'), 'substituters = https://cache.nixos.org');
    await ok(root, INSTALL, '--trust', senderKey, ...url);
    // What was said once stays.
    await ok(root, INSTALL, '--trust', senderKey);
    const configuration = await readFile(at('etc/nix/nix.conf'), 'utf8');
    assert.equal(configuration, 'substituters = https://cache.nixos.org\ninclude nixferry.conf\n');
    const effective = await ok(
      root,
      '-euc',
      `${PROFILE}/bin/nix --extra-experimental-features nix-command show-config`,
    );
    assert.match(effective, /^substituters = http:\/\/127\.0\.0\.1:8090$/m);
    assert.match(effective, /^build-users-group = nixbld$/m);
    const passwd = await readFile(at('etc/passwd'), 'utf8');
    assert.deepEqual(
      passwd.match(/^nixbld\d+(?=:x:\d+:30000:)/gm),
      [1, 2, 3, 4, 5, 6, 7, 8].map((n) => `nixbld${n}`),
    );
    assert.equal((await readFile(at('etc/group'), 'utf8')).match(/^nixbld:x:30000:nixbld1,/gm)?.length, 1);
    const store = await stat(at('nix/store'));
    assert.deepEqual([store.mode & 0o7777, store.gid], [0o1775, 30_000]);
    const log = await readFile(at('tmp/systemctl.log'), 'utf8');
    assert.match(log, /^daemon-reload\nenable --now nix-daemon\.socket\ntry-restart nix-daemon\.service\n/);
    const settings = await readFile(at('etc/nix/nixferry.conf'), 'utf8');
    assert.match(settings, /^build-users-group = nixbld$/m);
    assert.match(settings, /^substituters = http:\/\/127\.0\.0\.1:8090$/m);
    assert.ok(settings.includes(`trusted-public-keys = ${senderKey}`));
    const unit = await readFile(at('etc/systemd/system/nix-daemon.service'), 'utf8');
    const start = /^ExecStart=(.*)$/m.exec(unit)?.[1] ?? '';
    await using daemon = root.start(['-euc', `exec ${start}`], { env: ENVIRONMENT });
    const asked = `for n in 1 2 3 4 5 6 7 8 9; do [ -S /nix/var/nix/daemon-socket/socket ] || ls / >/dev/null; done; NIX_REMOTE=daemon ${PROFILE}/bin/nix-store --query --requisites ${closure.storePath}`;
    for (let tries = 0; ; tries += 1) {
      const { exitCode, stdout, stderr } = await sh(root, '-euc', asked);
      if (exitCode !== 0 && tries < 50) continue;
      assert.equal(exitCode, 0, stderr);
      assert.deepEqual(stdout.trim().split('\n').toSorted(), closure.paths.toSorted());
      break;
    }
    await daemon.stop();
    // A unit of another Nix is not replaced.
    await writeFile(at('etc/systemd/system/nix-daemon.service'), '[Service]\nExecStart=/other\n');
    const refused = await sh(root, INSTALL, '--trust', senderKey, ...url);
    assert.equal(refused.exitCode, 2);
    assert.match(refused.stderr, /nix-daemon\.service is of another Nix\n {2}next: remove it/);
  });

  test('what the site has is not sent again, and the mirror there gives it', async () => {
    const root = await makeRoot('delta');
    const program = `${SHIPMENT}/tools/nixferry`;
    await ok(root, program, 'import', '/media/stick', '--trust', senderKey, '--mirror', MIRROR);
    const second = path.join(connected.directory, 'second');
    const packed = await nixferry('pack', '--to', second, '--site', 'lab', '--since', '1', '--with-nix', '--json');
    assert.equal(packed.exitCode, 0, packed.stderr);
    const { totals } = JSON.parse(packed.stdout.trimEnd().split('\n').at(-1) ?? '') as {
      totals: Record<string, number>;
    };
    assert.equal(totals['pathCount'], 0);
    const later = root.withMedium({ directory: second, at: '/media/stick', options: 'ro', proc: true });
    const without = await sh(
      later,
      '/media/stick/lab-0002/install-nix.sh',
      '--trust',
      senderKey,
      '--mirror',
      '/nowhere',
    );
    assert.notEqual(without.exitCode, 0);
    const bare = await makeRoot('delta-bare', second);
    const missing = await sh(bare, '/media/stick/lab-0002/install-nix.sh', '--trust', senderKey);
    assert.equal(missing.exitCode, 11);
    assert.match(
      missing.stderr,
      /is not on this medium: it came with shipment 1\nnext: {2}take the medium of shipment 1/,
    );
    assert.match(await ok(later, '/media/stick/lab-0002/install-nix.sh'), /^complete: nix \(Nix\)/m);
  });

  test('a Nix that was fetched to evaluate with does not travel unless it is asked for', async () => {
    const to = path.join(connected.directory, 'third');
    const packed = await nixferry('pack', '--to', to, '--site', 'other', '--no-tools');
    assert.equal(packed.exitCode, 0, packed.stderr);
    const folder = path.join(to, 'other-0001');
    const manifest = await readFile(path.join(folder, 'manifest.json'), 'utf8');
    assert.ok(!manifest.includes(`nix:${nixSystem()}`) && !manifest.includes('installer'));
    assert.ok(!(await readdir(folder)).includes('install-nix.sh'));
  });

  test('nothing of all this tried to reach another machine', async () => {
    assert.equal(await gap.attemptsToLeave(), 0);
  });
});

function sh(root: BareRoot, ...args: string[]): Promise<RunResult> {
  return root.run(args, { env: ENVIRONMENT, exitCode: 'any', timeoutMs: 300_000 });
}

async function ok(root: BareRoot, ...args: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await sh(root, ...args);
  assert.equal(exitCode, 0, `${args.join(' ')}\n${stdout}${stderr}`);
  return stdout;
}
