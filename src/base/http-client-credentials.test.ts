import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { instantClock } from '../../test/support/instant-clock.ts';
import { makeTempDir, type TempDir } from '../../test/support/temp-dir.ts';
import { startUnreliableServer, type UnreliableServer } from '../../test/support/unreliable-server.ts';
import { createHttpClient } from './http-client.ts';

const MAX = { maxBytes: 1000 };
const hello = (path: string) => ({ body: `hello from ${path}` });
const basicAuth = { user: 'me', password: 's3cret:w@rd' };
let directory: TempDir;

before(async () => {
  directory = await makeTempDir('http-credentials');
});

after(async () => {
  await directory[Symbol.asyncDispose]();
});

async function netrc(name: string, text: string): Promise<string> {
  const file = directory.join(name);
  await writeFile(file, text);
  return file;
}

function client(environment: Record<string, string>, netrcFile?: string) {
  const given = netrcFile === undefined ? {} : { netrcFile };
  return createHttpClient({ environment, clock: instantClock(), ...given });
}

function sentTo(server: UnreliableServer): string[] {
  return server.requests.flatMap(({ headers }) => {
    const value = headers.authorization;
    return value === undefined ? [] : [Buffer.from(value.slice('Basic '.length), 'base64').toString()];
  });
}

test('credentials come from the file given, from NETRC, or from ~/.netrc', async () => {
  await using server = await startUnreliableServer({ respond: hello, basicAuth });
  const file = await netrc('.netrc', 'machine 127.0.0.1 login me password s3cret:w@rd\n');
  const wrong = await netrc('wrong', 'machine 127.0.0.1 login me password wrong\n');
  for (const http of [
    client({ NETRC: wrong, HOME: '/nowhere' }, file),
    client({ NETRC: file, HOME: '/nowhere' }),
    client({ HOME: directory.path }),
  ]) {
    await using _ = http;
    assert.equal((await http.getBytes(server.url, MAX)).status, 200);
  }
});

test('the default entry is used for the host that was asked for', async () => {
  await using server = await startUnreliableServer({ respond: hello, basicAuth });
  await using http = client({}, await netrc('default', 'default login me password s3cret:w@rd'));
  assert.equal((await http.getBytes(server.url, MAX)).status, 200);
});

test('credentials in the address are used before netrc, percent-decoded', async () => {
  await using server = await startUnreliableServer({ respond: hello, basicAuth });
  const file = await netrc(
    'two',
    'machine 127.0.0.1 login you password no machine 127.0.0.1 login me password s3cret:w@rd',
  );
  await using http = client({}, file);
  const withPassword = server.url.replace('//', '//me:s3cret%3Aw%40rd@');
  assert.equal((await http.getBytes(withPassword, MAX)).status, 200);
  const withLogin = server.url.replace('//', '//me@');
  assert.equal((await http.getBytes(withLogin, MAX)).status, 200);
});

test('credentials do not follow a redirect to another host, but stay for one on the same', async () => {
  await using other = await startUnreliableServer({ respond: hello });
  await using server = await startUnreliableServer({ respond: hello, basicAuth });
  server.misbehave({ path: /away/, fault: { kind: 'redirect', location: `${other.url}/there` } });
  server.misbehave({ path: /near/, fault: { kind: 'redirect', location: '/here' } });
  const files = [
    // The port makes it another origin; a default entry must not speak for it.
    await netrc('d', 'default login me password s3cret:w@rd'),
    undefined,
  ];
  for (const file of files) {
    await using http = client({}, file);
    const url = file === undefined ? server.url.replace('//', '//me:s3cret%3Aw%40rd@') : server.url;
    const headers = { authorization: 'ignored', cookie: 'secret=1', 'x-mine': 'y' };
    const { bytes } = await http.getBytes(`${url}/away`, file === undefined ? { ...MAX, headers } : MAX);
    assert.equal(bytes.toString(), 'hello from /there');
    assert.equal((await http.getBytes(`${url}/near`, MAX)).bytes.toString(), 'hello from /here');
  }
  assert.deepEqual(sentTo(other), []);
  assert.ok(other.requests.every(({ headers }) => headers.cookie === undefined));
  assert.equal(other.requests.at(-1)?.headers['x-mine'], 'y');
});

test('a host with a netrc entry of its own gets that one after a redirect', async () => {
  await using other = await startUnreliableServer({ respond: hello });
  await using server = await startUnreliableServer({ respond: hello });
  server.misbehave({ path: /away/, fault: { kind: 'redirect', location: `http://localhost:${other.port}/there` } });
  const file = await netrc('own', 'machine 127.0.0.1 login a password b machine localhost login c password d');
  await using http = client({}, file);
  await http.getBytes(`${server.url}/away`, MAX);
  assert.deepEqual(sentTo(server), ['a:b']);
  assert.deepEqual(sentTo(other), ['c:d']);
});

test('a server that wants credentials is an error that tells how to give them, and shows none', async () => {
  await using server = await startUnreliableServer({ respond: hello, basicAuth });
  await using without = client({});
  await assert.rejects(
    without.getBytes(server.url, { ...MAX, accept: [403, 404] }),
    (error: Error & { hint?: string }) => {
      assert.match(error.message, /401/);
      assert.match(error.hint ?? '', /machine 127\.0\.0\.1 login USER password PASSWORD/);
      return true;
    },
  );
  await using wrong = client({}, await netrc('wrong2', 'machine 127.0.0.1 login me password wr0ng'));
  const url = server.url.replace('//', '//me:t00wrong@');
  for (const address of [server.url, url]) {
    await assert.rejects(wrong.getBytes(address, MAX), (error: Error & { hint?: string }) => {
      const shown = `${error.message} ${error.hint} ${error.stack} ${JSON.stringify(error)}`;
      assert.match(error.hint ?? '', /check the user name and password/);
      return !shown.includes('wr0ng') && !shown.includes('t00wrong');
    });
  }
});

test('a netrc file that was asked for and is not there is a mistake; a usual one may be missing', async () => {
  await using server = await startUnreliableServer({ respond: hello });
  await using given = client({}, directory.join('missing'));
  await assert.rejects(given.getBytes(server.url, MAX), { code: 'usage' });
  await using usual = client({ HOME: directory.join('nobody'), NETRC: '' });
  assert.equal((await usual.getBytes(server.url, MAX)).status, 200);
});
