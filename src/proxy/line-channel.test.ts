import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { LIMITS } from '../base/limits.ts';
import { LineChannel } from './line-channel.ts';

async function openPair(): Promise<{ left: Socket; right: Socket; close: () => void }> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const left = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [right] = (await once(server, 'connection')) as [Socket];
  return { left, right, close: () => [left.destroy(), right.destroy(), server.close()] };
}

test('LineChannel brings messages whole however the bytes are cut', async () => {
  const { left, right, close } = await openPair();
  const received: unknown[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const channel = new LineChannel(right, {
    onMessage: (message) => received.push(message) === 3 && resolve(),
    onClose: () => {},
  });
  left.setNoDelay(true);
  for (const piece of ['{"a":', '1}\n{"b":"\\n', 'é"}', '\n{}\n']) {
    left.write(piece);
    await new Promise((done) => setImmediate(done));
  }
  await promise;
  assert.deepEqual(received, [{ a: 1 }, { b: '\né' }, {}]);
  channel.close();
  close();
});

test('LineChannel hangs up on a line without end, and on who does not read', async () => {
  const { left, right, close } = await openPair();
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  const channel = new LineChannel<string, unknown>(right, { onMessage: () => {}, onClose: resolve });
  left.on('error', () => {});
  left.write(Buffer.alloc(LIMITS.proxyMessageBytes + 1024, 'x'));
  await closed;
  assert.equal(channel.send('x'), false);
  close();

  const other = await openPair();
  other.left.pause();
  const full = new LineChannel<string, unknown>(other.right, { onMessage: () => {}, onClose: () => {} });
  const large = 'x'.repeat(8 * 1024 * 1024);
  let sent = 0;
  while (full.send(large)) sent += 1;
  assert.ok(sent * large.length <= LIMITS.proxyQueueBytes + 2 * large.length + 16 * 1024 * 1024);
  other.close();
});
