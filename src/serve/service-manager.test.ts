import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openServiceManager } from './service-manager.ts';

test('openServiceManager names the sockets that were passed to this process, and takes the variables away', () => {
  const environment = { LISTEN_PID: '42', LISTEN_FDS: '2', LISTEN_FDNAMES: 'a:b', NOTIFY_SOCKET: '/run/x', HOME: '/' };
  assert.deepEqual(openServiceManager(environment, 42).sockets, [3, 4]);
  assert.deepEqual(environment, { HOME: '/' });
});

test('openServiceManager names no socket when those passed are for another process, or nothing was passed', () => {
  for (const environment of [
    {},
    { LISTEN_PID: '41', LISTEN_FDS: '1' },
    { LISTEN_FDS: '1' },
    { LISTEN_PID: '42' },
    { LISTEN_PID: '42', LISTEN_FDS: '0' },
    { LISTEN_PID: '42', LISTEN_FDS: '-1' },
    { LISTEN_PID: '42', LISTEN_FDS: '1e9' },
    { LISTEN_PID: '42', LISTEN_FDS: '99999' },
    { LISTEN_PID: ' 42', LISTEN_FDS: '1' },
  ]) {
    assert.deepEqual(openServiceManager(environment, 42).sockets, [], JSON.stringify(environment));
  }
});

test('tell does nothing when nobody wants to be told, and says why when telling fails', async () => {
  assert.equal(await openServiceManager({}, 1).tell('READY=1'), undefined);
  const folder = await mkdtemp(join(tmpdir(), 'nixferry-notify-'));
  try {
    const environment = { NOTIFY_SOCKET: join(folder, 'nobody'), PATH: process.env['PATH'] };
    assert.match((await openServiceManager(environment, 1).tell('READY=1')) ?? '', /systemd-notify/);
  } finally {
    await rm(folder, { recursive: true });
  }
});
