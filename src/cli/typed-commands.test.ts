import assert from 'node:assert/strict';
import { test } from 'node:test';
import { takeProgramName, withTypedCommands } from './typed-commands.ts';

const LAUNCHER = 'sh /media/stick/lab-0001/tools/nixferry';

test('takeProgramName gives what the launcher was started as, quoted, and takes it out of the environment', () => {
  const environment = { NIXFERRY_STARTED_AS: '/media/My stick/tools/nixferry' };
  assert.equal(takeProgramName(environment), "sh '/media/My stick/tools/nixferry'");
  assert.deepEqual(environment, {});
  assert.equal(takeProgramName(environment), 'nixferry');
});

test('withTypedCommands changes the commands of this side and of both, and leaves those of the other side', () => {
  const text = 'bring it: nixferry import DIR (next: nixferry serve); on the connected side: nixferry pack --lost 1';
  const typed = `bring it: ${LAUNCHER} import DIR (next: ${LAUNCHER} serve); on the connected side: nixferry pack --lost 1`;
  assert.equal(withTypedCommands(text, LAUNCHER, 'import'), typed);
  assert.equal(
    withTypedCommands('nixferry pack; nixferry status', LAUNCHER, 'export'),
    `${LAUNCHER} pack; ${LAUNCHER} status`,
  );
  assert.equal(withTypedCommands('nixferry import there', LAUNCHER, 'pack'), 'nixferry import there');
  assert.equal(
    withTypedCommands('nixferry collect, or nixferry import', LAUNCHER, 'status'),
    `${LAUNCHER} collect, or ${LAUNCHER} import`,
  );
  assert.equal(withTypedCommands('nixferry --help', LAUNCHER, undefined), `${LAUNCHER} --help`);
});

test('withTypedCommands changes nothing when a text is no command, a path, or was started as nixferry', () => {
  const texts = [
    'sh /media/stick/lab-0002/tools/nixferry import DIR',
    'the mirror that nixferry makes',
    'compare (there: nixferry keys words)',
    'receipt-lab-1.nixferry import',
  ];
  for (const text of texts) assert.equal(withTypedCommands(text, LAUNCHER, 'import'), text);
  assert.equal(withTypedCommands('nixferry import', 'nixferry', 'import'), 'nixferry import');
});
