import assert from 'node:assert/strict';
import { test } from 'node:test';
import { distinctNames } from './distinct-names.ts';

const root = (name: string, request: string, scope: 'run' | 'rebuild' = 'run') => ({ name, request, scope });

test('distinctNames tells roots of one name apart by their requests, and by their scopes where these are the same', () => {
  assert.deepEqual(distinctNames([root('web', '.#web'), root('report', '.#report'), root('report', '-A report')]), [
    'web',
    'report (.#report)',
    'report (-A report)',
  ]);
  assert.deepEqual(distinctNames([root('web', '.#web'), root('web', '.#web', 'rebuild'), root('web', 'x#web')]), [
    'web (.#web, run)',
    'web (.#web, rebuild)',
    'web (x#web)',
  ]);
});
