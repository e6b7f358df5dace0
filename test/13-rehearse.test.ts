// Before the medium leaves, real Nix tries everything once where there is no network: the configuration, each of its variants,
// and, when somebody asks, a change that nobody thought of. What is missing is named here, and not on the other side.

import assert from 'node:assert/strict';
import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, suite, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { EXIT } from '../src/base/errors.ts';
import { NIXOS_PROBES } from '../src/evaluate/nixos-probes.ts';
import { readRehearsals } from '../src/mirror/rehearsals.ts';
import type { RootOutcome } from '../src/rehearse/outcome.ts';
import { makeNixClosure, writeRelease } from './support/nix-closure.ts';
import { nixferryCommand } from './support/nixferry.ts';
import { openPackageCrossing, type PackageCrossing } from './support/package-crossing.ts';
import { writePinnedProject } from './support/pinned-project.ts';
import type { RunOptions, RunResult } from './support/run.ts';
import { serveDirectory } from './support/static-server.ts';

const ROOM = /^nixferry-rehearsal-/;
const VARIANT = 'environment.etc.greeting.text = "hello";';

suite('a configuration that is rehearsed before it is packed', { timeout: 600_000 }, () => {
  const cleanUp = new AsyncDisposableStack();
  let crossing: PackageCrossing;
  /** With the flake's machine at reconfigure and one variant. Tests that change a mirror change a copy of it. */
  let mirror: string;
  let work: string;

  const nixferry = (args: readonly string[], options: RunOptions = {}): Promise<RunResult> =>
    crossing.connected.run(nixferryCommand, args, { timeoutMs: 300_000, ...options });
  const rehearse = (args: readonly string[], options: RunOptions = {}): Promise<RunResult> =>
    nixferry(['rehearse', '--work-dir', work, ...args], options);
  const collect = (into: string, args: readonly string[]): Promise<RunResult> =>
    nixferry(['collect', ...args, ...crossing.trust, '--mirror', into]);
  const copyOfMirror = async (name: string): Promise<string> => {
    const copy = path.join(crossing.connected.directory, name);
    await cp(mirror, copy, { recursive: true });
    return copy;
  };
  const assertNothingLeft = async (): Promise<void> => {
    assert.deepEqual(
      (await readdir(work)).filter((name) => ROOM.test(name)),
      [],
    );
    const { stdout } = await crossing.connected.run('cat', ['/proc/self/mountinfo']);
    assert.doesNotMatch(stdout, /nixferry-rehearsal-/);
  };

  before(async () => {
    crossing = cleanUp.use(await openPackageCrossing());
    mirror = path.join(crossing.connected.directory, 'rehearsed-mirror');
    work = path.join(crossing.connected.directory, 'work');
    await mkdir(work);
    await collect(mirror, [crossing.origin.installable, '--no-probes', '--variant', VARIANT]);
  });
  after(() => cleanUp.disposeAsync());

  test('is evaluated to what was collected and built with every variant, as foretold, and leaves nothing but a log', async () => {
    const probed = path.join(crossing.connected.directory, 'probed-mirror');
    await collect(probed, [crossing.origin.installable]);
    const { verdict, nix, roots, log } = verdictOf(await rehearse(['--mirror', probed, '--json']));
    assert.equal(verdict, 'complete');
    assert.match(nix, /^nix \(Nix\) \d/);
    const [inputs, root, ...variants] = roots[0]?.targets ?? [];
    assert.equal(inputs?.variant, 'evaluation inputs');
    assert.equal(root?.variant, undefined);
    assert.deepEqual(
      variants.map(({ variant }) => variant),
      NIXOS_PROBES.map(({ name }) => name),
    );
    for (const target of [root, ...variants]) {
      assert.equal(target?.evaluation, 'same', target?.variant);
      assert.deepEqual(target?.unforeseen, [], target?.variant);
    }
    assert.ok((root?.built.length ?? 0) > 20, 'text derivations are never substituted');
    assert.ok(variants.some(({ built }) => built.some((drv) => drv.includes('fish-completions'))));
    const text = await readFile(log, 'utf8');
    assert.match(text, /^verdict {5}complete$/m);
    assert.match(text, /^ {2}variant fish: complete$/m);
    assert.match(text, /\$ nix eval --json path:\/nix\/store\/\S+-source#nixosConfigurations\.web01/);
    await assertNothingLeft();
  });

  test('gives the same log when it is rehearsed again', async () => {
    const first = verdictOf(await rehearse(['--mirror', mirror, '--json', '--jobs', '1']));
    const second = verdictOf(await rehearse(['--mirror', mirror, '--json', '--jobs', '4']));
    assert.equal(await readFile(second.log, 'utf8'), await readFile(first.log, 'utf8'));
    assert.equal(second.logSha256, first.logSha256);
  });

  test('is had by the names of channels, too', async () => {
    const channels = path.join(crossing.connected.directory, 'channel-mirror');
    await collect(channels, [...crossing.channelRoot, '--no-drvs', '--no-probes', '--variant', VARIANT]);
    const { verdict, roots } = verdictOf(await rehearse(['--mirror', channels, '--json']));
    assert.equal(verdict, 'complete');
    const evaluations = roots[0]?.targets.slice(1).map(({ evaluation }) => evaluation) ?? [];
    assert.deepEqual(new Set(evaluations), new Set(['same']));
    assert.equal(evaluations.length, 2);
  });

  test('whose inputs are pinned has them before it is evaluated, whether or not this Nix asks caches for them', async () => {
    const pinned = path.join(crossing.connected.directory, 'pinned-mirror');
    const project = await writePinnedProject(crossing);
    await collect(pinned, ['-f', path.join(project, 'default.nix'), '--scope', 'reconfigure']);
    const { verdict, roots } = verdictOf(await rehearse(['--mirror', pinned, '--json']));
    assert.equal(verdict, 'complete');
    assert.deepEqual(
      roots[0]?.targets.map(({ evaluation }) => evaluation),
      ['none', 'same'],
    );
  });

  test('is found to lack an output that was removed, and who wants it is said', async () => {
    const broken = await copyOfMirror('broken-mirror');
    const removed = await removePath(broken, /-kmod-\S*-dev$/);
    const result = await rehearse(['--mirror', broken, '--json'], { exitCode: EXIT.partial });
    const { verdict, roots } = verdictOf(result);
    assert.equal(verdict, 'missing');
    const [, root] = roots[0]?.targets ?? [];
    const causes = root?.missing.filter(({ isCause }) => isCause) ?? [];
    assert.deepEqual(
      causes.map(({ what }) => what),
      [removed],
    );
    assert.match(causes[0]?.chain.at(-1) ?? '', /modules-shrunk\.drv$/);
    const shown = await rehearse(['--mirror', broken], { exitCode: EXIT.partial });
    assert.ok(shown.stderr.includes(`missing: ${removed}`), shown.stderr);
    assert.match(shown.stderr, /Nix said:\n.*error: .*failed to build/);
    await assertNothingLeft();
  });

  test('is shown what a change needs that nobody collected', async () => {
    const fish = ['--variant', 'programs.fish.enable = true;'];
    const without = verdictOf(await rehearse(['--mirror', mirror, '--json', ...fish], { exitCode: EXIT.partial }));
    const [, root, known, target] = without.roots[0]?.targets ?? [];
    assert.deepEqual([root?.verdict, known?.verdict], ['complete', 'complete']);
    assert.deepEqual([target?.variant, target?.evaluation, target?.verdict], [fish[1], 'not-collected', 'missing']);
    assert.ok(
      target?.missing.some(({ what }) => /-fish-\d/.test(what)),
      JSON.stringify(target?.missing),
    );
    const other = ['--variant', 'environment.etc.greeting.text = "good bye";'];
    assert.equal(verdictOf(await rehearse(['--mirror', mirror, '--json', ...other])).verdict, 'complete');
  });

  test('is not helped by what only another root brought', async () => {
    const shared = await copyOfMirror('shared-mirror');
    await collect(shared, ['-f', '<nixpkgs>', '-I', `nixpkgs=${crossing.set.nixpkgs}`, '-A', 'kmod.dev']);
    const folder = path.join(shared, '.nixferry/roots');
    for (const name of await readdir(folder)) {
      const record = JSON.parse(await readFile(path.join(folder, name), 'utf8'));
      if (record.scope !== 'reconfigure') continue;
      record.paths = record.paths.filter((base: string) => !/-kmod-\S*-dev$/.test(base));
      await writeFile(path.join(folder, name), JSON.stringify(record));
    }
    const alone = ['nixosConfigurations.web01', '--mirror', shared, '--json'];
    const { roots } = verdictOf(await rehearse(alone, { exitCode: EXIT.partial }));
    assert.equal(roots[0]?.verdict, 'missing');
    assert.equal(verdictOf(await rehearse(['--mirror', shared, '--json'])).verdict, 'complete');
  });

  test('reads the file that it is made of, and of this machine only what it is shown', async () => {
    const folder = path.join(crossing.connected.directory, 'own-files');
    await mkdir(path.join(folder, 'clone/.git'), { recursive: true });
    await mkdir(path.join(folder, 'clone/hosts'));
    await mkdir(path.join(folder, 'elsewhere'));
    await writeFile(path.join(folder, 'clone/script'), 'echo made > $out');
    await writeFile(path.join(folder, 'elsewhere/name'), 'greeting');
    await writeFile(
      path.join(folder, 'clone/hosts/default.nix'),
      `derivation {
        name = builtins.readFile ${folder}/elsewhere/name;
        system = builtins.currentSystem;
        builder = "/bin/sh";
        args = [ "-c" (builtins.readFile ../script) ];
      }`,
    );
    const files = path.join(crossing.connected.directory, 'file-mirror');
    await collect(files, ['-f', path.join(folder, 'clone/hosts/default.nix'), '--scope', 'reconfigure']);
    const hidden = verdictOf(await rehearse(['--mirror', files, '--json'], { exitCode: EXIT.partial }));
    const [target] = hidden.roots[0]?.targets ?? [];
    assert.deepEqual([target?.verdict, target?.evaluation], ['failed', 'refused']);
    assert.match(target?.said.map(({ text }) => text).join('\n') ?? '', /own-files\/elsewhere.*[Nn]o such file/);
    const shown = ['--mirror', files, '--json', '--share', path.join(folder, 'elsewhere')];
    const { verdict, roots } = verdictOf(await rehearse(shown));
    assert.deepEqual([verdict, roots[0]?.targets[0]?.built.length], ['complete', 1]);
  });

  test('has its paths fetched when it has no derivations', async () => {
    const paths = path.join(crossing.connected.directory, 'path-mirror');
    const hello = [...crossing.cache.paths].find((storePath) => /-hello-[\d.]+$/.test(storePath)) ?? '';
    await collect(paths, [hello]);
    const { verdict, roots } = verdictOf(await rehearse(['--mirror', paths, '--json']));
    assert.equal(verdict, 'complete');
    assert.deepEqual(
      roots[0]?.targets.map(({ evaluation, built }) => [evaluation, built]),
      [['none', []]],
    );
    assert.ok(roots[0]?.targets[0]?.fetched.includes(hello));
    await replaceSignatures(paths, hello);
    const refused = verdictOf(await rehearse(['--mirror', paths, '--json'], { exitCode: EXIT.partial }));
    assert.equal(refused.roots[0]?.verdict === 'complete', false, 'only what the mirror signed counts');
  });

  test('takes its log along when it is packed as it was rehearsed, and the site keeps it', async () => {
    const packed = await copyOfMirror('packed-mirror');
    const { log, logSha256 } = verdictOf(await rehearse(['--mirror', packed, '--json']));
    const medium = path.join(crossing.connected.directory, 'medium');
    const pack = (extra: readonly string[]) =>
      nixferry(['pack', '--mirror', packed, '--site', 'lab', '--to', medium, '--no-tools', ...extra]);
    const said = await pack([]);
    assert.match(said.stdout, /rehearsed: 1 of 1 root/);
    const shipment = path.join(medium, 'lab-0001');
    const manifest = JSON.parse(await readFile(path.join(shipment, 'manifest.json'), 'utf8'));
    assert.deepEqual(
      manifest.rehearsals.map(({ name, verdict, sha256, roots }: Record<string, unknown>) => [
        name,
        verdict,
        sha256,
        roots,
      ]),
      [['rehearsal-1.txt', 'complete', logSha256, [0]]],
    );
    assert.equal(await readFile(path.join(shipment, 'rehearsal-1.txt'), 'utf8'), await readFile(log, 'utf8'));
    await crossing.connected.run('sha256sum', ['--check', '--quiet', 'SHA256SUMS'], { cwd: shipment });
    const key = (await nixferry(['keys', 'show', '--mirror', packed])).stdout.trim().split('\n').at(-1) ?? '';
    const shown = await nixferry(['show', shipment, '--trust', key]);
    assert.match(shown.stdout, /rehearsed +nixosConfigurations\.web01: complete, by nix \(Nix\)/);
    const site = path.join(crossing.connected.directory, 'site-mirror');
    await nixferry(['import', shipment, '--trust', key, '--mirror', site]);
    assert.deepEqual(
      (await readRehearsals({ directory: site })).map((rehearsal) => rehearsal.log.sha256),
      [logSha256],
    );
    const there = verdictOf(await rehearse(['--mirror', site, '--json']));
    assert.equal(there.verdict, 'complete', 'the site can do the same with what it was sent');
    assert.deepEqual(new Set(there.roots[0]?.targets.slice(1).map(({ evaluation }) => evaluation)), new Set(['same']));
    // The same root with one path more is another one.
    await collect(packed, [
      crossing.origin.installable,
      '--no-probes',
      '--variant',
      'environment.etc.other.text = "x";',
    ]);
    const again = await pack(['--full']);
    assert.match(again.stdout, /not rehearsed: nixosConfigurations\.web01; it has other paths/);
    const second = JSON.parse(await readFile(path.join(medium, 'lab-0002/manifest.json'), 'utf8'));
    assert.equal(second.rehearsals, undefined);
  });

  test('is stopped by Ctrl-C at once, and after kill -9 the next rehearsal cleans up', async () => {
    const stopped = crossing.connected.start(nixferryCommand, ['rehearse', '--work-dir', work, '--mirror', mirror]);
    await stopped.waitForOutput(/rehearse .*: build/);
    assert.equal((await stopped.stop('SIGINT')).exitCode, EXIT.interrupted);
    await assertNothingLeft();

    const killed = crossing.connected.start(nixferryCommand, ['rehearse', '--work-dir', work, '--mirror', mirror]);
    await killed.waitForOutput(/rehearse .*: build/);
    const room = (await readdir(work)).find((name) => /^nixferry-rehearsal-[0-9a-f]+$/.test(name)) ?? '';
    assert.notEqual(room, '');
    // Nixferry and the launcher before it: nothing else has this folder as a word of its own on its command line.
    for (const pid of await processesWith(`\0${work}\0`)) process.kill(pid, 'SIGKILL');
    await killed.done;
    await untilGone(room);
    assert.ok((await readdir(work)).includes(room), 'a process that is killed removes nothing');
    await rehearse(['--mirror', mirror, '--quiet']);
    await assertNothingLeft();
  });

  test('needs no root', async () => {
    const own = await copyOfMirror('own-mirror');
    const place = path.join(crossing.connected.directory, 'nobody');
    await mkdir(place);
    await crossing.connected.run('chown', ['-R', 'nobody', own, place]);
    await crossing.connected.run('chmod', ['a+rx', crossing.connected.directory]);
    const env = { ...crossing.connected.env, HOME: place };
    const args = [nixferryCommand, 'rehearse', '--mirror', own, '--work-dir', place, '--json'];
    const asNobody = ['--reuid=nobody', '--regid=nogroup', '--clear-groups', ...args];
    const { verdict } = verdictOf(await crossing.connected.run('setpriv', asNobody, { env, timeoutMs: 300_000 }));
    assert.equal(verdict, 'complete');
    assert.deepEqual(
      (await readdir(place)).filter((name) => ROOM.test(name)),
      [],
    );
  });

  test('is done by a Nix that lives in the store itself, which is empty all the same', async () => {
    const closure = await makeNixClosure({ nix: crossing.connected });
    const releases = path.join(crossing.connected.directory, 'releases');
    await using server = await serveDirectory(await writeRelease(closure, releases));
    const brought = path.join(crossing.connected.directory, 'brought-nix');
    await nixferry(
      ['get-nix', closure.version, '--releases-base', `${server.url}/`, '--upstream', `file://${closure.directory}`]
        .concat(['--trusted-public-key', closure.publicKey])
        .concat(['--mirror', path.join(crossing.connected.directory, 'nix-mirror')]),
      { env: { ...crossing.connected.env, NIXFERRY_NIX: brought } },
    );
    // As it is installed where NixOS is, and as get-nix brings it where nothing is.
    for (const nix of [path.join(closure.storePath, 'bin/nix'), brought]) {
      const { verdict, roots } = verdictOf(await rehearse(['--mirror', mirror, '--json', '--nix', nix]));
      assert.equal(verdict, 'complete');
      const had = roots[0]?.targets.flatMap(({ fetched, built }) => fetched.concat(built)) ?? [];
      assert.deepEqual(
        had.filter((storePath) => closure.paths.includes(storePath)),
        [],
      );
    }
  });

  test('is built in a sandbox when that is asked for, or refused where Nix can have none', async (context) => {
    const asked = await rehearse(['--mirror', mirror, '--json', '--sandbox'], { exitCode: 'any' });
    if (asked.exitCode === EXIT.usage) {
      context.diagnostic('Nix can have no sandbox on this machine');
      assert.match(asked.stderr, /Nix can have no sandbox here: .*\nnext: .*--sandbox/);
      return;
    }
    const { verdict, log } = verdictOf(asked);
    assert.equal(verdict, 'complete');
    assert.match(await readFile(log, 'utf8'), /^sandbox {5}yes$/m);
  });

  test('is refused where the system forbids it or the disk is too small, with what to do', async () => {
    const powerless = ['--bounding-set', '-sys_admin', '--inh-caps', '-sys_admin', nixferryCommand];
    const forbidden = await crossing.connected.run('setpriv', [...powerless, 'rehearse', '--mirror', mirror], {
      exitCode: EXIT.usage,
    });
    assert.match(forbidden.stderr, /does not let a rehearsal have a room of its own:\n.*unshare/);
    assert.match(forbidden.stderr, /next: .*--privileged/);
    const small = path.join(crossing.connected.directory, 'small');
    await mkdir(small);
    await crossing.connected.run('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', small]);
    const full = await nixferry(['rehearse', '--mirror', mirror, '--work-dir', small], { exitCode: EXIT.noSpace });
    assert.match(full.stderr, /needs \S+ [MG]B in .*small; [\d.]+ MB are free/);
    await crossing.connected.run('umount', [small]);
    const unknown = await rehearse(['web99', '--mirror', mirror], { exitCode: EXIT.usage });
    assert.match(unknown.stderr, /no root 'web99'/);
  });
});

