// What tests of foreign web servers (nginx, Caddy) share.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';

const TIMEOUT_MS = 20_000;

/** A port that was free a moment ago, for programs that cannot choose one themselves. */
export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}

/** Resolves when the address is answered with 200; rejects when the program ends before, with what it said. */
export async function untilAnswered(url: string, ended: Promise<{ readonly stderr: string }>): Promise<void> {
  let end: string | undefined;
  ended.then(
    ({ stderr }) => (end = stderr),
    (error: unknown) => (end = String(error)),
  );
  const deadlineMs = performance.now() + TIMEOUT_MS;
  for (;;) {
    const status = await fetch(url).then(
      (answer) => answer.status,
      () => undefined,
    );
    if (status === 200) return;
    assert.equal(end, undefined, `the web server ended: ${end}`);
    assert.ok(performance.now() < deadlineMs, `the web server does not answer ${url}: ${status}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
