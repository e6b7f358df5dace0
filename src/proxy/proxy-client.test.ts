import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:net';
import { test } from 'node:test';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { LineChannel } from './line-channel.ts';
import type { Answer, Numbered, Question } from './protocol.ts';
import { openProxyClient } from './proxy-client.ts';

type Say = (answer: Numbered<Answer>) => void;

/** A fetcher that answers as the test says. */
async function openFetcher(socketFile: string, answer: (question: Numbered<Question>, say: Say) => void) {
  const channels: LineChannel<Numbered<Answer>, Numbered<Question>>[] = [];
  const server: Server = createServer((socket) => {
    const channel = new LineChannel<Numbered<Answer>, Numbered<Question>>(socket, {
      onMessage: (question) => answer(question, (said) => void channel.send(said)),
      onClose: () => {},
    });
    channels.push(channel);
  });
  await new Promise<void>((resolve) => server.listen(socketFile, resolve));
  const die = (): void => {
    server.close();
    for (const channel of channels) channel.close();
  };
  return { die, channels };
}

test('ProxyClient has no answers when there is no fetcher, and when one does not answer in time', async () => {
  await using temp = await makeTempDir('client');
  const socketFile = temp.join('socket');
  const client = openProxyClient({ socketFile, connectTimeoutMs: 1, answerTimeoutMs: 20 });
  assert.equal(await client.narInfo('x'), undefined);
  const nar = client.nar('nar/x');
  assert.equal((await nar.changed(nar.progress)).state, 'absent');
  const fetcher = await openFetcher(socketFile, () => {});
  assert.equal(await client.narInfo('x'), undefined);
  assert.equal(await client.facts(), undefined);
  client.close();
  fetcher.die();
});

test('ProxyClient tells everybody who waits when the fetcher dies, and that offers are lost, and finds the next one', async () => {
  await using temp = await makeTempDir('client');
  const socketFile = temp.join('socket');
  const { promise: asked, resolve } = Promise.withResolvers<void>();
  const first = await openFetcher(socketFile, ({ ask }) => ask === 'nar' && resolve());
  const client = openProxyClient({ socketFile });
  let lost = 0;
  client.onOffersLost(() => (lost += 1));
  const nar = client.nar('nar/x');
  const ended = nar.changed(nar.progress);
  await asked;
  first.die();
  assert.equal((await ended).state, 'failed');
  assert.equal(lost, 1);
  const second = await openFetcher(socketFile, ({ id, ask }, say) => {
    if (ask === 'narinfo') say({ id, say: 'narinfo', text: 'found' });
  });
  assert.equal((await client.narInfo('x'))?.toString(), 'found');
  client.close();
  second.die();
});

test('ProxyClient puts a question to the next fetcher when one dies over it', async () => {
  await using temp = await makeTempDir('client');
  const socketFile = temp.join('socket');
  const { promise: asked, resolve } = Promise.withResolvers<void>();
  const first = await openFetcher(socketFile, () => resolve());
  const client = openProxyClient({ socketFile });
  const answer = client.narInfo('x');
  await asked;
  first.die();
  const second = await openFetcher(socketFile, ({ id }, say) => say({ id, say: 'narinfo', text: 'found' }));
  assert.equal((await answer)?.toString(), 'found');
  client.close();
  second.die();
});

test('ProxyClient waits once for a fetcher that does not come back, and finds it when it does', async () => {
  await using temp = await makeTempDir('client');
  const socketFile = temp.join('socket');
  const client = openProxyClient({ socketFile, connectTimeoutMs: 200 });
  assert.equal(await client.narInfo('x'), undefined);
  const began = performance.now();
  for (let question = 0; question < 10; question += 1) assert.equal(await client.narInfo('x'), undefined);
  assert.ok(performance.now() - began < 1000);
  const fetcher = await openFetcher(socketFile, ({ id }, say) => say({ id, say: 'narinfo', text: 'found' }));
  assert.equal((await client.narInfo('x'))?.toString(), 'found');
  client.close();
  fetcher.die();
});
