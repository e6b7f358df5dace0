// `npm run quickstart`: the whole way of a package across an air gap on one machine, in words that a newcomer follows. Real
// Nix builds and installs; the isolated side is a namespace with nothing but loopback and an empty store.

import assert from 'node:assert/strict';
import { mkdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { type AirGap, openAirGap } from '../test/support/air-gap.ts';
import { publicKeyLine } from '../test/support/carry.ts';
import { createNixEnvironment, type NixEnvironment } from '../test/support/nix.ts';
import { repositoryRoot } from '../test/support/nixferry.ts';
import { type RunResult, run } from '../test/support/run.ts';
import { createNarrator } from './quickstart/narrator.ts';
import { PACKAGES_EXPRESSION } from './quickstart/packages.ts';

const NIXFERRY = 'bin/nixferry';
const FOLDER = 'quickstart';
const UPSTREAM = `${FOLDER}/upstream`;
const CONNECTED_MIRROR = `${FOLDER}/connected-mirror`;
const MEDIUM = `${FOLDER}/medium`;
const SITE_MIRROR = `${FOLDER}/site-mirror`;
const SITE = 'lab';
/** The one that the medium carries. */
const CARRIED_NIXFERRY = ['sh', `${MEDIUM}/${SITE}-0001/tools/nixferry`] as const;
const LISTEN = '127.0.0.1:8080';

const narrator = createNarrator((text) => process.stdout.write(text));
process.chdir(repositoryRoot);
await main();

async function main(): Promise<void> {
  for (const folder of [UPSTREAM, CONNECTED_MIRROR, MEDIUM, SITE_MIRROR]) {
    await rm(folder, { recursive: true, force: true });
  }
  await mkdir(FOLDER, { recursive: true });
  narrator.text(
    'Nixferry carries Nix across an air gap. This is the whole way on one machine: both sides have a store\n' +
      'of their own, and the isolated one has no network. What is made stays in ./quickstart to look at.',
  );
  await using connected = await createNixEnvironment();
  const { root, upstreamKey } = await makeSmallUpstream(connected);
  const senderKey = await exportShipment(connected, root, upstreamKey);
  await carry();
  await using gap = await openAirGap();
  await enterAirGap(gap);
  const attemptsOnEntering = await gap.attemptsToLeave();
  const siteKey = await importShipment(gap, senderKey);
  await serveAndInstall(gap, root, siteKey, attemptsOnEntering);
  sayHowToGoOn();
}

async function makeSmallUpstream(nix: NixEnvironment): Promise<{ root: string; upstreamKey: string }> {
  narrator.step(
    'connected side',
    'A small binary cache stands in for the internet',
    'Real Nix builds four packages that refer to each other, and copies them, signed, into a folder that is a binary ' +
      'cache. In real life this is https://cache.nixos.org, and there is nothing to do.',
  );
  const paths = await nix.build(PACKAGES_EXPRESSION);
  const root = paths.at(-1) ?? '';
  const [secret, publicFile] = [path.join(nix.directory, 'upstream.secret'), path.join(nix.directory, 'upstream.pub')];
  await nix.run('nix-store', ['--generate-binary-cache-key', 'upstream-1', secret, publicFile]);
  await tell(nix, ['nix', 'copy', '--to', `file://${path.resolve(UPSTREAM)}?secret-key=${secret}`, root]);
  await tell(nix, ['nix-store', '--query', '--tree', root]);
  narrator.result(
    'The hello program needs the library, the words and the manual; the library needs the words. All four are a ' +
      '"closure", and only the whole of it is of any use on the other side.',
  );
  return { root, upstreamKey: (await readFile(publicFile, 'utf8')).trim() };
}

async function exportShipment(nix: NixEnvironment, root: string, upstreamKey: string): Promise<string> {
  narrator.step(
    'connected side',
    'Export: collect the package with everything it needs, and pack it for the site',
    'One command reads what the package refers to, fetches all of it into a mirror, checks every hash and signature, ' +
      'and writes a signed shipment onto the medium.',
  );
  const upstream = ['--upstream', `file://${path.resolve(UPSTREAM)}`, '--trusted-public-key', upstreamKey];
  const to = ['--to', MEDIUM, '--site', SITE];
  await tell(nix, [NIXFERRY, 'export', root, ...upstream, ...to, '--mirror', CONNECTED_MIRROR]);
  const senderKey = publicKeyLine(await tell(nix, [NIXFERRY, 'keys', 'show', '--mirror', CONNECTED_MIRROR]));
  narrator.result(
    'This is the key that the shipment is signed with. It goes to the isolated side once, by a way you trust: on ' +
      'paper, by telephone.',
  );
  return senderKey;
}

async function carry(): Promise<void> {
  narrator.step(
    'on foot',
    'The medium',
    'A stick, a disc, a folder that a data diode copies. READ-ME-FIRST.txt in it tells the receiver what to type, and ' +
      'how to unpack it with cat and tar alone. From here on the medium is read-only.',
  );
  await tell(undefined, ['ls', '-lR', MEDIUM]);
}

async function enterAirGap(gap: AirGap): Promise<void> {
  narrator.step(
    'isolated side',
    'A machine without internet',
    'From here on every command runs in a namespace that has an empty Nix store and no network interface but loopback.',
  );
  await gap.run('mount', ['--bind', path.resolve(MEDIUM), path.resolve(MEDIUM)]);
  await gap.run('mount', ['-o', 'remount,bind,ro', path.resolve(MEDIUM)]);
  await tell(gap, ['ip', '-brief', 'link']);
  await tell(gap, ['curl', '--max-time', '5', '--silent', '--show-error', 'https://cache.nixos.org'], 'any');
  await tell(gap, ['ls', '/nix/store'], 'any');
  narrator.result('No network, no name server, no package: what comes now can only come from the medium.');
}

async function importShipment(gap: AirGap, senderKey: string): Promise<string> {
  narrator.step(
    'isolated side',
    'Import: verify the shipment and take it into the mirror of the site',
    'Nothing is installed here: the program comes from the medium, and needs neither Node nor Nix. ' +
      'The signature is checked against the key from step 2, then every file against its hash. What is complete becomes ' +
      'visible in the mirror, signed with the key of the site.',
  );
  await tell(gap, [...CARRIED_NIXFERRY, 'import', MEDIUM, '--trust', senderKey, '--mirror', SITE_MIRROR]);
  const siteKey = publicKeyLine(await tell(gap, [...CARRIED_NIXFERRY, 'keys', 'show', '--mirror', SITE_MIRROR]));
  narrator.result('This is the key of the site: the only one that the machines here need to trust.');
  return siteKey;
}

async function serveAndInstall(gap: AirGap, root: string, siteKey: string, attemptsOnEntering: number): Promise<void> {
  narrator.step(
    'isolated side',
    'Serve the mirror, and let real Nix install from it',
    'To Nix the mirror is a binary cache like any other. Nix demands a signature and trusts one key only, the key of ' +
      'the site, which the import printed.',
  );
  const serve = [...CARRIED_NIXFERRY, 'serve', '--listen', LISTEN, '--mirror', SITE_MIRROR];
  narrator.command(serve, true);
  const [program = 'sh', ...args] = serve;
  await using server = gap.start(program, args, { cwd: repositoryRoot });
  await server.waitForOutput(new RegExp(`http://${LISTEN.replaceAll('.', '\\.')}`));
  const settings = { substituters: `http://${LISTEN}`, 'trusted-public-keys': siteKey, 'require-sigs': 'true' };
  const options = Object.entries(settings).flatMap(([name, value]) => ['--option', name, value]);
  await tell(gap, ['nix-store', '--realise', root, ...options]);
  await tell(gap, ['nix-store', '--verify', '--check-contents']);
  const hello = await tell(gap, [`${root}/bin/hello`]);
  assert.match(hello.stdout, /other side of the air gap/);
  assert.equal(await gap.attemptsToLeave(), attemptsOnEntering, 'nothing but the curl of step 4 tried to leave');
  narrator.result('The package runs, with all that it refers to, on a machine that has never seen the internet.');
}

function sayHowToGoOn(): void {
  narrator.text(`
Look around: ./${MEDIUM} is the medium, ./${CONNECTED_MIRROR} and ./${SITE_MIRROR} are the two mirrors.

Now with your own packages. On a machine with internet and Nix:
   ${NIXFERRY} export nixpkgs#hello --to /media/stick --site ${SITE}
   ${NIXFERRY} keys show
On the isolated side, with the stick and the key that \`keys show\` printed:
   sh /media/stick/${SITE}-0001/tools/nixferry import /media/stick --trust KEY
   sh /media/stick/${SITE}-0001/tools/nixferry serve --listen 0.0.0.0:8080
and what its clients need in their configuration:
   sh /media/stick/${SITE}-0001/tools/nixferry client-config --format nix-conf --url http://THIS-MACHINE:8080
docs/guide/first-crossing.md goes through it step by step.`);
}

/** Shows a command, runs it on its side, and shows what it printed. */
async function tell(
  where: NixEnvironment | undefined,
  words: readonly string[],
  exitCode: number | 'any' = 0,
): Promise<RunResult> {
  narrator.command(words);
  const [program = '', ...args] = words;
  const options = { cwd: repositoryRoot, exitCode };
  const result = where === undefined ? await run(program, args, options) : await where.run(program, args, options);
  narrator.output(result);
  return result;
}