interface Verdict {
  readonly verdict: string;
  readonly nix: string;
  readonly log: string;
  readonly logSha256: string;
  readonly roots: readonly RootOutcome[];
}

function verdictOf({ stdout }: RunResult): Verdict {
  return JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '');
}

/** Takes the narinfo of one path away; gives the path. */
async function removePath(mirror: string, name: RegExp): Promise<string> {
  for (const file of await readdir(mirror)) {
    if (!file.endsWith('.narinfo')) continue;
    const storePath = /^StorePath: (.*)$/m.exec(await readFile(path.join(mirror, file), 'utf8'))?.[1] ?? '';
    if (!name.test(storePath)) continue;
    await rm(path.join(mirror, file));
    return storePath;
  }
  throw new Error(`no path of ${mirror} is like ${name}`);
}

/** Leaves a path with no signature but one that fits nothing. */
async function replaceSignatures(mirror: string, storePath: string): Promise<void> {
  const file = path.join(mirror, `${path.basename(storePath).slice(0, 32)}.narinfo`);
  const text = await readFile(file, 'utf8');
  await writeFile(file, text.replaceAll(/^Sig: ([^:]+):.*$/gm, `Sig: $1:${Buffer.alloc(64, 1).toString('base64')}`));
}

/** The processes of which a word, or a part of one, is on the command line. */
async function processesWith(text: string): Promise<number[]> {
  const found: number[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (commandLine.includes(text)) found.push(Number(pid));
  }
  return found;
}

/** What held a room open ends by itself; nothing tells when. */
async function untilGone(text: string): Promise<void> {
  const signal = AbortSignal.timeout(20_000);
  while ((await processesWith(text)).length > 0) await setTimeout(20, undefined, { signal });
}
