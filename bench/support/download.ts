// `node download.ts URL`: fetches it, prints how many bytes a second came, and throws them away. It reads into one buffer of a megabyte, so
// that the server is what is measured: curl, which takes 16 KiB at a time, is slower than nginx.

import { connect } from 'node:net';

const url = new URL(process.argv[2] ?? '');
const buffer = Buffer.alloc(1024 * 1024);
let received = 0;
let expected = Number.POSITIVE_INFINITY;
const started = performance.now();
const socket = connect({
  host: url.hostname,
  port: Number(url.port),
  onread: {
    buffer,
    callback: (length, chunk) => {
      if (received === 0) {
        const head = Buffer.from(chunk.buffer, chunk.byteOffset, length).toString('latin1');
        const end = head.indexOf('\r\n\r\n') + 4;
        expected = end + Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1]);
        if (!head.startsWith('HTTP/1.1 200 ') || end < 4) throw new Error(head.slice(0, 500));
      }
      received += length;
      if (received >= expected) socket.end();
      return true;
    },
  },
});
socket.write(`GET ${url.pathname} HTTP/1.1\r\nHost: ${url.host}\r\n\r\n`);
socket.on('close', () => {
  if (received !== expected) throw new Error(`${received} bytes came instead of ${expected}`);
  process.stdout.write(`${received / ((performance.now() - started) / 1000)}\n`);
});
