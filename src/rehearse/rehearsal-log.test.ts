import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LIMITS } from '../base/limits.ts';
import type { RootRecord } from '../mirror/roots.ts';
import type { StorePath } from '../nix/index.ts';
import type { TargetOutcome } from './outcome.ts';
import { formatRehearsalLog } from './rehearsal-log.ts';

const record = { request: '.#web', scope: 'reconfigure', paths: ['a', 'b'] } as unknown as RootRecord;
const DRV = '/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-system.drv' as StorePath;

function logOf(target: Partial<TargetOutcome>): string {
  const whole: TargetOutcome = {
    variant: undefined,
    verdict: 'complete',
    wanted: [DRV],
    evaluation: 'same',
    commands: ['nix eval …'],
    built: [],
    fetched: [],
    unforeseen: [],
    missing: [],
    failed: [],
    said: [],
    ...target,
  };
  const root = { id: 'web', name: 'web', verdict: whole.verdict, targets: [whole] };
  return formatRehearsalLog({
    rehearsed: { verdict: whole.verdict, roots: [root], nixVersion: 'nix (Nix) 2.8.0', isSandboxed: true },
    roots: [{ record, digest: 'd'.repeat(64) }],
    generator: 'nixferry 1',
  });
}

test('formatRehearsalLog says what was run, what came of it, and what warnings there were', () => {
  const text = logOf({
    built: [DRV],
    said: [
      { kind: 'warning', text: 'warning: old' },
      { kind: 'info', text: 'these will be built' },
    ],
  });
  assert.match(text, /^root web: complete\n {2}request \.#web\n {2}scope {3}reconfigure, 2 paths, digest d{64}$/m);
  assert.match(text, /^ {2}the root itself: complete\n {4}\$ nix eval …\n {4}evaluated to what was collected$/m);
  assert.match(text, /^ {4}built: 1\n {6}\/nix\/store\/a+-system\.drv$/m);
  assert.match(text, /Nix said:\n {6}warning: old$/m);
  assert.doesNotMatch(text, /these will be built/);
});

test('formatRehearsalLog names what was missing, from the one who wants it up to the root, and what builders said', () => {
  const missing = {
    what: '/nix/store/x-dev',
    derivation: undefined,
    chain: ['/nix/store/root.drv', '/nix/store/user.drv'],
  };
  const text = logOf({
    verdict: 'missing',
    missing: [{ ...missing, isCause: true }],
    failed: [{ derivation: DRV, log: ['cannot find it'] }],
    said: [{ kind: 'info', text: 'these will be built' }],
  });
  assert.match(
    text,
    /missing: \/nix\/store\/x-dev\n {6}wanted by \/nix\/store\/user\.drv\n +for \/nix\/store\/root\.drv/,
  );
  assert.match(text, /failed: \S+system\.drv\n {6}\| cannot find it/);
  assert.match(text, /these will be built/);
});

test('formatRehearsalLog shows nothing that would steer a terminal, and ends where a shipment takes no more', () => {
  assert.match(
    logOf({ said: [{ kind: 'warning', text: 'a\u001B]0;title\u0007b\nc' }] }),
    /a\\u\{1b\}\]0;title\\u\{7\}b\n {6}c/,
  );
  const many = Array.from({ length: 100_000 }, (_, index) => `/nix/store/${String(index).padStart(120, '0')}.drv`);
  const text = logOf({ built: many });
  assert.ok(Buffer.byteLength(text) <= LIMITS.rehearsalLogBytes);
  assert.match(text, /\n… and [\d,]+ more lines\n$/);
});
