import assert from 'node:assert/strict';
import { test } from 'node:test';
import { arePlain, asExpressRequest, isWholeRequest } from './express-request.ts';

const HASH = '0123456789abcdfghijklmnpqrsvwxyz';
const NIX =
  'Host: ferry:8080\r\nUser-Agent: curl/8.14.1 Nix/2.31.2\r\nAccept: */*\r\nAccept-Encoding: zstd, br\r\n\r\n';

test('asExpressRequest gives hash part and fields when the request is GET of a narinfo', () => {
  assert.deepEqual(asExpressRequest(`GET /${HASH}.narinfo HTTP/1.1\r\n${NIX}`), { hashPart: HASH, fields: NIX });
});

test('asExpressRequest gives undefined when anything about the request line is otherwise', () => {
  for (const line of [
    '',
    `HEAD /${HASH}.narinfo HTTP/1.1`,
    `get /${HASH}.narinfo HTTP/1.1`,
    `GET  /${HASH}.narinfo HTTP/1.1`,
    `GET //${HASH}.narinfo HTTP/1.1`,
    `GET /x/${HASH}.narinfo HTTP/1.1`,
    `GET http://ferry/${HASH}.narinfo HTTP/1.1`,
    `GET /${HASH}.narinfo?x HTTP/1.1`,
    `GET /${HASH}.narinfo HTTP/1.0`,
    `GET /${HASH}.narinfo HTTP/2`,
    `GET /${HASH}.narinfo`,
    `GET /${HASH}.ls HTTP/1.1`,
    `GET /${HASH}0.narinfo HTTP/1.1`,
    `GET /${HASH.slice(1)}.narinfo HTTP/1.1`,
    'GET /nix-cache-info HTTP/1.1',
  ]) {
    assert.equal(asExpressRequest(`${line}\r\n${NIX}`), undefined, line);
  }
  assert.equal(asExpressRequest(`\r\nGET /${HASH}.narinfo HTTP/1.1\r\n${NIX}`), undefined);
  assert.equal(asExpressRequest(`GET /${HASH}.narinfo HTTP/1.1\n${NIX}`), undefined);
});

test('arePlain holds when the fields are those of Nix, curl or a proxy', () => {
  assert.ok(arePlain(NIX));
  assert.ok(arePlain('host: a\r\n\r\n'));
  assert.ok(
    arePlain('Connection: Keep-Alive\r\nHost: [::1]:80\r\nX-Forwarded-For: 10.0.0.1\r\nVia: 1.1 proxy\r\n\r\n'),
  );
});

test('arePlain does not hold when a field could matter, or the request does not end there', () => {
  for (const line of [
    'If-None-Match: "x"',
    'Range: bytes=0-',
    'Content-Length: 0',
    'content-length: 5',
    'Transfer-Encoding: chunked',
    'Connection: close',
    'Connection: keep-alive, upgrade',
    'Upgrade: h2c',
    'Expect: 100-continue',
    'Authorization: Basic eA==',
    'Host: second',
    'X-Unknown: 1',
    'Accept : */*',
    ' Accept: */*',
    'Accept: a\r\n folded',
    'Accept: \0',
    'Accept: \xe4',
    'Accept: a\nContent-Length: 5',
    'Accept: a\rb',
    'Accept',
    ': x',
    '',
  ]) {
    assert.equal(arePlain(`Host: a\r\n${line}\r\n\r\n`), false, JSON.stringify(line));
  }
  for (const fields of ['', '\r\n', 'Host: a\r\n', 'Host: a', `${NIX}GET / HTTP/1.1\r\n\r\n`, 'Accept: */*\r\n\r\n']) {
    assert.equal(arePlain(fields), false, JSON.stringify(fields));
  }
});

test('isWholeRequest holds when a request without a body is all there is', () => {
  for (const text of [
    `GET / HTTP/1.1\r\n${NIX}`,
    'HEAD /nar/x.nar HTTP/1.1\r\nHost: a\r\nRange: bytes=5-\r\nIf-None-Match: "a"\r\nX-Unknown: 1\r\n\r\n',
  ]) {
    assert.ok(isWholeRequest(text), text);
  }
});

test('isWholeRequest does not hold when more may follow, or something stands before', () => {
  for (const text of [
    '',
    `GET / HTTP/1.1\r\n${NIX}x`,
    `GET / HTTP/1.1\r\n${NIX}${NIX}`,
    `x\r\nGET / HTTP/1.1\r\n${NIX}`,
    `GET / HTTP/1.0\r\n${NIX}`,
    `POST / HTTP/1.1\r\n${NIX}`,
    'GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: a\r\n',
  ]) {
    assert.equal(isWholeRequest(text), false, JSON.stringify(text));
  }
});
