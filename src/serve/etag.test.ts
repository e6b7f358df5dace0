import assert from 'node:assert/strict';
import { test } from 'node:test';
import { etagOfBytes, etagOfFile, matchesIfNoneMatch, matchesIfRange } from './etag.ts';

test('etagOfBytes differs when one byte does', () => {
  assert.equal(etagOfBytes(Buffer.from('a')), etagOfBytes(Buffer.from('a')));
  assert.notEqual(etagOfBytes(Buffer.from('a')), etagOfBytes(Buffer.from('b')));
  assert.match(etagOfBytes(Buffer.from('a')), /^"[A-Za-z0-9_-]{24}"$/);
});

test('etagOfFile differs when size or time do', () => {
  const etag = etagOfFile({ sizeBytes: 10, modifiedMs: 1000.5 });
  assert.notEqual(etag, etagOfFile({ sizeBytes: 11, modifiedMs: 1000.5 }));
  assert.notEqual(etag, etagOfFile({ sizeBytes: 10, modifiedMs: 1000.75 }));
});

test('matchesIfNoneMatch holds when any of the validators is ours, weak or strong, or all are meant', () => {
  for (const header of ['"x"', 'W/"x"', '"a", "x"', '"a",W/"x" ', '*', ' * ']) {
    assert.equal(matchesIfNoneMatch(header, '"x"'), true, header);
  }
  for (const header of [undefined, '', '"y"', 'x', '"x'])
    assert.equal(matchesIfNoneMatch(header, '"x"'), false, header);
});

test('matchesIfRange holds when the strong validator is ours or there is none', () => {
  assert.equal(matchesIfRange(undefined, '"x"'), true);
  assert.equal(matchesIfRange('"x"', '"x"'), true);
  for (const header of ['W/"x"', '"y"', 'Wed, 21 Oct 2015 07:28:00 GMT', '']) {
    assert.equal(matchesIfRange(header, '"x"'), false, header);
  }
});
