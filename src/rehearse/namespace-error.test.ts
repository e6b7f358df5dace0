import assert from 'node:assert/strict';
import { test } from 'node:test';
import { explainNamespaceError } from './namespace-error.ts';

const SWITCHES = {
  '/proc/sys/user/max_user_namespaces': ['0', 'user.max_user_namespaces=10000'],
  '/proc/sys/kernel/unprivileged_userns_clone': ['0\n', 'kernel.unprivileged_userns_clone=1'],
  '/proc/sys/kernel/apparmor_restrict_unprivileged_userns': ['1\n', 'kernel.apparmor_restrict_unprivileged_userns=0'],
} as const;

for (const [file, [value, cure]] of Object.entries(SWITCHES)) {
  test(`explainNamespaceError says what to set when ${file} forbids namespaces`, () => {
    const error = explainNamespaceError('unshare: unshare failed: No space left on device\n', (asked) =>
      asked === file ? value : '',
    );
    assert.equal(error.code, 'namespace-refused');
    assert.match(error.message, /unshare failed: No space left/);
    assert.equal(error.hint, `allow it (sysctl -w ${cure}), or type the same command as root`);
  });
}

test('explainNamespaceError sends people out of a chroot', () => {
  const said = 'unshare: cannot change root filesystem propagation: Invalid argument';
  assert.match(explainNamespaceError(said, () => '').hint ?? '', /rehearse outside of it/);
});

test('explainNamespaceError names containers when no switch of the kernel is to blame', () => {
  const { hint } = explainNamespaceError('', (file) => (file.includes('max_user') ? '96365' : ''));
  assert.match(hint ?? '', /--privileged/);
});
