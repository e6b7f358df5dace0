// bin/nixferry between an old Node and the Node that npm brought: arguments, exit codes and signals pass through as if it
// were not there. The old Node is this one under a false version, so the test is the same on every machine.

import assert from 'node:assert/strict';
import { copyFile, mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { test } from 'node:test';
import { nixferryCommand } from './support/nixferry.ts';
import { run, start, toolEnvironment } from './support/run.ts';
import { makeTempDir, type TempDir } from './support/temp-dir.ts';

const PROGRAM = `
const count = { SIGINT: 0, SIGTERM: 0 };
const leave = (signal) => {
  count[signal] += 1;
  // A second delivery of the same key press would come within this time.
  setTimeout(() => { console.log(JSON.stringify(count)); process.exit(7); }, 300);
};
if (process.argv[2] === 'wait') {
  process.on('SIGINT', () => leave('SIGINT')).on('SIGTERM', () => leave('SIGTERM'));
  setInterval(() => {}, 1000);
  console.log('ready');
} else if (process.argv[2] === 'die') {
  process.kill(process.pid, 'SIGKILL');
} else {
  const { NODE_COMPILE_CACHE } = process.env;
  console.log(JSON.stringify({ version: process.versions.node, args: process.argv.slice(2), pid: process.pid, NODE_COMPILE_CACHE }));
  process.exitCode = 18;
}
`;

/** A preloaded module that makes this Node look like an old one. */
const OLD_NODE = `
Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '20.19.0' } });
if (process.env.KEEP_EXECVE === undefined) process.execve = undefined;
`;

interface Installed {
  readonly launcher: string;
  /** Node and its arguments up to the launcher's own. */
  readonly command: readonly [string, ...string[]];
}

/** A published package below `node_modules`, with the Node that npm brings beside it or none. */
async function install(temp: TempDir, broughtNode: boolean): Promise<Installed> {
  const folder = temp.join('node_modules/nixferry');
  const launcher = path.join(folder, 'bin/nixferry');
  const oldNode = temp.join('old-node.mjs');
  await mkdir(path.join(folder, 'bin'), { recursive: true });
  await mkdir(path.join(folder, 'dist/cli'), { recursive: true });
  await copyFile(nixferryCommand, launcher);
  await writeFile(path.join(folder, 'package.json'), '{ "name": "nixferry", "type": "module" }');
  await writeFile(path.join(folder, 'dist/cli/main.js'), PROGRAM);
  await writeFile(oldNode, OLD_NODE);
  if (broughtNode) {
    const name = `node-linux-${process.arch}`;
    const real = path.dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));
    await symlink(real, temp.join('node_modules', name));
  }
  return { launcher, command: [process.execPath, '--import', oldNode, launcher] };
}

test('the launcher runs the program on the Node that npm brought when its own is old', async () => {
  await using temp = await makeTempDir('launcher');
  const { command } = await install(temp, true);
  const [node, ...args] = command;
  const { stdout, stderr } = await run(node, [...args, 'a b', '--c'], { exitCode: 18 });
  const { version, args: received } = JSON.parse(stdout) as { version: string; args: string[] };
  assert.deepEqual(received, ['a b', '--c']);
  assert.ok(Number(version.split('.')[0]) >= 24, version);
  assert.equal(stderr, '');
});

test('the launcher becomes the program when its Node can replace itself', async () => {
  await using temp = await makeTempDir('launcher');
  const { command } = await install(temp, true);
  const [node, ...args] = command;
  const running = start(node, args, { env: toolEnvironment({ KEEP_EXECVE: '1' }) });
  const { stdout, stderr, exitCode } = await running.done;
  assert.equal((JSON.parse(stdout) as { pid: number }).pid, running.child.pid);
  assert.deepEqual({ stderr, exitCode }, { stderr: '', exitCode: 18 });
});

