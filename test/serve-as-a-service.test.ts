// serve as systemd runs it: sockets that were opened before, by the launcher on a new Node, on an old one, and alone; and readiness.

import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { nixferryCommand } from './support/nixferry.ts';
import { run, toolEnvironment } from './support/run.ts';
import { startService } from './support/service-manager.ts';
import { makeTempDir, type TempDir } from './support/temp-dir.ts';

async function makeMirror(temp: TempDir): Promise<string> {
  const mirror = temp.join('mirror');
  await run(nixferryCommand, ['init', '--mirror', mirror], { env: toolEnvironment({ HOME: temp.join('home') }) });
  return mirror;
}

function ask(where: { port: number } | { socketPath: string }, path = '/nix-cache-info'): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', ...where, path, agent: false }, (answer) => resolve(text(answer)));
    asked.on('error', reject);
    asked.end();
  });
}

for (const workers of [1, 2]) {
  test(`serve takes the sockets that are passed and says when it is ready, with ${workers} worker(s)`, async () => {
    await using temp = await makeTempDir('service');
    const mirror = await makeMirror(temp);
    const unixSocket = temp.join('nixferry.sock');
    const command = [nixferryCommand, 'serve', '--mirror', mirror, '--workers', String(workers)];
    await using service = await startService(temp, { command, unixSocket });
    // Asked before anybody listens: the kernel keeps the connection.
    const first = ask({ port: service.port });
    await service.told('READY=1');
    await service.told(`STATUS=serving ${mirror} on http://127.0.0.1:${service.port}`);
    assert.match(await first, /^StoreDir: /);
    for (let round = 0; round < 4; round++) {
      assert.match(await ask({ port: service.port }), /^StoreDir: /);
      assert.match(await ask({ socketPath: unixSocket }), /^StoreDir: /);
    }
    // One process from the first to the last: who was started is who serves.
    assert.match(await readFile(`/proc/${service.pid}/cmdline`, 'utf8'), /\0serve\0/);
    assert.equal(await service.stop(), 0);
    await service.manager.waitForOutput(/^told STOPPING=1/m);
  });
}

test('serve says that it starts before it looks at anything, in words and in its log', async () => {
  await using temp = await makeTempDir('service');
  const mirror = temp.join('none');
  const args = ['serve', '--mirror', mirror, '--listen', '127.0.0.1:0'];
  const { stdout, stderr } = await run(nixferryCommand, args, { exitCode: 2 });
  assert.equal(stdout, `starting to serve ${mirror}\n`);
  assert.match(stderr, /^\{[^\n]*"listen":"127\.0\.0\.1:0"[^\n]*"msg":"starting"\}\nerror: /);
});

test('serve needs no network of its own when sockets are passed', async () => {
  await using temp = await makeTempDir('service');
  const mirror = await makeMirror(temp);
  await using service = await startService(temp, {
    command: ['unshare', '--net', nixferryCommand, 'serve', '--mirror', mirror, '--workers', '2'],
  });
  await service.told('READY=1');
  assert.match(await ask({ port: service.port }), /^StoreDir: /);
});

test('the launcher passes sockets on when an old Node must start a newer one', async () => {
  await using temp = await makeTempDir('service');
  const mirror = await makeMirror(temp);
  for (const keepExecve of ['0', '1']) {
    const folder = temp.join(`old-${keepExecve}`);
    await mkdir(folder);
    const oldNode = `${folder}/old-node.mjs`;
    await writeFile(
      oldNode,
      `if (process.env.KEEP_OLD === undefined) {
         process.env.KEEP_OLD = '1';
         Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '20.19.0' } });
         if (${keepExecve} === 0) process.execve = undefined;
       }`,
    );
    const inFolder = { ...temp, join: (name: string) => `${folder}/${name}` };
    await using service = await startService(inFolder, {
      command: [process.execPath, '--import', oldNode, nixferryCommand, 'serve', '--mirror', mirror, '--workers', '1'],
    });
    await service.told('READY=1');
    assert.match(await ask({ port: service.port }), /^StoreDir: /);
    assert.equal(await service.stop(), 0);
  }
});

test('serve refuses --listen when sockets are passed', async () => {
  await using temp = await makeTempDir('service');
  const mirror = await makeMirror(temp);
  await using service = await startService(temp, {
    command: [nixferryCommand, 'serve', '--mirror', mirror, '--listen', '127.0.0.1:0'],
  });
  await service.manager.waitForOutput(/--listen 127\.0\.0\.1:0 stands beside the sockets/);
  await service.manager.waitForOutput(/^exit 2$/m);
});

test('serve ends when all workers are gone, since the sockets went with them', async () => {
  await using temp = await makeTempDir('service');
  const mirror = await makeMirror(temp);
  await using service = await startService(temp, {
    command: [nixferryCommand, 'serve', '--mirror', mirror, '--workers', '2'],
  });
  await service.told('READY=1');
  const children = await workersOf(service.pid);
  assert.equal(children.length, 2);
  // Both at once, so that none can be replaced in between.
  process.kill(service.pid, 'SIGSTOP');
  for (const child of children) process.kill(child, 'SIGKILL');
  process.kill(service.pid, 'SIGCONT');
  await service.manager.waitForOutput(/has stopped by itself/);
  await service.manager.waitForOutput(/^exit 2$/m);
});

test('serve goes on and says so when the service manager cannot be told', async () => {
  await using temp = await makeTempDir('service');
  const mirror = await makeMirror(temp);
  const command = ['env', `NOTIFY_SOCKET=${temp.join('nobody')}`, nixferryCommand, 'serve', '--mirror', mirror];
  await using service = await startService(temp, { command: [...command, '--workers', '1'] });
  await service.manager.waitForOutput(/"problem":".*systemd-notify.*the service manager could not be told/);
  assert.match(await ask({ port: service.port }), /^StoreDir: /);
});

/** Not the program that tells the service manager, which may not have ended yet. */
async function workersOf(pid: number): Promise<number[]> {
  const children = (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).trim().split(' ');
  const lines = await Promise.all(children.map((child) => readFile(`/proc/${child}/cmdline`, 'utf8').catch(() => '')));
  return children.filter((_, index) => lines[index]?.includes('worker-main')).map(Number);
}
