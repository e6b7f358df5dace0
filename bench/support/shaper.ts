// A thin, long line in user space, for kernels without netem: a TCP proxy, run as a process of its own, whose connections
// share one rate and are all delayed alike. `node shaper.ts PORT MBIT_PER_S DELAY_MS` proxies to 127.0.0.1:PORT, prints
// the port that it listens on, and ends with its stdin.

import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** Small pieces share the line fairly between connections. */
const PIECE_BYTES = 16 * 1024;
/** What one connection may have under way: what TCP's window would be on such a line, and some. */
const WINDOW_BYTES = 1024 * 1024;

interface Delivery {
  readonly atMs: number;
  readonly deliver: () => void;
}

/** One direction of the line: pieces leave one after another at the rate, and arrive `delayMs` later. */
class Line {
  readonly #bytesPerMs: number;
  readonly #delayMs: number;
  readonly #underWay: Delivery[] = [];
  #freeAtMs = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(megabitsPerSecond: number, delayMs: number) {
    this.#bytesPerMs = (megabitsPerSecond * 1_000_000) / 8 / 1000;
    this.#delayMs = delayMs;
  }

  send(bytes: number, deliver: () => void): void {
    this.#freeAtMs = Math.max(this.#freeAtMs, performance.now()) + bytes / this.#bytesPerMs;
    this.#underWay.push({ atMs: this.#freeAtMs + this.#delayMs, deliver });
    this.#arm();
  }

  #arm(): void {
    const [next] = this.#underWay;
    if (this.#timer !== undefined || next === undefined) return;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        const now = performance.now();
        const late = this.#underWay.findIndex(({ atMs }) => atMs > now);
        for (const { deliver } of this.#underWay.splice(0, late === -1 ? this.#underWay.length : late)) deliver();
        this.#arm();
      },
      Math.max(0, next.atMs - performance.now()),
    );
  }
}

const [, , portText, rateText, delayText] = process.argv;
const port = Number(portText);
const delayMs = Number(delayText);
const up = new Line(Number(rateText), delayMs);
const down = new Line(Number(rateText), delayMs);

const server = createServer({ allowHalfOpen: true }, (client) => {
  const origin = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  client.setNoDelay(true);
  origin.setNoDelay(true);
  // A handshake takes a round trip before the first byte may go.
  client.pause();
  setTimeout(() => forward(client, origin, up), 2 * delayMs);
  forward(origin, client, down);
  for (const [socket, other] of [
    [client, origin],
    [origin, client],
  ] as const) {
    socket.on('error', () => other.destroy());
  }
});
server.listen(0, '127.0.0.1', () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`));
process.stdin.resume().once('end', () => process.exit(0));

function forward(from: Socket, to: Socket, line: Line): void {
  let underWayBytes = 0;
  from.on('data', (data: Buffer) => {
    for (let start = 0; start < data.length; start += PIECE_BYTES) {
      const piece = data.subarray(start, start + PIECE_BYTES);
      underWayBytes += piece.length;
      line.send(piece.length, () => {
        to.write(piece);
        underWayBytes -= piece.length;
        if (underWayBytes < WINDOW_BYTES) from.resume();
      });
    }
    if (underWayBytes >= WINDOW_BYTES) from.pause();
  });
  from.on('end', () => line.send(0, () => to.end()));
  from.resume();
}
