import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readImports } from '../../test/support/layers.ts';

const NETWORK = [
  'node:dns',
  'node:http',
  'node:http2',
  'node:https',
  'node:net',
  'node:tls',
  'node:dgram',
  'undici',
  'fastify',
];

test('importShipment and packShipment reach no module that could open a connection', async () => {
  const imports = await readImports();
  const reached = new Set<string>();
  const packages = new Set<string>();
  const reach = (file: string): void => {
    if (reached.has(file)) return;
    reached.add(file);
    for (const statement of imports.filter(({ from }) => from === file)) {
      if (statement.kind === 'file') reach(statement.to);
      else packages.add(statement.to);
    }
  };
  reach('shipment/import.ts');
  reach('shipment/pack.ts');
  assert.ok(reached.has('mirror/nar-intake.ts'), 'imports are followed into other rooms');
  assert.deepEqual(
    NETWORK.filter((name) => [...packages].some((used) => used === name || used.startsWith(`${name}/`))),
    [],
  );
});