test('the launcher becomes the Node that npm brought, also by way of a link and without any node on the PATH', async () => {
  await using temp = await makeTempDir('launcher');
  const { launcher } = await install(temp, true);
  const tools = temp.join('tools');
  const [link, nested] = [
    temp.join('node_modules/.bin/nixferry'),
    path.join(path.dirname(launcher), '../node_modules'),
  ];
  await Promise.all([tools, path.dirname(link), nested].map((folder) => mkdir(folder)));
  for (const name of ['readlink', 'uname']) await symlink(`/usr/bin/${name}`, path.join(tools, name));
  await symlink('../nixferry/bin/nixferry', link);
  const env = { ...toolEnvironment(), PATH: tools };
  const name = `node-linux-${process.arch}`;
  for (const folder of [temp.join('node_modules'), nested]) {
    // Where npm puts it: beside the package, or within.
    if (folder === nested) await rename(temp.join('node_modules', name), path.join(nested, name));
    for (const command of [launcher, link]) {
      const running = start(command, ['a b'], { env });
      const { stdout, stderr, exitCode } = await running.done;
      assert.deepEqual({ stderr, exitCode }, { stderr: '', exitCode: 18 });
      const { pid, args } = JSON.parse(stdout) as { pid: number; args: string[] };
      assert.deepEqual({ pid, args }, { pid: running.child.pid, args: ['a b'] });
    }
  }
});

test('the launcher runs the program in its own process when its Node is new enough', async () => {
  await using temp = await makeTempDir('launcher');
  const { launcher } = await install(temp, false);
  const { stdout, stderr } = await run(process.execPath, [launcher, 'x'], { exitCode: 18 });
  assert.deepEqual((JSON.parse(stdout) as { args: string[] }).args, ['x']);
  assert.equal(stderr, '');
});

test('the launcher says where compiled code is kept, for the processes that the program starts, too', async () => {
  await using temp = await makeTempDir('launcher');
  const { launcher } = await install(temp, false);
  const cacheOf = async (changes: Readonly<Record<string, string>>): Promise<string | undefined> => {
    const env = { ...toolEnvironment({ HOME: temp.join('home'), ...changes }) };
    const { stdout } = await run(process.execPath, [launcher], { env, exitCode: 18 });
    return (JSON.parse(stdout) as { NODE_COMPILE_CACHE?: string }).NODE_COMPILE_CACHE;
  };
  assert.equal(await cacheOf({ XDG_CACHE_HOME: temp.join('caches') }), temp.join('caches/nixferry/compiled'));
  assert.equal(await cacheOf({ NODE_COMPILE_CACHE: temp.join('own') }), temp.join('own'));
});

test('the launcher says what to install when there is no Node that is new enough', async () => {
  await using temp = await makeTempDir('launcher');
  const { command } = await install(temp, false);
  const [node, ...args] = command;
  const { stderr } = await run(node, args, { exitCode: 2 });
  assert.match(stderr, /needs Node 24 or newer/);
  assert.match(stderr, /→ install/);
});

test('the launcher hands a SIGTERM on and ends with the exit code of the program', async () => {
  await using temp = await makeTempDir('launcher');
  const { command } = await install(temp, true);
  const [node, ...args] = command;
  await using running = start(node, [...args, 'wait']);
  await running.waitForOutput(/ready/);
  const { exitCode, stdout } = await running.stop('SIGTERM');
  assert.equal(exitCode, 7);
  assert.match(stdout, /"SIGTERM":1/);
});

test('the launcher hands a SIGINT on when it comes from kill and not from the keyboard', async () => {
  await using temp = await makeTempDir('launcher');
  const { command } = await install(temp, true);
  const [node, ...args] = command;
  // In a session of its own there is no keyboard, also when the tests run in a terminal.
  await using running = start('setsid', [node, ...args, 'wait']);
  await running.waitForOutput(/ready/);
  const { exitCode, stdout } = await running.stop('SIGINT');
  assert.equal(exitCode, 7);
  assert.match(stdout, /"SIGINT":1/);
});

test('the program gets Ctrl-C once when it is typed in a terminal', async () => {
  await using temp = await makeTempDir('launcher');
  const { command } = await install(temp, true);
  // script(1) gives the command a terminal. It ends with its input, so that is opened for writing too and has no end.
  const keys = temp.join('keys');
  await run('mkfifo', [keys]);
  const line = [...command, 'wait'].join(' ');
  await using terminal = start('/bin/sh', [
    '-c',
    `exec script --quiet --return --command 'exec ${line}' /dev/null <> ${keys}`,
  ]);
  await terminal.waitForOutput(/ready/);
  await writeFile(keys, '\x03');
  const { exitCode, stdout } = await terminal.done;
  assert.equal(exitCode, 7);
  assert.match(stdout, /"SIGINT":1/);
});

test('the launcher dies of the signal that the program died of', async () => {
  await using temp = await makeTempDir('launcher');
  const { command } = await install(temp, true);
  const [node, ...args] = command;
  const { signal } = await run(node, [...args, 'die'], { exitCode: 'any' });
  assert.equal(signal, 'SIGKILL');
});
