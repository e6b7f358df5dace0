import assert from 'node:assert/strict';
import { mkdir, symlink } from 'node:fs/promises';
import { test } from 'node:test';
import { makeTempDir } from '../../test/support/temp-dir.ts';
import { NixferryError } from '../base/errors.ts';
import { checkMedium } from './check-medium.ts';

const refused = (message: string) => (error: unknown) =>
  error instanceof NixferryError && error.code === 'usage' && error.message === message;

test('checkMedium refuses a medium that is not mounted, and lets a folder be made elsewhere', async () => {
  await using temp = await makeTempDir('check-medium');
  const media = temp.join('media');
  await mkdir(`${media}/anna`, { recursive: true });
  await symlink(media, temp.join('link'));
  for (const to of [`${media}/nostick`, `${media}/anna/nostick`]) {
    assert.throws(() => checkMedium(to, [media]), refused(`there is no ${to}`));
  }
  assert.throws(() => checkMedium(temp.join('link/nostick'), [media]), NixferryError);
  checkMedium(`${media}/anna`, [media]);
  checkMedium(temp.join('out'), [media]);
  checkMedium(`${media}2`, [media]);
  assert.throws(() => checkMedium(temp.join('none/out'), [media]), refused(`there is no ${temp.join('none')}`));
});

test('checkMedium lets a folder be made on what is mounted', () => {
  checkMedium('/proc/absent', ['/proc']);
});
