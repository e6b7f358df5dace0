import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import * as fc from 'fast-check';
import { NixFormatError } from './format-error.ts';
import { formatNarListing, NAR_LISTING_LIMITS, type NarListing, narListing, parseNarListing } from './nar-listing.ts';
import { type NarDirectoryEntry, type NarNode, writeNar } from './nar-writer.ts';

const file = (contents: string, executable = false): NarNode => {
  const bytes = Buffer.from(contents);
  return { type: 'regular', executable, sizeBytes: bytes.length, contents: () => [bytes] };
};
const link = (target: string): NarNode => ({ type: 'symlink', target: Buffer.from(target) });
const directory = (entries: Record<string, NarNode>): NarNode => {
  const sorted = Object.entries(entries).map(([name, node]): NarDirectoryEntry => [Buffer.from(name), node]);
  sorted.sort(([one], [other]) => Buffer.compare(one, other));
  return { type: 'directory', entries: () => sorted };
};

test('narListing and formatNarListing write what Nix 2.8 writes for the same tree', async () => {
  const tree = directory({
    '10': file('1\n'),
    '9': file('', true),
    'nl\n\b\f\u0001"\\\u007f': link('ü'),
    sub: directory({}),
  });
  const expected =
    '{"version":1,"root":{"type":"directory","entries":{"10":{"type":"regular","size":2,"narOffset":232},' +
    '"9":{"type":"regular","size":0,"executable":true,"narOffset":456},' +
    '"nl\\n\\u0008\\u000c\\u0001\\"\\\\\u007f":{"type":"symlink","target":"ü"},"sub":{"type":"directory","entries":{}}}}}';
  assert.equal(formatNarListing(await narListing(writeNar(tree))), expected);
});

test('parseNarListing gives back what formatNarListing was given, names that look like numbers in order', () => {
  const name = fc.oneof(fc.nat(20).map(String), fc.string({ unit: 'grapheme', minLength: 1, maxLength: 9 }));
  const plain = { noNullPrototype: true };
  const { node } = fc.letrec<{ node: NarListing }>((tie) => ({
    node: fc.oneof(
      { maxDepth: 3 },
      fc.record(
        {
          type: fc.constant('regular' as const),
          sizeBytes: fc.maxSafeNat(),
          executable: fc.boolean(),
          narOffset: fc.oneof(fc.maxSafeNat(), fc.constant(undefined)),
        },
        plain,
      ),
      fc.record({ type: fc.constant('symlink' as const), target: name }, plain),
      fc
        .array(fc.tuple(name, tie('node')), { maxLength: 5 })
        .map((entries): NarListing => ({ type: 'directory', entries: new Map(entries.toSorted(byBytes)) })),
    ),
  }));
  fc.assert(
    fc.property(node, (listing) => {
      fc.pre(!hasBadName(formatNarListing(listing)));
      const json = formatNarListing(listing);
      const parsed = parseNarListing(Buffer.from(json));
      assert.deepEqual(parsed, listing);
      // Maps are equal in any order.
      assert.equal(formatNarListing(parsed), json);
    }),
    { numRuns: 300 },
  );
});

test('parseNarListing reads the order of keys that newer Nix writes', () => {
  const json =
    '{"root":{"entries":{"a":{"executable":true,"narOffset":232,"size":3,"type":"regular"}},"type":"directory"},"version":1}';
  const entry = { type: 'regular', sizeBytes: 3, executable: true, narOffset: 232 };
  assert.deepEqual(parseNarListing(json), { type: 'directory', entries: new Map([['a', entry]]) });
});

test('narListing refuses names that are not UTF-8, which JSON cannot hold', async () => {
  const tree: NarNode = { type: 'directory', entries: () => [[Buffer.from([0xff]), link('x')]] };
  await assert.rejects(narListing(writeNar(tree)), /not UTF-8/);
});

suite('parseNarListing refuses', () => {
  const refused: Record<string, string> = {
    'text that is no JSON': '{"version":1,',
    'something that is no object': '[]',
    'another version': '{"version":2,"root":{"type":"symlink","target":"x"}}',
    'a missing root': '{"version":1}',
    'an unknown type': wrap('{"type":"device"}'),
    'a negative size': wrap('{"type":"regular","size":-1}'),
    'a size above 2^53': wrap('{"type":"regular","size":9007199254740992}'),
    'an offset that is text': wrap('{"type":"regular","size":1,"narOffset":"1"}'),
    'an executable mark that is text': wrap('{"type":"regular","size":1,"executable":"yes"}'),
    'a symlink without target': wrap('{"type":"symlink"}'),
    'entries in a list': wrap('{"type":"directory","entries":[]}'),
    'the name ..': wrap('{"type":"directory","entries":{"..":{"type":"symlink","target":"x"}}}'),
    'a name with a slash': wrap('{"type":"directory","entries":{"a/b":{"type":"symlink","target":"x"}}}'),
    'directories that are too deep': wrap(`${'{"type":"directory","entries":{"d":'.repeat(300)}1${'}}'.repeat(300)}`),
  };
  for (const [what, json] of Object.entries(refused)) {
    test(what, () => {
      assert.throws(() => parseNarListing(json), NixFormatError);
    });
  }

  test('nesting that would exhaust a recursive reader', () => {
    assert.throws(() => parseNarListing('['.repeat(1_000_000)), NixFormatError);
  });

  test('more entries or bytes than allowed', () => {
    const json = wrap(
      '{"type":"directory","entries":{"a":{"type":"symlink","target":"x"},"b":{"type":"symlink","target":"x"}}}',
    );
    assert.throws(() => parseNarListing(json, { ...NAR_LISTING_LIMITS, entries: 1 }), /more than 1 entries/);
    assert.throws(() => parseNarListing(json, { ...NAR_LISTING_LIMITS, jsonBytes: 20 }), /longer than 20 bytes/);
  });
});

function byBytes([one]: readonly [string, unknown], [other]: readonly [string, unknown]): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other));
}

function wrap(root: string): string {
  return `{"version":1,"root":${root}}`;
}

/** Whether the generator has made a name or target that no NAR may hold. */
function hasBadName(json: string): boolean {
  return /"(?:\.|\.\.|[^"]*\/[^"]*|[^"]*\\u0000[^"]*)"/.test(json);
}
