import pino, { type Logger } from 'pino';

/** The log of a serving process: JSON lines on stderr, written at once so that nothing is lost when the process ends. */
export function openServeLog(level: string): Logger {
  return pino({ level, base: { pid: process.pid } }, pino.destination({ fd: 2, sync: true }));
}
