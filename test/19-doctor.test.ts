// `nixferry doctor` on clients that have every usual thing wrong with them.

import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { openAirGap } from './support/air-gap.ts';
import { doctorSuite } from './support/doctor-suite.ts';
import { nixferryCommand } from './support/nixferry.ts';

doctorSuite({ whose: 'this machine', chroot: async () => undefined });

test('doctor ends in bounded time when name servers swallow every question and a cache never answers', async () => {
  await using gap = await openAirGap();
  const silent = `
    const { createSocket } = require('node:dgram');
    const { createServer } = require('node:net');
    createSocket('udp4').bind(53, '127.0.0.1', () => createServer(() => {}).listen(8099, '127.0.0.1', () => console.log('silent')));
  `;
  const swallowing = gap.start(process.execPath, ['--eval', silent]);
  await swallowing.waitForOutput(/silent/);
  const resolver = 'nameserver 127.0.0.1\noptions timeout:30 attempts:5\n';
  await writeFile(path.join(gap.directory, 'resolv.conf'), resolver);
  const env = { ...gap.env, NIX_CONFIG: 'substituters = http://127.0.0.1:8099 https://cache.nixos.org' };
  const started = performance.now();
  const args = ['doctor', '--json', '--timeout', '2', '--url', 'http://ferry.example:8080'];
  const { stdout } = await gap.run(nixferryCommand, args, { env, exitCode: 10 });
  const tookMs = performance.now() - started;
  for (const [address, why] of [
    ['http://127.0.0.1:8099', 'no answer within 2 s|nothing came'],
    ['https://cache.nixos.org', 'no name server said'],
    ['http://ferry.example:8080', 'no name server said'],
  ]) {
    assert.match(stdout, new RegExp(`"level":"problem","text":"${address}[^"]*(?:${why})`), address);
  }
  assert.ok(tookMs < 30_000, `${tookMs} ms`);
  assert.equal(await gap.attemptsToLeave(), 0);
});
