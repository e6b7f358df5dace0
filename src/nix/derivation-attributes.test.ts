import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatQuoted } from './aterm.ts';
import { type Derivation, parseDerivation } from './derivation.ts';
import {
  booleanAttribute,
  derivationAttributes,
  stringAttribute,
  stringsAttribute,
  structuredAttributes,
} from './derivation-attributes.ts';
import { NixFormatError } from './format-error.ts';

test('the attribute readers follow the environment when attributes are not structured', () => {
  const derivation = withEnv({ yes: '1', no: '', other: 'true', list: ' a  b\n\tc ', text: 'x' });
  assert.equal(booleanAttribute(derivation, 'yes', false), true);
  assert.equal(booleanAttribute(derivation, 'no', true), false);
  assert.equal(booleanAttribute(derivation, 'other', true), false, 'only 1 is true');
  assert.equal(booleanAttribute(derivation, 'missing', true), true);
  assert.deepEqual(stringsAttribute(derivation, 'list'), ['a', 'b', 'c']);
  assert.equal(stringsAttribute(derivation, 'missing'), undefined);
  assert.equal(stringAttribute(derivation, 'text'), 'x');
  assert.equal(stringAttribute(derivation, 'missing'), undefined);
  assert.equal(structuredAttributes(derivation), undefined);
  assert.deepEqual(Object.fromEntries(derivationAttributes(derivation)), Object.fromEntries(derivation.env));
});

test('the attribute readers follow the JSON over the environment when attributes are structured', () => {
  const json = { yes: true, no: false, list: ['a', 'b'], text: 'x', both: 'json', number: 1, ['__proto__']: 'own' };
  const derivation = withEnv({ __json: JSON.stringify(json), both: 'env', out: 'path' });
  assert.equal(booleanAttribute(derivation, 'yes', false), true);
  assert.equal(booleanAttribute(derivation, 'no', true), false);
  assert.deepEqual(stringsAttribute(derivation, 'list'), ['a', 'b']);
  assert.equal(stringAttribute(derivation, 'both'), 'json');
  assert.equal(stringAttribute(derivation, 'out'), 'path');
  assert.equal(derivationAttributes(derivation).get('number'), 1);
  assert.equal(derivationAttributes(derivation).get('__proto__'), 'own');
  assert.equal(derivationAttributes(derivation).has('__json'), false);
});

test('the attribute readers refuse when a structured attribute is of another type', () => {
  const derivation = withEnv({ __json: '{"flag":"1","list":["a",1],"text":["a"],"words":"a b"}' });
  assert.throws(() => booleanAttribute(derivation, 'flag', false), NixFormatError);
  assert.throws(() => stringsAttribute(derivation, 'list'), NixFormatError);
  assert.throws(() => stringsAttribute(derivation, 'words'), NixFormatError);
  assert.throws(() => stringAttribute(derivation, 'text'), NixFormatError);
});

test('derivationAttributes refuses when __json is no JSON object', () => {
  for (const json of ['', '{', '[]', 'null', '"a"', '['.repeat(200_000)]) {
    assert.throws(() => derivationAttributes(withEnv({ __json: json })), NixFormatError, json.slice(0, 10));
  }
});

function withEnv(env: Readonly<Record<string, string>>): Derivation {
  const entries = Object.entries(env).map(([name, value]) => `(${formatQuoted(name)},${formatQuoted(value)})`);
  return parseDerivation(Buffer.from(`Derive([("out","","","")],[],[],"s","b",[],[${entries.join(',')}])`));
}
